"""`reidkit score` and `reidkit evaluate`: every way to score, as users call it, against the library."""

from __future__ import annotations

import csv
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from reidkit.cli.shared_scoring import ScoreResult, write_queries
from reidkit.metrics import protocols
from reidkit.metrics.reranking.expansion import CrossNeighbourhood, alpha_query_expansion, expanded_cross
from reidkit.metrics.reranking.k_reciprocal import k_reciprocal
from reidkit.metrics.retrieval import score_distances, score_features
from reidkit.terminal import cell_text
from reidkit.types import Embeddings, Names
from tests.commands import training
from tests.features_file import write_features
from tests.metrics.definition import crowd

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.commands import Nursery

    Rank = Callable[[Embeddings, Embeddings], dict[str, Any]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("features")
    for name, features in zip(("q", "g"), crowd(images=400), strict=True):
        write_features(folder / f"{name}.npz", features)
    return folder / "q.npz", folder / "g.npz"


def by_distances(query: Embeddings, gallery: Embeddings, dist_qg: np.ndarray) -> dict[str, Any]:
    return score_distances(dist_qg, query, gallery).as_json()


def by_cross(distance: Any) -> Rank:
    numbers = CrossNeighbourhood(distance=distance)
    return lambda query, gallery: by_distances(query, gallery, expanded_cross(query.vectors, gallery.vectors, numbers))


def by_expansion(query: Embeddings, gallery: Embeddings) -> dict[str, Any]:
    moved = alpha_query_expansion(query.vectors, gallery.vectors)
    return score_features(Embeddings(moved, query.pids, query.camids), gallery).as_json()


def by_k_reciprocal(query: Embeddings, gallery: Embeddings) -> dict[str, Any]:
    return by_distances(query, gallery, k_reciprocal(query.vectors, gallery.vectors))


@pytest.mark.parametrize(
    ("option", "way", "rank"),
    [
        (["--rerank"], "k-reciprocal", by_k_reciprocal),
        (["--rerank-by", "k-reciprocal"], "k-reciprocal", by_k_reciprocal),
        (["--rerank-by", "ecn"], "ecn", by_cross("rank")),
        (["--rerank", "--rerank-by", "ecn-original"], "ecn-original", by_cross("original")),
        (["--rerank-by", "expansion"], "expansion", by_expansion),
    ],
)
def test_re_ranking(nursery: Nursery, files: tuple[Path, Path], option: list[str], way: str, rank: Rank) -> None:
    query, gallery = crowd(images=400)
    value = nursery.run("score", *files, *option, "--json").json()
    numbers = {"k1": 20, "k2": 6, "lambda": 0.3} if way == "k-reciprocal" else {}
    assert value["reranked"] == {"by": way, **numbers, **rank(query, gallery)}
    assert value["reranked"]["map"] != value["map"] == score_features(query, gallery).map
    assert set(value["seconds"]) == {"score", "rerank"}
    words = nursery.run("score", *files, *option).out.split()
    assert {"re-ranked", f"({way})"} <= set(words)


def test_the_numbers_of_re_ranking(nursery: Nursery, files: tuple[Path, Path]) -> None:
    query, gallery = crowd(images=400)
    options = ["--rerank", "--k1", "9", "--k2", "3", "--lambda", "0.5"]
    value = nursery.run("score", *files, *options, "--json").json()["reranked"]
    dist_qg = k_reciprocal(query.vectors, gallery.vectors, k1=9, k2=3, lam=0.5)
    assert value == {"by": "k-reciprocal", "k1": 9, "k2": 3, "lambda": 0.5, **by_distances(query, gallery, dist_qg)}
    assert value["map"] != by_k_reciprocal(query, gallery)["map"]
    out = nursery.run("score", *files, *options).out
    assert [word in out for word in ("re-ranked", "(k-reciprocal, k1 9,", "k2 3, lambda 0.5)")] == [True] * 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--k1", "9"], "--k1 is a number of k-reciprocal re-ranking: ask for it by --rerank"),
        (["--rerank-by", "ecn", "--lambda", "0.5"], "--lambda is a number of k-reciprocal"),
        (["--rescore-top", "5"], "--rescore-top is how many of each list are re-scored: say how by --rescore"),
        (["--rerank", "--k1", "0"], "k1"),
        (["--rerank", "--k2", "-1"], "k2"),
        (["--rerank", "--lambda", "1.5"], "--lambda"),
        (["--rerank", "--lambda", "nan"], "lam"),
        (["--rerank", "--k1", "7" * 30], "k1"),
    ],
)
def test_numbers_that_make_no_sense(nursery: Nursery, tmp_path: Path, options: list[str], words: str) -> None:
    done = nursery.run("score", tmp_path / "no.npz", tmp_path / "no.npz", *options)
    assert (done.status, done.out) == (2, "")
    assert words in done.line()


def test_nothing_is_re_ranked_unasked(nursery: Nursery, files: tuple[Path, Path]) -> None:
    value = nursery.run("score", *files, "--json").json()
    assert not {"reranked", "camera_pairs", "single_shot", "ci"} & set(value)


