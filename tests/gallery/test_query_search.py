"""Probabilities and thresholds of hits, by hand."""

from __future__ import annotations

import math

import pytest

from reidkit.errors import UsageError
from reidkit.gallery import Query, Row, open_gallery
from reidkit.metrics.calibration_file import pair_of
from tests.gallery.made import Calibrated, Colours, calibration, keys

RED, BLUE = [1.0, 0, 0], [0, 0, 1.0]


@pytest.fixture
def gallery():
    made = open_gallery("memory", Calibrated())
    rows = [Row("a", camera="hall"), Row("b", camera="yard"), Row("c"), Row("d", camera="2")]
    made.add_vectors([[3, 4, 0], [3, 4, 0], [4, 3, 0], BLUE], rows)  # cosines with RED: 0.6, 0.6, 0.8, 0
    return made


def test_probabilities_are_those_of_the_two_cameras_or_of_all(gallery):
    hits = {hit.key: hit for hit in gallery.search(Query(vectors=[RED], camera="door"))}
    assert [hits[key].probability for key in "abcd"] == pytest.approx([0.44, 0.58, 0.74, 0.2])
    assert [hits[key].threshold for key in "abcd"] == [0.75, 0.5, 0.5, 0.75]
    assert [hits[key].same for key in "abcd"] == [False, True, True, False]
    assert [hits[key].calibration for key in "abcd"] == ["pair", "all", "all", "pair"]
    found = gallery.search(Query(vectors=[RED]))
    assert (found.threshold, found.far) == (0.5, 1e-3)
    assert [hit.calibration for hit in found] == ["all"] * 4
    assert {hit.key: hit.probability for hit in found}["a"] == pytest.approx(0.58)
    info = gallery.info()
    assert (info.calibrated, info.far, info.threshold, info.pairs) == (True, 1e-3, 0.5, 1)


def test_the_calibrated_radius_is_that_of_each_pair_of_cameras(gallery):
    assert keys(gallery.search(Query(vectors=[RED], camera="door"), radius="calibrated")) == ["c", "b"]
    assert keys(gallery.search(Query(vectors=[RED]), radius="calibrated")) == ["c", "a", "b"]
    pages = [
        gallery.search(Query(vectors=[RED], camera="door"), radius="calibrated", top=1, offset=n) for n in range(3)
    ]
    assert [keys(page) for page in pages] == [["c"], ["b"], []]


def test_groups_of_the_calibrated_radius_pass_over_rows_that_do_not_reach_their_own_threshold():
    """From door 30 rows of the hall are nearer than the last of the yard, and do not count, as theirs is higher."""
    made = open_gallery("memory", Calibrated())
    rows = [Row("first", pid=0, camera="yard"), *(Row(f"{n}", pid=n, camera="yard") for n in range(1, 9))]
    rows += [Row(f"hall{n}", pid=0, camera="hall") for n in range(30)]
    cosines = [0.9, *[0.8] * 8, *[0.6] * 30, 0.55]
    rows.append(Row("last", pid=0, camera="yard"))
    made.add_vectors([[cosine, math.sqrt(1 - cosine * cosine), 0] for cosine in cosines], rows)
    how = {"group_by": "person", "group_size": 3, "radius": "calibrated", "top": 2}
    assert keys(made.search(Query(vectors=[RED], camera="door"), **how)) == ["first", "last", "1"]
    assert keys(made.search(Query(vectors=[RED]), **how)) == ["first", "hall0", "hall1", "1"]


def test_several_images_are_judged_by_the_mean_of_their_cosines(gallery):
    """As two images of which one is at 0.8 and one at 0 show one person less surely than one at 0.8."""
    (hit,) = gallery.search(Query(vectors=[RED, BLUE]), top=1)
    assert (hit.key, hit.similarity, hit.probability) == ("d", pytest.approx(0.5), pytest.approx(0.5))


def test_cameras_are_known_by_number_or_name():
    known = calibration()
    assert pair_of(known, "door", "2") is pair_of(known, "1", "hall") is known.camera_pairs[0]
    assert pair_of(known, "hall", "door") is None
    assert pair_of(known, None, "hall") is None
    assert pair_of(known, "", "") is None


def test_without_a_calibration_nothing_is_made_up():
    made = open_gallery("memory", Colours())
    made.add_vectors([RED], [Row("a")])
    hit = made.search_vectors([RED])[0][0]
    assert (hit.probability, hit.same, hit.threshold, hit.calibration) == (None,) * 4
    with pytest.raises(UsageError, match="there is no calibrated threshold"):
        made.search_vectors([RED], radius="calibrated")


def test_a_camera_alone_is_no_list_of_its_letters(gallery):
    with pytest.raises(UsageError, match="cameras: 'hall' is one value: pass a list of them"):
        gallery.search(Query(vectors=[RED]), cameras="hall")
    assert keys(gallery.search(Query(vectors=[RED]), cameras=["hall"])) == ["a"]
