"""`reidkit score` and `reidkit evaluate`: every way to score, as users call it, against the library."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import pytest

from reidkit.evaluate import protocol
from reidkit.evaluate.cross import CrossNeighbourhood, expanded_cross
from reidkit.evaluate.expansion import alpha_query_expansion
from reidkit.evaluate.features import write_features
from reidkit.evaluate.metrics import score, score_distances
from reidkit.evaluate.rerank import k_reciprocal
from reidkit.types import Embeddings
from tests.commands import training
from tests.evaluate.definition import crowd

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

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
    return score(Embeddings(moved, query.pids, query.camids), gallery).as_json()


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
    assert value["reranked"] == {"by": way, **rank(query, gallery)}
    assert value["reranked"]["map"] != value["map"] == score(query, gallery).map
    assert set(value["seconds"]) == {"score", "rerank"}
    assert f"re-ranked ({way})" in nursery.run("score", *files, *option).out


def test_nothing_is_re_ranked_unasked(nursery: Nursery, files: tuple[Path, Path]) -> None:
    value = nursery.run("score", *files, "--json").json()
    assert not {"reranked", "camera_pairs", "single_shot", "ci"} & set(value)


def test_camera_by_camera(nursery: Nursery, files: tuple[Path, Path]) -> None:
    pairs = protocol.camera_pairs(*crowd(images=400))
    value = nursery.run("score", *files, "--by-camera", "--json").json()["camera_pairs"]
    assert len(value) == 12
    assert [(row["query_camid"], row["gallery_camid"], row["map"], row["queries"]) for row in value] == [
        (pair.query_camid, pair.gallery_camid, pair.scores.map, pair.scores.queries) for pair in pairs
    ]
    lines = nursery.run("score", *files, "--by-camera", "--ap", "trapezoid").out.splitlines()
    (line,) = (line for line in lines if "0 in 1" in line)
    assert line.split()[-2] == f"{100 * pairs[0].scores.map_trapezoid:.1f}"


def test_one_image_per_person(nursery: Nursery, files: tuple[Path, Path]) -> None:
    expected = protocol.single_shot(*crowd(images=400))
    value = nursery.run("score", *files, "--single-shot", "--json").json()["single_shot"]
    assert value == expected.as_json()
    assert (value["repeats"], value["rank1"]) == (100, expected.rank1)
    assert "one image per person, 100 draws" in nursery.run("score", *files, "--single-shot").out


def test_many_images_per_query(nursery: Nursery, files: tuple[Path, Path]) -> None:
    query, gallery = crowd(images=400)
    merged = protocol.multi_query(query)
    value = nursery.run("score", *files, "--multi-query", "--ci", "--json").json()
    assert value["map"] == score(merged, gallery).map != score(query, gallery).map
    assert value["queries"] + value["queries_skipped"] == len(merged.pids) < len(query.pids)


def test_every_query_in_a_file(nursery: Nursery, files: tuple[Path, Path], tmp_path: Path) -> None:
    """One query is of somebody who is not there."""
    query, gallery = crowd(images=400)
    query.pids[3] = 77
    write_features(tmp_path / "q.npz", query)
    out = tmp_path / "queries.csv"
    nursery.run("score", tmp_path / "q.npz", files[1], "--rerank", "--per-query", out, "--json").json()
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = score(query, gallery)
    assert len(rows) == len(query.pids)
    assert [rows[3][key] for key in ("pid", "ap", "inp", "first_match", "reranked_ap")] == ["77", "", "", "", ""]
    assert float(rows[0]["ap"]) == pytest.approx(scores.average_precision[0], rel=1e-5)
    assert int(rows[5]["first_match"]) == scores.first_match[5]
    assert rows[0]["reranked_ap"] != rows[0]["ap"]
    done = nursery.run("score", *files, "--per-query", tmp_path / "no" / "queries.csv")
    assert done.status == 1
    assert "cannot be written" in done.line()


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