def test_camera_by_camera(nursery: Nursery, files: tuple[Path, Path]) -> None:
    pairs = protocols.camera_pairs(*crowd(images=400))
    value = nursery.run("score", *files, "--by-camera", "--json").json()["camera_pairs"]
    assert len(value) == 12
    assert [(row["query_camid"], row["gallery_camid"], row["map"], row["queries"]) for row in value] == [
        (pair.query_camid, pair.gallery_camid, pair.scores.map, pair.scores.queries) for pair in pairs
    ]
    lines = nursery.run("score", *files, "--by-camera", "--ap", "trapezoid").out.splitlines()
    (line,) = (line for line in lines if "0 in 1" in line)
    assert line.split()[-2] == f"{100 * pairs[0].scores.map_trapezoid:.1f}"


def test_ids_and_cameras_that_have_names(nursery: Nursery, tmp_path: Path) -> None:
    """Numbers stay beside the names; a name that a spreadsheet would run as a formula does not begin like one."""
    names = Names({number: f"={number}" for number in range(100)}, {0: "door", 1: "yard", 2: "gate", 3: "hall"})
    query, gallery = (dataclasses.replace(side, names=names) for side in crowd(images=400))
    write_features(tmp_path / "q.npz", query)
    write_features(tmp_path / "g.npz", gallery)
    command = ("score", tmp_path / "q.npz", tmp_path / "g.npz", "--by-camera")
    pair = nursery.run(*command, "--json").json()["camera_pairs"][0]
    assert [pair[key] for key in ("query_camid", "gallery_camid", "query_camera", "gallery_camera")] == [
        *(0, 1, "door", "yard")
    ]
    assert "door in yard" in nursery.run(*command, "--per-query", tmp_path / "queries.csv").out
    with (tmp_path / "queries.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    pid, camid = int(query.pids[0]), int(query.camids[0])
    assert [row[key] for key in ("pid", "camid", "pid_name", "camid_name")] == [
        *(str(pid), str(camid), f"'={pid}", names.camids[camid])
    ]


def test_one_image_per_person(nursery: Nursery, files: tuple[Path, Path]) -> None:
    expected = protocols.single_shot(*crowd(images=400))
    value = nursery.run("score", *files, "--single-shot", "--json").json()["single_shot"]
    assert value == expected.as_json()
    assert (value["repeats"], value["rank1"]) == (100, expected.rank1)
    assert "one image per id, 100 draws" in nursery.run("score", *files, "--single-shot").out


def test_many_images_per_query(nursery: Nursery, files: tuple[Path, Path]) -> None:
    query, gallery = crowd(images=400)
    merged = protocols.multi_query(query)
    value = nursery.run("score", *files, "--multi-query", "--ci", "--json").json()
    assert value["map"] == score_features(merged, gallery).map != score_features(query, gallery).map
    assert value["queries"] + value["queries_skipped"] == len(merged.pids) < len(query.pids)


def test_queries_that_cannot_be_merged(nursery: Nursery, files: tuple[Path, Path], tmp_path: Path) -> None:
    """The scores were those without --multi-query, and nothing said so."""
    query, _ = crowd(images=400)
    one = tmp_path / "one.npz"
    write_features(one, protocols.multi_query(query))
    done = nursery.run("score", one, files[1], "--multi-query", "--json")
    (warning,) = done.json()["warnings"]
    assert warning.startswith("--multi-query merges nothing, as no id has two queries by one camera: give all images")
    assert f"warning: {warning}" in done.err
    assert nursery.run("score", *files, "--multi-query", "--json").json()["warnings"] == []


def test_every_query_in_a_file(nursery: Nursery, files: tuple[Path, Path], tmp_path: Path) -> None:
    """One query is of somebody who is not there."""
    query, gallery = crowd(images=400)
    query.pids[3] = 77
    write_features(tmp_path / "q.npz", query)
    out = tmp_path / "queries.csv"
    nursery.run("score", tmp_path / "q.npz", files[1], "--rerank", "--per-query", out, "--json").json()
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = score_features(query, gallery)
    assert len(rows) == len(query.pids)
    assert [rows[3][key] for key in ("pid", "ap", "inp", "first_match", "reranked_ap")] == ["77", "", "", "", ""]
    assert float(rows[0]["ap"]) == pytest.approx(scores.average_precision[0], rel=1e-5)
    assert int(rows[5]["first_match"]) == scores.first_match[5]
    assert rows[0]["reranked_ap"] != rows[0]["ap"]
    new = tmp_path / "new" / "queries.csv"
    assert nursery.run("score", *files, "--per-query", new).status == 0
    assert new.exists()
    done = nursery.run("score", *files, "--per-query", out / "queries.csv")
    assert (done.status, done.out) == (1, "")
    assert "cannot be written" in done.line()
    before = files[1].read_bytes()
    assert nursery.run("score", *files, "--per-query", files[1]).status == 2
    assert files[1].read_bytes() == before


@pytest.mark.parametrize("way", ["ecn", "ecn-original", "expansion"])
def test_ways_of_the_cosine_say_so_first(nursery: Nursery, tmp_path: Path, way: str) -> None:
    done = nursery.run("score", tmp_path / "no.npz", tmp_path / "no.npz", "--rerank-by", way, "--metric", "euclidean")
    assert (done.status, done.out) == (2, "")
    assert f"re-ranking by {way} compares by the cosine" in done.line()


def test_evaluate_takes_the_same(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert nursery.run(*training(noise, run)).status == 0
    options = ["--rerank-by", "ecn", "--by-camera", "--single-shot", "--multi-query"]
    page = tmp_path / "page.html"
    value = nursery.run("evaluate", run, "--data", noise, "--no-cache", *options, "--json", "--report", page).json()
    assert value["reranked"]["by"] == "ecn"
    assert value["single_shot"]["queries"] == value["queries"] == 4
    assert sum(row["queries"] for row in value["camera_pairs"]) == 4
    assert page.read_text().startswith("<!")


def test_paths_that_are_formulas_or_no_text(nursery: Nursery, files: tuple[Path, Path], tmp_path: Path) -> None:
    query, _ = crowd(images=400)
    odd = ["=1+1", "+1", "-1", "@SUM(1)", "\tx", "\rx", "＝1", "'x", "b\udcff", "plain.jpg", "a,b", "c\nd"]
    paths = (*odd, *(f"{i}.jpg" for i in range(len(query.pids) - len(odd))))
    write_features(tmp_path / "q.npz", Embeddings(query.vectors, query.pids, query.camids, "", paths))
    out = tmp_path / "queries.csv"
    assert nursery.run("score", tmp_path / "q.npz", files[1], "--per-query", out).status == 0
    with out.open(newline="", encoding="utf-8") as file:
        cells = [row["path"] for row in csv.DictReader(file)]
    assert cells[:8] == [f"'{path}" for path in odd[:8]]
    assert cells[8:12] == ["b\\udcff", "plain.jpg", "a,b", "c\nd"]
    assert [cell_text(cell) for cell in cells[:8]] == odd[:8]


def test_an_error_leaves_the_old_file_of_queries(
    nursery: Nursery, files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, gallery = crowd(images=400)
    out = tmp_path / "queries.csv"
    out.write_text("old")
    seen = iter(range(10))

    def fails(text: str) -> str:
        if next(seen) == 9:
            raise KeyboardInterrupt
        return text

    monkeypatch.setattr("reidkit.cli.shared_scoring.text_cell", fails)
    named = Embeddings(query.vectors, query.pids, query.camids, "", tuple(map(str, query.pids)))
    with pytest.raises(KeyboardInterrupt):
        write_queries(out, named, ScoreResult(scores=score_features(query, gallery), seconds={}))
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["queries.csv"]


def test_one_file_is_query_and_gallery(nursery: Nursery, tmp_path: Path) -> None:
    """Images of one unknown camera at 0, 1, 2.5 and 6: only the third finds another id first."""
    vectors = np.array([[0, 1], [1, 1], [2.5, 1], [6, 1]], np.float32)
    np.savez(tmp_path / "f.npz", vectors=vectors, pids=np.array([1, 1, 2, 2]))
    (tmp_path / "copy.npz").write_bytes((tmp_path / "f.npz").read_bytes())
    words = ["--metric", "euclidean", "--cameras", "any"]
    done = nursery.run("score", tmp_path / "f.npz", tmp_path / "f.npz", "--json", *words)
    assert (done.json()["rank1"], done.json()["queries_with_own_image"]) == (3 / 4, 4)
    done = nursery.run("score", tmp_path / "f.npz", tmp_path / "copy.npz", "--json", *words)
    assert done.json()["queries_with_identical_image"] == 4
    assert done.json()["warnings"][0].startswith("4 of 4 queries have an identical image in the gallery")
    assert "warning: 4 of 4 queries have an identical image in the gallery" in done.err
    refused = nursery.run("score", tmp_path / "f.npz", tmp_path / "f.npz")
    assert "has no camids" in refused.line()
    assert "(--cameras)" in refused.line()


def test_one_file_with_both_sides(nursery: Nursery, files: tuple[Path, Path], tmp_path: Path) -> None:
    (query, gallery), value = crowd(images=400), nursery.run("score", *files, "--json").json()
    sides = {"query": query, "gallery": gallery}
    parts: dict[str, Any] = {
        f"{name}_{end}": part
        for name, side in sides.items()
        for end, part in (("f", side.vectors), ("label", side.pids), ("cam", side.camids))
    }
    np.savez(tmp_path / "both.npz", **parts)
    found = nursery.run("score", tmp_path / "both.npz", "--json").json()
    assert {**found, "seconds": 0} == {**value, "seconds": 0}
    assert "holds no query_f and gallery_f" in nursery.run("score", files[0]).line()
