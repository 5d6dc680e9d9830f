"""`--json`: one object on stdout, and nothing else, from every command that has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from reidkit.types import Embeddings
from tests.commands import training
from tests.features_file import write_features

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Nursery

KEYS = {"rank1", "rank5", "rank10", "map", "minp", "map_trapezoid", "queries", "queries_skipped", "gallery", "seconds"}


def check_scores(value: dict[str, Any]) -> None:
    assert set(value) >= KEYS
    assert all(0 <= value[key] <= 1 for key in ("rank1", "rank5", "rank10", "map", "minp", "map_trapezoid"))
    assert (value["queries"], value["queries_skipped"], value["gallery"]) == (4, 0, 16)
    assert all(seconds >= 0 for seconds in value["seconds"].values())


@pytest.fixture(scope="module")
def trained(nursery: Nursery, noise: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("json") / "run"
    return folder, nursery.run(*training(noise, folder), "--json").json()


def test_train(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, value = trained
    check_scores(value)
    assert value["run"] == str(folder)
    assert len(value["model"]) == 16


def test_evaluate(nursery: Nursery, noise: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    folder, before = trained
    value = nursery.run("evaluate", folder, "--data", noise, "--no-cache", "--json").json()
    check_scores(value)
    assert {key: value[key] for key in KEYS - {"seconds"}} == {key: before[key] for key in KEYS - {"seconds"}}


def test_evaluate_with_everything(nursery: Nursery, noise: Path, trained: tuple[Path, Any], tmp_path: Path) -> None:
    folder, _ = trained
    options = ["--rerank", "--flip", "--feature", "before", "--metric", "euclidean", "--report", tmp_path / "page.html"]
    value = nursery.run("evaluate", folder / "model.safetensors", "--data", noise, "--json", *options).json()
    check_scores(value)
    assert set(value["reranked"]) >= KEYS - {"seconds"}
    assert (tmp_path / "page.html").read_text().startswith("<!")


def test_intervals_over_people(nursery: Nursery, noise: Path, trained: tuple[Path, Any]) -> None:
    folder, _ = trained
    value = nursery.run("evaluate", folder, "--data", noise, "--no-cache", "--ci", "--json").json()
    assert set(value["ci"]) == {"rank1", "rank5", "rank10", "rank20", "map", "minp"}
    for key, (low, high) in value["ci"].items():
        assert 0 <= low <= value[key] <= high <= 1


def test_score(nursery: Nursery, tmp_path: Path) -> None:
    """Two people: the first is found at once, the second behind the first."""
    vectors = np.eye(2, 3, dtype=np.float32)
    query = Embeddings(vectors, np.array([1, 2]), np.array([0, 0]))
    gallery = Embeddings(np.array([[1, 0, 0], [0.5, 0.5, 0.7]], np.float32), np.array([1, 2]), np.array([1, 1]))
    gallery = Embeddings(np.vstack((gallery.vectors, vectors[1:])), np.array([1, 2, 1]), np.array([1, 1, 1]))
    for name, made in (("q", query), ("g", gallery)):
        write_features(tmp_path / f"{name}.npz", made)
    value = nursery.run("score", tmp_path / "q.npz", tmp_path / "g.npz", "--json").json()
    assert set(value) >= KEYS
    assert (value["rank1"], value["rank5"], value["gallery"], value["queries"]) == (0.5, 1.0, 3, 2)


def test_data(nursery: Nursery, noise: Path) -> None:
    value = nursery.run("data", noise, "--json").json()
    assert value["train"]["images"] == 32
    assert value["unreadable"] == []


def test_data_with_a_broken_image(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    import json
    import shutil

    own = shutil.copytree(noise, tmp_path / "own")
    next((own / "query").iterdir()).write_bytes(b"")
    result = nursery.run("data", own, "--json")
    assert result.status == 1
    assert len(json.loads(result.out)["unreadable"]) == 1
    assert result.line().startswith("1 of 52 images cannot be read")


def test_synth(nursery: Nursery, tmp_path: Path) -> None:
    words = ["synth", tmp_path / "people", "--ids", "4", "--cameras", "2", "--images-per-camera", "2", "--json"]
    value = nursery.run(*words).json()
    assert value["folder"] == str(tmp_path / "people")
    assert value["train"] == 8


def test_recipes(nursery: Nursery) -> None:
    value = nursery.run("recipes", "--json").json()
    strong = next(row for row in value["recipes"] if row["name"] == "strong-baseline")
    assert strong["published"]["market1501"] == {"rank1": 0.945, "map": 0.859}
    assert nursery.run("recipes", "strong-baseline").json()["network"]["neck"] == "bnneck"


def test_doctor(nursery: Nursery) -> None:
    done = nursery.run("doctor", "--json")
    value = done.json()
    assert "warning" not in done.err, "its trial is no training of the user's"
    assert {"reidkit", "python", "torch", "device", "threads", "missing"} <= set(value)


def test_doctor_and_the_image_cache(nursery: Nursery, noise: Path, trained: tuple[Path, Any], tmp_path: Path) -> None:
    """Query and gallery of 4 and 16 images at 32x32, three bytes a pixel, and a note behind each."""
    assert nursery.run("evaluate", trained[0], "--data", noise, "--cache", tmp_path / "c").status == 0
    words = ["doctor", "--quick", "--cache", tmp_path / "c"]
    cache = nursery.run(*words, "--json").json()["cache"]
    assert (cache["folder"], cache["files"]) == (str(tmp_path / "c"), 2)
    assert 20 * 32 * 32 * 3 < cache["bytes"] < 20 * 32 * 32 * 3 + 1000
    assert f"{tmp_path / 'c'}: 2 files, 0.00 GB" in nursery.run(*words).out
    cleared = nursery.run("doctor", "--clear-cache", "--cache", tmp_path / "c", "--json").json()
    assert cleared == {"cleared": cache}
    assert nursery.run(*words, "--json").json()["cache"]["files"] == 0
    again = nursery.run("doctor", "--clear-cache", "--cache", tmp_path / "c")
    assert again.out.split() == ["cleared", f"{tmp_path / 'c'}:", "0", "files,", "0.00", "GB"]
