"""An image is never its own match, and copies that cannot be known are told."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from reidkit.errors import DataError
from reidkit.metrics import matching, protocols
from reidkit.metrics.calibration import calibrate
from reidkit.metrics.matching import file_of, find_copies, find_matches, make_rule, subset
from reidkit.metrics.pairs import collect_pairs
from reidkit.metrics.ranking import pair_histogram, rank
from reidkit.metrics.retrieval import score_features
from reidkit.metrics.scoring import score_reranked
from reidkit.types import Embeddings

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.types import Cameras


def line(places: list[float], pids: list[int], paths: tuple[str, ...] = (), camid: int = 0) -> Embeddings:
    vectors = np.array([[place, 1.0] for place in places], np.float32)
    return Embeddings(vectors, np.array(pids), np.full(len(pids), camid), paths=paths)


def test_by_hand() -> None:
    """Of images at 0, 1, 2.5 and 6 only the third finds another id first; with itself listed, it would find itself."""
    images = line([0, 1, 2.5, 6], [1, 1, 2, 2], ("a", "b", "c", "d"))
    scores = score_features(images, replace(images), metric="euclidean", cameras="any")
    assert scores.rank1 == 3 / 4
    assert scores.first_match.tolist() == [1, 1, 3, 1]
    assert scores.map == pytest.approx((1 + 1 + 1 / 3 + 1) / 4)


@pytest.mark.parametrize("cameras", ["cross", "any"])
def test_the_same_file_under_both_rules(cameras: Cameras) -> None:
    """The gallery says that another camera took it: it is the query's own image all the same."""
    query = line([0], [1], ("x/../a.jpg",))
    gallery = line([0, 5, 1], [1, 1, 2], ("a.jpg", "b.jpg", "c.jpg"), camid=1)
    assert find_matches(make_rule(query, gallery, cameras)).columns.tolist() == [1]
    assert score_features(query, gallery, metric="euclidean", cameras=cameras).map == 1 / 2
    (head,) = rank(query, gallery, [0], metric="euclidean", cameras=cameras)
    assert head.indices.tolist() == [2, 1]
    counts = pair_histogram(query, gallery, metric="euclidean", cameras=cameras)
    assert (counts.same.sum(), counts.different.sum()) == (1, 1)
    pairs = collect_pairs(query, gallery, metric="euclidean", cameras=cameras)
    assert (pairs.genuine.tolist(), pairs.impostors) == ([1 - 25 / 2], 1)


def test_links_and_hard_links_lead_to_one_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    os.link(tmp_path / "a.jpg", tmp_path / "hard.jpg")
    (tmp_path / "copy.jpg").write_bytes(b"a")
    names = ("link.jpg", "hard.jpg", "copy.jpg")
    query = line([0], [1], (str(tmp_path / "a.jpg"),))
    gallery = line([0, 0, 0], [1, 1, 1], tuple(str(tmp_path / name) for name in names))
    assert find_matches(make_rule(query, gallery, "any")).columns.tolist() == [2]
    copies = find_copies(query, gallery, cameras="any")
    assert (copies.queries, copies.own, copies.identical) == (1, 1, 1)


