"""`reidkit compare-runs`, as users call it."""

from __future__ import annotations

import csv
import html
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from reidkit.report.page import compared_curves
from reidkit.types import Embeddings
from tests.commands import training
from tests.features_file import write_features
from tests.metrics.definition import crowd

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Nursery


@pytest.fixture(scope="module")
def runs(nursery: Nursery, noise: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    for name, rate in (("a", 1e-3), ("b", 2e-3)):
        done = nursery.run(*training(noise, folder / name, optim__lr=rate))
        assert done.status == 0, done.err
    return folder / "a", folder / "b"


@pytest.fixture(scope="module")
def results(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two features of the same images, the second blurred, and their files of queries."""
    folder = tmp_path_factory.mktemp("results")
    query, gallery = crowd(images=400)
    rng = np.random.default_rng(0)
    paths = tuple(f"=q{i}.jpg" for i in range(len(query.pids)))
    for name, noise in (("a", 0.0), ("b", 2.0)):
        blurred = query.vectors + noise * rng.normal(size=query.vectors.shape).astype(np.float32)
        write_features(folder / f"{name}.npz", Embeddings(blurred, query.pids, query.camids, "", paths))
        write_features(folder / "g.npz", gallery)
        done = nursery.run("score", folder / f"{name}.npz", folder / "g.npz", "--per-query", folder / f"{name}.csv")
        assert done.status == 0, done.err
    return folder / "a.csv", folder / "b.csv"


def test_two_results(nursery: Nursery, results: tuple[Path, Path], tmp_path: Path) -> None:
    value = nursery.run("compare-runs", *results, "--json").json()
    with results[0].open(newline="") as file:
        known = [float(row["ap"]) for row in csv.DictReader(file) if row["ap"]]
    assert value["map"]["a"] == pytest.approx(np.mean(known))
    assert value["map"]["difference"] == pytest.approx(value["map"]["b"] - value["map"]["a"])
    assert value["map"]["interval"][0] < value["map"]["difference"] < value["map"]["interval"][1] < 0
    assert value["map"]["p"] < 0.01
    assert value["queries"] == len(known)
    first = value["most_different"][0]
    assert first["path"].startswith("=q")
    apart = [abs(row["a"] - row["b"]) for row in value["most_different"]]
    assert apart == sorted(apart, reverse=True)
    done = nursery.run("compare-runs", *results, "--report", tmp_path / "both.html")
    assert "B - A" in done.out
    assert "bootstrap over ids" in done.out
    assert html.escape(first["path"]) in (tmp_path / "both.html").read_text()


def test_a_result_does_not_differ_from_itself(nursery: Nursery, results: tuple[Path, Path]) -> None:
    value = nursery.run("compare-runs", results[0], results[0], "--json").json()
    assert (value["map"]["difference"], value["map"]["p"], value["most_different"]) == (0, 1, [])


def test_results_are_compared_without_torch(results: tuple[Path, Path], tmp_path: Path) -> None:
    """It takes longer to load than all the rest."""
    asked = (
        "import sys, reidkit.cli.main\n"
        "try: reidkit.cli.main.main()\n"
        "except SystemExit as done: print([done.code, 'torch' in sys.modules])"
    )
    call = ("compare-runs", *map(str, results), "--report", str(tmp_path / "both.html"))
    done = subprocess.run([sys.executable, "-c", asked, *call], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[0, False]"


def test_two_runs(nursery: Nursery, runs: tuple[Path, Path], noise: Path, tmp_path: Path) -> None:
    value = nursery.run("compare-runs", *runs, "--json").json()
    assert value["recipe_differences"] == ["optim.lr: 0.001, not 0.002"]
    assert [len(value[side]["curves"]["loss"]) for side in "ab"] == [3, 3]
    assert "map" not in value
    out = nursery.run("compare-runs", *runs).out
    assert "no test was made: give --data" in out
    assert "A has optim.lr: 0.001, not 0.002" in out
    page = tmp_path / "both.html"
    options = ["--data", noise, "--no-cache"]
    value = nursery.run("compare-runs", *runs, *options, "--json", "--report", page).json()
    evaluated = nursery.run("evaluate", runs[1], *options, "--json").json()
    for key in ("rank1", "rank5", "map", "minp"):
        assert value[key]["b"] == pytest.approx(evaluated[key])
    text = page.read_text()
    assert text.count("<svg") >= 1
    assert "data:image/jpeg" in text
    assert str(tmp_path) not in text.split("Run it again")[0]


def test_each_run_keeps_its_colour() -> None:
    both, alone = compared_curves({"loss": [[1, 2.0], [2, 1.0]]}, {"loss": [[1, 3.0]], "map": [[1, 0.5], [2, 0.6]]})
    assert (both.keys, alone.keys) == ([("A", 0), ("B", 1)], [("B", 1)])
    assert "stroke: var(--c0)" in both.svg
    assert "stroke: var(--c1)" in both.svg
    assert "stroke: var(--c1)" in alone.svg
    assert "c0" not in alone.svg


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a table of queries"),
        ("a,b\n1,2\n", "is not a table of queries"),
        ("query,path,pid,camid,ap,inp,first_match\n0,a,x,1,1,1,1\n", "is not a table of queries"),
        ("query,path,pid,camid,ap,inp,first_match\n0,a,1,1,7,1,1\n", "is not a table of queries"),
        ("query,path,pid,camid,ap,inp,first_match\n0,a,1,1,,1,1\n", "is not a table of queries"),
        ("query,path,pid,camid,ap,inp,first_match\n0,a\n", "is not a table of queries"),
        ("query,path,pid,camid,ap,inp,first_match\n0,a,1,1,0.5,0.5,1\n", "are results of different queries"),
    ],
)
def test_tables_of_something_else(
    nursery: Nursery, results: tuple[Path, Path], tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "c.csv").write_text(text)
    done = nursery.run("compare-runs", tmp_path / "c.csv", results[0])
    assert done.status == 1
    assert words in done.line()


def test_what_cannot_be_compared(nursery: Nursery, runs: tuple[Path, Path], results: Any, noise: Path) -> None:
    assert "is not there" in nursery.run("compare-runs", runs[0] / "no", runs[1]).line()
    done = nursery.run("compare-runs", *runs, "--flip")
    assert done.status == 2
    assert "is for --data: give it, or leave these options out" in done.line()
    done = nursery.run("compare-runs", runs[0], results[1])
    assert "is none: make the other one too, by `reidkit evaluate --per-query`" in done.line()
    done = nursery.run("compare-runs", runs[0], results[1], "--data", noise, "--no-cache")
    assert "is a result already: leave out data" in done.line()