def test_paths_to_no_file_are_told_apart_as_if_each_were_followed_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies in one folder is followed there once: of features from elsewhere no path leads to a file."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "linked").symlink_to("folder")
    (tmp_path / "linked" / "dangling").symlink_to("../gone/a.jpg")
    (tmp_path / "circle").symlink_to("circle")
    monkeypatch.chdir(tmp_path)
    names = ("a.jpg", "b.jpg", ".", "..", "", "dangling", "a.jpg/b.jpg")
    folders = ("", ".", "folder", "linked", "linked/..", "gone", "gone/../folder", "circle", str(tmp_path), "/", "//")
    paths = [f"{folder}/{name}" if folder else name for folder in folders for name in names]
    expected = [os.path.realpath(path) for path in paths]
    known: dict[str, str] = {}
    assert [file_of(path, known) for path in paths] == [(path, False) for path in expected]

    followed: list[str] = []
    follow = os.path.realpath

    def noted(path: str) -> str:
        followed.append(path)
        return follow(path)

    monkeypatch.setattr("os.path.realpath", noted)
    pids = [number // 2 for number in range(50)]
    images = line([float(number) for number in range(50)], pids, tuple(f"camera/{number}.jpg" for number in range(50)))
    assert make_rule(images, replace(images), "any").own.tolist() == [list(range(50)), list(range(50))]
    assert followed == ["camera", "camera"]


def test_one_path_of_two_ids_is_two_images() -> None:
    """Crops of one frame may be named after it."""
    query, gallery = line([0, 3], [1, 2], ("frame", "frame")), line([0, 3, 4], [1, 2, 2], ("frame", "frame", "other"))
    assert make_rule(query, gallery, "any").own.tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("path", ["", "0.jpg", "."])
def test_what_names_many_images_names_none(path: str) -> None:
    query, gallery = line([0], [1], (path,)), line([1, 2], [1, 1], (path, path))
    assert find_matches(make_rule(query, gallery, "any")).columns.tolist() == [0, 1]


@pytest.mark.parametrize("cameras", ["cross", "any"])
def test_one_set_of_features_on_both_sides(cameras: Cameras) -> None:
    """Without paths a row is known by its place; the parts of a set know it as well."""
    pids, camids = np.repeat(np.arange(30), 3), np.tile([0, 1, 1], 30)
    features = Embeddings(np.random.default_rng(0).standard_normal((90, 8)).astype(np.float32), pids, camids)
    named = replace(features, paths=tuple(f"{i}.jpg" for i in range(90)))
    expected = score_features(named, replace(named), cameras=cameras)
    assert score_features(features, features, cameras=cameras).map == expected.map < 0.5
    assert score_reranked(features, features, cameras=cameras).map == score_reranked(named, named, cameras=cameras).map
    assert protocols.single_shot(features, features, cameras=cameras).rank1 < 0.5
    assert len(collect_pairs(features, features, cameras=cameras).genuine) == (120 if cameras == "cross" else 180)
    found = protocols.camera_pairs(features, features, cameras=cameras)
    assert sum(pair.scores.queries for pair in found) == (90 if cameras == "cross" else 150)
    stored = calibrate(features, features, cameras=cameras, data="x")
    assert stored.genuine == (120 if cameras == "cross" else 180)
    assert stored.held_out is not None
    assert stored.held_out.genuine == stored.genuine // 2
    assert any("90 of 90 queries lie in the gallery as the same file" in line for line in stored.warnings)


def test_images_of_a_merged_query_are_left_out() -> None:
    """Two images of id 1 by one camera are merged to 1; neither is a match of the mean, and the third is at 9."""
    query = line([0, 2], [1, 1], ("a", "b"))
    gallery = line([0, 2, 9, 5], [1, 1, 1, 2], ("a", "b", "c", "d"))
    merged = protocols.multi_query(query)
    assert merged.sources == (("a", "b"),)
    assert find_matches(make_rule(merged, gallery, "any")).columns.tolist() == [2]
    assert score_features(merged, gallery, metric="euclidean", cameras="any").map == 1 / 2
    assert subset(merged, np.array([0])).sources == merged.sources


def test_copies_are_told() -> None:
    query = line([0, 4], [1, 2])
    gallery = line([0, 1, 4.1, 6], [1, 1, 2, 2])
    copies = find_copies(query, gallery, cameras="any")
    assert (copies.queries, copies.own, copies.identical) == (2, 0, 1)
    (said,) = copies.warnings()
    assert said.startswith("1 of 2 queries have an identical image in the gallery")
    assert find_copies(query, gallery, cameras="cross").identical == 0  # of the same camera: left out anyway


def test_features_that_are_all_equal_are_no_copies() -> None:
    """It is the network that makes them so, and a reader of the scores is told."""
    query, gallery = line([1, 1], [1, 2]), line([1, 1, 1.00001], [1, 2, 3])
    copies = find_copies(query, gallery, cameras="any")
    (said,) = copies.warnings()
    assert (copies.identical, copies.all_alike) == (0, "equal")
    assert said.startswith("all features are equal, so that no image can be told from another")
    assert said in calibrate(line([1, 1], [1, 2]), gallery, cameras="any", data="x").warnings
    nothing = Embeddings(np.zeros((2, 8), np.float32), [1, 2], [0, 0])
    assert find_copies(nothing, replace(nothing), cameras="any").all_alike == "zero"


@pytest.mark.parametrize("odd", range(3))
def test_one_other_feature_makes_them_differ(monkeypatch: pytest.MonkeyPatch, odd: int) -> None:
    monkeypatch.setattr(matching, "ALIKE_ROWS", 2)
    values = [1.0, 1.0, 1.0]
    values[odd] = 1.1
    assert find_copies(line([1, 1], [1, 2]), line(values, [1, 2, 3]), cameras="any").all_alike == ""
    assert find_copies(line([1], [1]), line([1], [1]), cameras="any").all_alike == ""  # of one id: copies


def test_nothing_but_own_images_says_so() -> None:
    """Neither rule helps here, so that none is advised."""
    images = line([0, 1], [1, 2], ("a", "b"))
    for cameras in ("cross", "any"):
        with pytest.raises(DataError, match="the gallery needs a second image"):
            score_features(images, replace(images), cameras=cameras)
