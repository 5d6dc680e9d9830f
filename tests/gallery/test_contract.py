"""What every gallery does. A gallery of another kind is added to `GALLERIES`."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from reidkit.errors import DataError, UsageError
from reidkit.gallery import Filter, Gallery, Query, Row, SearchOptions, create_gallery, open_gallery
from reidkit.gallery.person_ids import settle_named
from reidkit.types import Sample
from tests.gallery import milvus_service
from tests.gallery.made import Colours, colour, keys, similarities

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reidkit.encoder import Encoder

GALLERIES: dict[str, Callable[[Path, Encoder], Gallery]] = {
    "memory": lambda _, encoder: open_gallery("memory", encoder),
    "local": lambda folder, encoder: open_gallery(folder / "people.db", encoder),
    "milvus": lambda _, encoder: milvus_service.reused(encoder),
}

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
RED, GREEN, BLUE = [1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]


@pytest.fixture(params=GALLERIES)
def gallery(request, tmp_path):
    with GALLERIES[request.param](tmp_path, Colours()) as made:
        yield made


def fill(gallery: Gallery, **columns: Any) -> None:
    """Add rows a, b, c, ... whose cosines with RED are 1, 0.8, 0.6, 0."""
    vectors: Any = [RED, [4, 3, 0], [3, 4, 0], BLUE]
    gallery.add_vectors(
        vectors, [Row(key, **{name: value[at] for name, value in columns.items()}) for at, key in enumerate("abcd")]
    )


def test_the_most_similar_come_first(gallery):
    """Red is asked for. Of red the cosine is 1, of orange (4, 3) 4/5, of blue 0."""
    added = gallery.add(
        [colour(0, 0, 9), colour(40, 30, 0), colour(200, 0, 0)], keys=["blue", "orange", "red"], cameras=[1, "hall", 1]
    )
    assert list(added.keys) == gallery.keys() == ["blue", "orange", "red"]
    assert added.count("added") == len(gallery) == 3
    assert "red" in gallery
    assert "green" not in gallery
    hits = gallery.search(colour(7, 0, 0))
    assert keys(hits) == ["red", "orange", "blue"]
    assert similarities(hits) == [1.0, 0.8, 0.0]
    assert [hit.camera for hit in hits] == ["1", "hall", "1"]
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert [(hit.probability, hit.same, hit.threshold) for hit in hits] == [(None, None, None)] * 3
    assert (hits.searched, hits.passed, hits.exact, hits.next) == (3, 3, True, "")
    assert keys(gallery.search(colour(7, 0, 0), top=2)) == ["red", "orange"]
    assert keys(gallery.search(colour(7, 0, 0), cameras=["hall", 5])) == ["orange"]
    assert keys(gallery.search(colour(7, 0, 0), cameras=[])) == []


def test_of_equal_ones_the_earlier_comes_first(gallery):
    gallery.add([colour(9, 0, 0)] * 3, keys=["b", "a", "c"])
    assert keys(gallery.search(colour(9, 0, 0))) == ["b", "a", "c"]
    assert keys(gallery.search(colour(9, 0, 0), top=1)) == ["b"]


def test_what_is_removed_is_not_found(gallery):
    gallery.add([colour(9, 0, 0), colour(0, 9, 0), colour(0, 0, 9)], keys=["r", "g", "b"], cameras=[1, 2, 3])
    assert gallery.remove(["r"]) == 1
    assert gallery.keys() == ["g", "b"]
    assert [(hit.key, hit.camera) for hit in gallery.search(colour(9, 9, 0))] == [("g", "2"), ("b", "3")]
    gallery.add([colour(9, 0, 0)], keys=["r"])
    assert gallery.keys() == ["g", "b", "r"]
    with pytest.raises(DataError, match="x is not in the gallery"):
        gallery.remove(["g", "x"])
    assert len(gallery) == 3
    assert gallery.remove(["g", "x"], missing_ok=True) == 1
    assert gallery.remove([]) == 0


def test_an_empty_gallery(gallery):
    assert gallery.add([]).keys == ()
    assert keys(gallery.search(colour(1, 2, 3))) == []
    assert gallery.search_vectors(np.zeros((0, 3))) == []
    assert [len(hits) for hits in gallery.search_vectors([[1, 0, 0], [0, 1, 0]])] == [0, 0]
    assert gallery.search_many([]) == []
    gallery.add([colour(9, 0, 0)], keys=["r"])
    gallery.remove(["r"])
    assert (len(gallery), len(gallery.search(colour(1, 2, 3)))) == (0, 0)
    assert gallery.rows().rows == ()
    assert gallery.check().problems == ()


def test_paths_are_keys(gallery, tmp_path):
    path = tmp_path / "red.png"
    Image.fromarray(np.full((5, 4, 3), (200, 0, 0), np.uint8)).save(path)
    assert gallery.add([path]).keys == (str(path),)
    assert gallery.search(str(path))[0].similarity == pytest.approx(1.0)
    assert gallery.get(str(path)).image == str(path)
    assert gallery.add([str(path)]).status == ("unchanged",)
    with pytest.raises(DataError, match=r"red\.png is in the gallery already, with another image or other columns"):
        gallery.add([str(path)], cameras=[3])


def test_what_is_refused_adds_nothing(gallery, tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    images: list[Any] = [colour(9, 0, 0), tmp_path / "text.jpg"]
    with pytest.raises(DataError, match=r"text\.jpg is not an image"):
        gallery.add(images, keys=["a", "b"])
    with pytest.raises(UsageError, match="image 0 has no path to be its key: pass keys"):
        gallery.add(images[:1])
    for wrong, words in (
        ((image for image in images), "images are a generator: pass a list"),
        ([Sample("a.jpg", 1, 1)], r"images are samples: pass their paths, \[sample\.path for sample in samples\]"),
    ):
        with pytest.raises(UsageError, match=words):
            gallery.add(wrong, keys=["a"])
    with pytest.raises(UsageError, match=r"pass \[Row\(key=key\) for key in keys\]"):
        gallery.add_vectors([[1.0, 0.0, 0.0]], ["a"])
    for options in (3, {"top": 3}):
        with pytest.raises(UsageError, match=r"pass SearchOptions\(top=5\), or top=5 by its name"):
            gallery.search(images[0], options)
    with pytest.raises(UsageError, match="there are 1 keys for 2 images"):
        gallery.add(images, keys=["a"])
    with pytest.raises(UsageError, match="there are 3 cameras for 2 images"):
        gallery.add(images, keys=["a", "b"], cameras=[1, 2, 3])
    with pytest.raises(DataError, match="a is in the gallery already"):
        gallery.add([colour(1, 1, 1), colour(9, 1, 1)], keys=["a", "a"])
    assert (len(gallery), gallery.keys()) == (0, [])
    gallery.add(images[:1], keys=["a"])
    assert len(gallery.search(images[0], top=np.int64(1))) == 1
    for changes, words in (
        ({"top": 0}, "pass top=1 or more"),
        ({"offset": -1}, "pass offset=0 or more"),
        ({"limit": 3}, "a search has no option limit: choose cameras, top"),
        ({"group_by": "colour"}, "choose person, track or camera"),
        ({"radius": "near"}, "pass a number or 'calibrated'"),
        ({"radius": "calibrated"}, "there is no calibrated threshold"),
        ({"cursor": "7:x"}, "that is no cursor"),
        ({"cursor": "7", "offset": 7}, "pass one of them"),
        ({"other_cameras": True}, r"it is not known: search for Query\(images=\[...\], camera=...\)"),
    ):
        with pytest.raises(UsageError, match=words):
            gallery.search(images[0], **changes)
    with pytest.raises(DataError, match=r"features \[1, 2\] are not \[N, 3\]"):
        gallery.search_vectors([[1.0, 2.0]])
    with pytest.raises(DataError, match="NaN"):
        gallery.search_vectors([[1.0, float("nan"), 0.0]])
    with pytest.raises(DataError, match="the feature of the query is zero"):
        gallery.search(colour(0, 0, 0))
    with pytest.raises(UsageError, match="a query without an image, a feature or a key"):
        gallery.search(Query())
    with pytest.raises(UsageError, match=r"keys='a' is one: pass a list"):
        Query(keys="a")
    with pytest.raises(DataError, match="features are of the model beef, and the gallery's of c0105125c0105125"):
        gallery.add_vectors([RED], [Row("b")], model="beef")
    with pytest.raises(DataError, match="features are of the model beef"):
        gallery.search_vectors([RED], model="beef")
    with pytest.raises(UsageError, match="there are 1 features for 2 rows"):
        gallery.add_vectors([RED], [Row("b"), Row("c")])
    with pytest.raises(DataError, match="whole number from 0 up"):
        gallery.add(images[:1], keys=["x"], pids=[1.5])
    one: Any = "a"
    with pytest.raises(UsageError, match=r"a is one key: pass a list, \['a'\]"):
        gallery.remove(one)
    with pytest.raises(UsageError, match=r"a is one image: pass a list, \['a'\]"):
        gallery.add(one)
    for columns, words in (({"keys": one}, "keys is 'a'"), ({"keys": ["b"], "cameras": 1}, "cameras is 1")):
        with pytest.raises(UsageError, match=f"{words}: pass a list, one for each image"):
            gallery.add(images[:1], **columns)
    assert gallery.keys() == ["a"]


def test_columns_come_back(gallery):
    gallery.add(
        [colour(9, 0, 0)],
        keys=["Jürgen/ß"],
        cameras=["door"],
        pids=[7],
        tracks=["t1"],
        times=["2026-11-26T13:00:00.25+01:00"],
        attributes=[{"colour": "red", "bag": True, "height": 1.8, "n": 3}],
    )
    row = gallery.get("Jürgen/ß")
    assert (row.pid, row.camera, row.track, row.time) == (7, "door", "t1", NOON + timedelta(milliseconds=250))
    assert row.attributes == {"colour": "red", "bag": True, "height": 1.8, "n": 3}
    assert row.attributes["bag"] is True
    assert row.id > 0
    assert abs(datetime.now(UTC) - row.added) < timedelta(minutes=5)
    assert gallery.get("none") is None
    assert gallery.get("") is None
    hit = gallery.search(colour(9, 0, 0))[0]
    assert (hit.pid, hit.track, hit.time, hit.attributes, hit.id) == (
        row.pid,
        row.track,
        row.time,
        row.attributes,
        row.id,
    )
    np.testing.assert_array_equal(gallery.vectors(["Jürgen/ß"]), [[9, 0, 0]])
    gallery.add([colour(9, 0, 0)], keys=["u"], cameras=[-1], pids=[-1])
    assert (gallery.get("u").camera, gallery.get("u").pid) == (None, None)


def test_the_name_of_an_id_is_that_of_its_first_row(gallery):
    rows = [
        Row("z", pid=3, attributes={"person": "Karl", "coat": "red"}),
        Row("a", pid=3, attributes={"person": "Lena"}),
        Row("b", pid=1, attributes={"person": 7}),
        Row("c", pid=2),
        Row("d", attributes={"person": "nobody's id"}),
    ]
    assert gallery.person_names() == {}
    gallery.add_vectors([RED] * len(rows), rows)
    assert gallery.person_names() == {3: "Karl", 1: None, 2: None}
    gallery.remove(["z", "c"])
    assert gallery.person_names() == {3: "Lena", 1: None}


def test_rows_are_settled_as_they_are_added(gallery):
    def settle(rows, names):
        return [replace(row, pid=10 + len(names)) for row in rows]

    gallery.add_vectors([RED], [Row("a", pid=0)], settle=settle)
    assert gallery.add_vectors([GREEN], [Row("b", pid=0)], settle=settle).keys == ("b",)
    assert [row.pid for row in gallery] == [10, 11]


def test_a_name_gets_no_id_of_rows_without_names_that_were_added_meanwhile(gallery):
    def add(key, pid, name):
        row = Row(key, pid=pid, attributes={"person": name} if name else {})
        gallery.add_vectors([RED], [row], settle=settle_named([key]) if name else None)

    for key, pid, name in (("a", 0, "Karl"), ("b", 1, ""), ("c", 1, "Lena"), ("d", 0, "Lena"), ("e", 2, "Max")):
        add(key, pid, name)
    assert [row.pid for row in gallery] == [0, 1, 2, 2, 3]


def test_adding_again_changes_nothing_and_replacing_does(gallery):
    row = Row("a", camera="door", attributes={"n": 1})
    assert gallery.add_vectors([RED], [row]).status == ("added",)
    first = gallery.get("a")
    assert gallery.add_vectors([RED], [row], on_conflict="replace").status == ("unchanged",)
    assert gallery.get("a") == first
    skipped = gallery.add_vectors([GREEN, GREEN], [row, Row("b")], on_conflict="skip")
    assert skipped.status == ("conflict", "added")
    assert gallery.get("a") == first
    np.testing.assert_array_equal(gallery.vectors(["a"]), [RED])
    replaced = gallery.add_vectors([GREEN], [replace(row, camera="hall")], on_conflict="replace")
    assert replaced.status == ("replaced",)
    assert gallery.get("a").camera == "hall"
    assert gallery.get("a").id > first.id
    assert gallery.keys() == ["b", "a"]
    assert keys(gallery.search_vectors([GREEN])[0]) == ["b", "a"]
    twice = gallery.add_vectors([RED, GREEN], [Row("c"), Row("c")], on_conflict="replace")
    assert twice.status == ("added", "replaced")
    np.testing.assert_array_equal(gallery.vectors(["c"]), [GREEN])
    assert gallery.add_vectors([RED, RED], [Row("d"), Row("d")]).status == ("added", "unchanged")
    with pytest.raises(UsageError, match="on_conflict must be raise, skip or replace, not merge"):
        gallery.add_vectors([RED], [Row("d")], on_conflict="merge")


def test_an_image_that_is_embedded_again_is_the_same_up_to_rounding(gallery):
    gallery.add_vectors([[1, 1e-3, 0]], [Row("a")])
    assert gallery.add_vectors([[1.0001, 2e-3, 0]], [Row("a")]).status == ("unchanged",)
    with pytest.raises(DataError, match="a is in the gallery already"):
        gallery.add_vectors([[1, 0.1, 0]], [Row("a")])
    assert gallery.add_vectors([[1.0001, 2e-3, 0]], [Row("a")], on_conflict="replace").status == ("replaced",)


def test_filters(gallery):
    fill(gallery, camera=["door", "hall", None, "door"], time=[None, NOON, NOON + timedelta(hours=1), NOON])
    for conditions, expected in (
        ({}, "abcd"),
        ({"cameras": ["door"]}, "ad"),
        ({"not_cameras": ["door"]}, "bc"),
        ({"since": NOON, "until": NOON + timedelta(minutes=1)}, "bd"),
        ({"keys": ["c", "a", "x"]}, "ac"),
        ({"not_keys": ["a"]}, "bcd"),
        ({"cameras": ["nowhere"]}, ""),
        ({"older_than": NOON + timedelta(minutes=1)}, "bd"),
    ):
        matching = Filter(**conditions)
        found = gallery.search_vectors([RED], filter=matching)[0]
        assert keys(found) == list(expected), conditions
        assert (found.searched, found.passed) == (4, len(expected))
        assert keys(gallery.rows(matching).rows) == list(expected)
        assert gallery.count(matching) == len(expected)
    with pytest.raises(UsageError, match="is one value: pass a list"):
        Filter(cameras="door")


def test_what_is_no_filter_is_refused(gallery):
    for call in (gallery.count, gallery.rows, gallery.remove_matching):
        for wrong in ("hall", {"cameras": ["hall"]}, None):
            with pytest.raises(UsageError, match=r"is no filter: pass a Filter of reidkit\.gallery"):
                call(wrong)


def test_removing_by_filter(gallery):
    fill(gallery, camera=["door", "hall", None, "door"], time=[NOON - timedelta(days=5)] * 2 + [None, None])
    with pytest.raises(UsageError, match="an empty filter would remove everything"):
        gallery.remove_matching(Filter())
    old = Filter(older_than=datetime.now(UTC) - timedelta(hours=72))
    assert gallery.remove_matching(old, dry_run=True) == gallery.count(old) == 2
    with pytest.raises(DataError, match="the filter fits 2 rows, and not 3: none is removed"):
        gallery.remove_matching(old, expect=3)
    assert gallery.remove_matching(old, expect=2) == 2
    assert gallery.keys() == ["c", "d"]
    assert gallery.remove_matching(Filter(cameras=["door"])) == 1
    assert gallery.remove_matching(Filter(cameras=["door"])) == 0


def test_several_images_are_one_query(gallery):
    """The mean of the cosines with red and green is (1 + 0) / 2 for red, (0.8 + 0.6) / 2 for orange."""
    gallery.add_vectors([RED, [4, 3, 0], BLUE], [Row("red"), Row("orange"), Row("blue")])
    mean = gallery.search(Query(vectors=[RED, GREEN]))
    assert keys(mean) == ["orange", "red", "blue"]
    assert similarities(mean) == [0.7, 0.5, 0.0]
    best = gallery.search(Query(vectors=[RED, GREEN], combine="best"))
    assert keys(best) == ["red", "orange", "blue"]
    assert similarities(best) == [1.0, 0.8, 0.0]
    assert keys(gallery.search([colour(9, 0, 0), colour(0, 9, 0)])) == keys(mean)
    by_key = gallery.search(Query(keys=["red"]))
    assert keys(by_key) == ["orange", "blue"]
    assert keys(gallery.search(Query(keys=["red"], images=[colour(0, 9, 0)], combine="best"), top=1)) == ["orange"]
    with pytest.raises(DataError, match="x is not in the gallery"):
        gallery.search(Query(keys=["x"]))
    many = gallery.search_many([colour(9, 0, 0), Query(keys=["red"]), Query(vectors=[RED, GREEN])], top=1)
    assert [keys(hits) for hits in many] == [["red"], ["orange"], ["orange"]]


def test_feedback_moves_the_query(gallery):
    """From (1, 0, 0) towards (0, 0, 1) by 0.75, away from (0.8, 0.6, 0) by 0.25: (0.8, -0.15, 0.75), scaled."""
    fill(gallery)
    hits = gallery.search(Query(vectors=[RED], positive=["d"], negative=["b"]))
    moved = np.array([0.8, -0.15, 0.75]) / np.linalg.norm([0.8, -0.15, 0.75])
    assert keys(hits) == ["a", "d", "c"]
    assert [hit.similarity for hit in hits] == pytest.approx([moved[0], moved[2], moved @ [0.6, 0.8, 0]])
    assert [hit.marked for hit in hits] == [False, True, False]


def test_not_the_camera_of_the_query(gallery):
    fill(gallery, camera=["door", "door", "hall", None])
    assert keys(gallery.search(Query(keys=["a"]), other_cameras=True)) == ["c", "d"]
    assert keys(gallery.search(Query(vectors=[RED], camera="hall"), other_cameras=True)) == ["a", "b", "d"]


def test_pages(gallery):
    gallery.add_vectors([[9, n // 2, 0] for n in range(10)], [Row(str(n)) for n in range(10)])
    by_offset = [key for offset in (0, 4, 8) for key in keys(gallery.search_vectors([RED], top=4, offset=offset)[0])]
    assert by_offset == [str(n) for n in range(10)]
    first = gallery.search_vectors([RED], top=4)[0]
    gallery.add_vectors([RED], [Row("new")])  # which an offset would count
    gallery.remove(["1", "3"])
    second = gallery.search_vectors([RED], top=4, cursor=first.next)[0]
    assert (keys(first), keys(second)) == (list("0123"), list("4567"))
    third = gallery.search_vectors([RED], top=4, cursor=second.next)[0]
    assert (keys(third), third.next) == (["8", "9"], "")
    assert keys(gallery.search_vectors([RED], top=4, offset=100)[0]) == []
    page = gallery.rows(limit=5)
    assert (keys(page.rows), keys(gallery.rows(limit=5, cursor=page.next).rows)) == (
        list("02456"),
        ["7", "8", "9", "new"],
    )
    assert keys(gallery) == gallery.keys()
    with pytest.raises(UsageError, match="no cursor of rows"):
        gallery.rows(cursor="x")
    for limit in (0, "5", 1.5):
        with pytest.raises(UsageError, match="pass limit=1 or more"):
            gallery.rows(limit=limit)


def test_two_lists_that_are_read_in_turn_do_not_mix(gallery):
    """Their filters are equal to Python, where 1 is True."""
    rows = [Row(f"{n}", attributes={"n": value}) for n, value in enumerate([1, True, 1, True, 1, True])]
    gallery.add_vectors([RED] * 6, rows)
    filters = [Filter(attributes={"n": 1}), Filter(attributes={"n": True})]
    first = [gallery.rows(matching, limit=1) for matching in filters]
    rest = [gallery.rows(matching, cursor=page.next) for matching, page in zip(filters, first, strict=True)]
    assert [keys(page.rows) for page in rest] == [["2", "4"], ["3", "5"]]


@pytest.mark.parametrize("by", ["person", "camera"])
@pytest.mark.parametrize("size", [1, 3])
def test_fewer_groups_than_a_page_holds_need_no_more_than_their_rows(gallery, by, size):
    """They are those of a search for all rows, also with rows of nobody and groups smaller than they may be."""
    rng = np.random.default_rng(0)
    names = ["door", "hall", "yard", "roof"]
    kinds = [*rng.integers(3, size=1500).tolist(), 3, 3, *([] if size == 1 else [None])]
    rows = [Row(f"{n}", pid=kind, camera=None if kind is None else names[kind]) for n, kind in enumerate(kinds)]
    gallery.add_vectors(rng.normal(size=(len(rows), 3)), rows)
    for matching in (Filter(), Filter(not_keys=["0"]), Filter(cameras=["door", "roof"])):
        (everything,) = gallery.search_vectors([RED], top=2000, filter=matching)
        best = {}
        for hit in everything:
            group = best.setdefault((hit.pid if hit.pid is not None else hit.key), [])
            group += [hit.key] if len(group) < size else []
        (found,) = gallery.search_vectors([RED], top=20, group_by=by, group_size=size, filter=matching)
        assert keys(found) == [key for group in best.values() for key in group]
        assert (found.next, found.passed) == ("", len(everything))


@pytest.mark.parametrize("by", ["person", "camera", "track"])
def test_groups_are_whole_on_every_page(gallery, by):
    """Those of a page are those of all rows, also where their other hits come late in the list; ranks have no gaps."""
    rng = np.random.default_rng(0)
    kinds = [*rng.integers(60, size=600).tolist(), *range(60, 70), None, None]
    rows = [
        Row(f"{n}") if kind is None else Row(f"{n}", pid=kind, camera=f"c{kind}", track=f"t{kind}")
        for n, kind in enumerate(kinds)
    ]
    gallery.add_vectors(rng.normal(size=(len(rows), 3)), rows)
    for radius in (None, 0.5):
        best = {}
        for hit in gallery.search_vectors([RED], top=1000, radius=radius)[0]:
            group = best.setdefault(hit.pid if hit.pid is not None else hit.key, [])
            group += [hit.key] if len(group) < 3 else []
        found, cursor = [], ""
        while cursor or not found:
            page = gallery.search_vectors([RED], top=7, group_by=by, group_size=3, radius=radius, cursor=cursor)[0]
            found, cursor = [*found, *page], page.next
        assert keys(found) == [key for group in best.values() for key in group]
        assert [hit.rank for hit in found] == list(range(1, len(found) + 1))


@pytest.mark.parametrize("by", ["person", "camera", "track"])
def test_groups_are_whole_beside_larger_ones(gallery, by):
    """Those that are short are searched together: what one has many of must not take the places of another's."""
    sines = [0.0, 0.1, 0.2, *np.linspace(0.3, 0.7, 200), 0.8, 0.85, 0.9]
    kinds = [1, 2, 3, *[1] * 200, 2, 2, 2]
    rows = [Row(f"{n}", pid=kind, camera=f"c{kind}", track=f"t{kind}") for n, kind in enumerate(kinds)]
    gallery.add_vectors([[math.sqrt(1 - sine * sine), sine, 0] for sine in sines], rows)
    for top, wanted in ((1, [0, 3, 4, 5]), (2, [0, 3, 4, 5, 1, 203, 204, 205])):
        (found,) = gallery.search_vectors([RED], top=top, group_by=by, group_size=4)
        assert keys(found) == [f"{number}" for number in wanted]


def test_few_groups_of_a_large_gallery_are_found_without_comparing_all(tmp_path):
    with create_gallery(tmp_path / "people.db", fingerprint="0" * 16, dim=3) as gallery:
        rows = [Row(f"{n}", camera=f"{n % 3}") for n in range(4000)]
        gallery.add_vectors(np.random.default_rng(0).normal(size=(4000, 3)), rows)
        (found,) = gallery.search_vectors([RED], top=20, group_by="camera")
        assert (len(found), found.passed) == (3, 4000)
        assert found.candidates < 1000


def test_a_group_at_the_end_of_the_list_is_found_without_comparing_all(tmp_path):
    """A list that grew until it had a row of each camera would hold all of them."""
    with create_gallery(tmp_path / "people.db", fingerprint="0" * 16, dim=3) as gallery:
        vectors = np.abs(np.random.default_rng(0).normal(size=(4003, 3)))
        vectors[4000:] = -vectors[4000:]
        cameras = [f"{n % 3}" for n in range(4000)] + ["rare", "other", "rare"]
        gallery.add_vectors(vectors, [Row(f"{n}", camera=camera) for n, camera in enumerate(cameras)])
        (all_of_them,) = gallery.search_vectors([RED], top=4003)
        best = {hit.camera: hit.key for hit in reversed(all_of_them)}
        (found,) = gallery.search_vectors([RED], top=20, group_by="camera")
        assert keys(found) == [hit.key for hit in all_of_them if best[hit.camera] == hit.key]
        assert len(found) == 5
        assert found.candidates < 1000


def test_late_hits_of_groups_are_found_without_comparing_all(tmp_path):
    """The third picture of somebody may be the least similar of all."""
    with create_gallery(tmp_path / "people.db", fingerprint="0" * 16, dim=3) as gallery:
        rng = np.random.default_rng(0)
        rows = [Row(f"{n}", pid=n // 10, track=f"t{n // 10}") for n in rng.permutation(4000).tolist()]
        gallery.add_vectors(rng.normal(size=(4000, 3)), rows)
        for by in ("person", "track"):
            (found,) = gallery.search_vectors([RED], top=20, group_by=by, group_size=3)
            assert len(found) == 60
            assert found.candidates < 1000


def test_a_page_begins_behind_the_last_one_though_its_image_was_embedded_again(gallery):
    """Among other images its feature differs by rounding: the last hit of a page came first on the next one."""
    gallery.add_vectors(np.random.default_rng(0).normal(size=(40, 3)), [Row(f"{n}") for n in range(40)])
    (everything,) = gallery.search_vectors([[1, 2, 3]], top=40)
    for last in range(1, 39):
        (first,) = gallery.search_vectors([[1, 2, 3]], top=last)
        for again in ([1, 2, 3 + 1e-6], [1, 2, 3 - 1e-6], [1, 2 + 1e-6, 3]):
            (rest,) = gallery.search_vectors([again], top=40, cursor=first.next)
            assert keys(first) + keys(rest) == keys(everything)


def test_contents_are_of_the_rows_that_were_read(gallery):
    """Of a key that has another image by now, the columns of the one would stand beside the feature of the other."""
    gallery.add_vectors([RED, GREEN, BLUE], [Row("a"), Row("b"), Row("c")], thumbnails=[b"jpeg", None, b"other"])
    rows = gallery.rows().rows
    found = gallery.contents(rows, thumbnails=True)
    assert (keys(found.rows), found.vectors.tolist(), found.thumbnails) == (
        ["a", "b", "c"],
        [RED, GREEN, BLUE],
        [b"jpeg", None, b"other"],
    )
    gallery.remove(["a"])
    gallery.add_vectors([RED], [Row("b", camera="door")], on_conflict="replace")
    found = gallery.contents(rows)
    assert (keys(found.rows), found.vectors.tolist(), found.thumbnails) == (["c"], [BLUE], [None])
    assert gallery.contents(()).vectors.shape == (0, 3)


def test_groups(gallery):
    pids = [1, 1, None, 2, None, 1, 2, 3]
    gallery.add_vectors([[9, n, 0] for n in range(8)], [Row(str(n), pid=pid) for n, pid in enumerate(pids)])
    assert keys(gallery.search_vectors([RED], group_by="person")[0]) == ["0", "2", "3", "4", "7"]
    two = gallery.search_vectors([RED], group_by="person", group_size=2, top=3)[0]
    assert keys(two) == ["0", "1", "2", "3", "6"]
    rest = gallery.search_vectors([RED], group_by="person", group_size=2, top=3, cursor=two.next)[0]
    assert (keys(rest), [hit.rank for hit in rest]) == (["4", "7"], [6, 7])
    one = gallery.search_vectors([RED], group_by="person", top=1)[0]
    assert (keys(one), keys(gallery.search_vectors([RED], group_by="person", top=1, offset=4)[0])) == (["0"], ["7"])
    gallery.add_vectors([RED] * 2, [Row("x", camera="door", track="t"), Row("y", camera="door", track="u")])
    hits = gallery.search_vectors([RED], group_by="camera", filter=Filter(cameras=["door"]))[0]
    assert keys(hits) == ["x"]
    assert keys(gallery.search_vectors([RED], group_by="track", filter=Filter(cameras=["door"]))[0]) == ["x", "y"]


def test_radius(gallery):
    fill(gallery)
    assert keys(gallery.search_vectors([RED], radius=0.7)[0]) == ["a", "b"]
    assert keys(gallery.search_vectors([RED], radius=0.8 - 1e-9)[0]) == ["a", "b"]
    assert keys(gallery.search_vectors([RED], radius=2)[0]) == []


def test_reranking_is_k_reciprocal_over_the_candidates(gallery):
    from reidkit.metrics.reranking.k_reciprocal import k_reciprocal

    rng = np.random.default_rng(3)
    people = rng.normal(size=(6, 3))
    vectors = (people[rng.integers(6, size=60)] + 0.3 * rng.normal(size=(60, 3))).astype(np.float32)
    gallery.add_vectors(vectors, [Row(str(n)) for n in range(60)])
    query = (people[:1] + 0.3 * rng.normal(size=(1, 3))).astype(np.float32)
    plain = [int(hit.key) for hit in gallery.search_vectors(query, top=60)[0]]
    hits = gallery.search_vectors(query, top=60, rerank=True, candidates=40)[0]
    found = [int(hit.key) for hit in hits]
    assert found[40:] == plain[40:]
    expected = [plain[n] for n in np.argsort(k_reciprocal(query, vectors[plain[:40]])[0], kind="stable")]
    assert found[:40] == expected != plain[:40]
    pages = [gallery.search_vectors(query, top=15, rerank=True, candidates=40, offset=15 * n)[0] for n in range(4)]
    assert [int(hit.key) for page in pages for hit in page] == found


def test_expansion_moves_the_query_towards_what_it_finds(gallery):
    fill(gallery)
    hits = gallery.search_vectors([RED], expand=2)[0]
    moved = np.array([1.0, 0, 0]) + 1.0**3 * np.array([1.0, 0, 0]) + 0.8**3 * np.array([0.8, 0.6, 0])
    moved /= np.linalg.norm(moved)
    assert keys(hits) == ["a", "b", "c", "d"]
    assert [hit.similarity for hit in hits] == pytest.approx(
        [moved[0], moved @ [0.8, 0.6, 0], moved @ [0.6, 0.8, 0], 0], abs=1e-9
    )


def test_changes(gallery):
    start = gallery.changes()
    assert (start.added, start.removed) == ((), ())
    gallery.add_vectors([RED, GREEN], [Row("a"), Row("b")])
    first = gallery.changes(start.position)
    assert (keys(first.added), first.removed) == (["a", "b"], ())
    old = gallery.get("a").id
    gallery.add_vectors([BLUE, BLUE], [Row("a"), Row("c")], on_conflict="replace")
    gallery.remove(["c"])  # of which nobody heard
    second = gallery.changes(first.position)
    assert (keys(second.added), second.removed) == (["a"], (old,))
    assert gallery.changes(second.position).added == ()
    assert keys(gallery.changes().added) == ["b", "a"]
    with pytest.raises(DataError, match="begin again"):
        gallery.changes("elsewhere:1:2")
    owner = second.position.split(":")[0]
    for numbers in (f"{2**63}:0", "0:" + "9" * 5000, "\u0663:0", "-1:0", "1"):
        with pytest.raises(DataError, match="no position in the changes"):
            gallery.changes(f"{owner}:{numbers}")


def test_thumbnails(gallery):
    gallery.add_vectors([RED, GREEN], [Row("a"), Row("b")], thumbnails=[b"jpeg", None])
    assert (gallery.thumbnail("a"), gallery.thumbnail("b"), gallery.thumbnail("c")) == (b"jpeg", None, None)
    assert gallery.thumbnails(["c", "b", "a"]) == [None, None, b"jpeg"]


def test_digests_are_those_of_the_contents_in_galleries_of_all_kinds(gallery):
    fill(gallery, camera=["door", "hall", None, "door"])
    other = open_gallery("memory", Colours())
    other.add_vectors(gallery.vectors(["a", "b"]), [Row("a", camera="door"), Row("b", camera="yard")])
    ours, theirs = gallery.digests(["b", "nobody", "a"]), other.digests(["a", "b"])
    assert ours.keys() == {"a", "b"}
    assert (ours["a"] == theirs["a"], ours["b"] == theirs["b"]) == (True, False)
    other.add_vectors([GREEN], [Row("a", camera="door")], on_conflict="replace")
    assert other.digests(["a"]) != {"a": ours["a"]}
    assert gallery.digests([]) == {}


def test_info(gallery):
    fill(gallery, camera=["door", "hall", None, "door"], time=[NOON, NOON + timedelta(hours=2), None, None])
    info = gallery.info()
    assert (info.rows, info.dim, info.model, info.calibrated, info.exact) == (4, 3, "c0105125c0105125", False, True)
    assert [(camera.name, camera.rows) for camera in info.cameras] == [("door", 2), ("hall", 1), (None, 1)]
    assert (info.first, info.last) == (NOON, NOON + timedelta(hours=2))
    assert (info.cameras[0].first, info.cameras[0].last) == (NOON, NOON)
    assert len(info.uuid) == 36
    assert "4 images" in repr(gallery)


def test_options_are_shared_by_several_searches(gallery):
    fill(gallery, camera=["door", "hall", None, "door"])
    how = SearchOptions(top=1, filter=Filter(not_keys=["a"]))
    assert keys(gallery.search(colour(9, 0, 0), how)) == ["b"]
    assert keys(gallery.search(colour(9, 0, 0), how, top=2, cameras=["door"])) == ["d"]


def test_threads_add_remove_and_search_together(gallery):
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for round_ in range(6):
                name = f"{number}/{round_}"
                gallery.add_vectors([[number + 1, round_, 0]], [Row(name)])
                assert name in keys(gallery.search_vectors([[number + 1, round_, 0]], top=100)[0])
                if round_ % 2:
                    gallery.remove([name])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(gallery.keys()) == [f"{number}/{round_}" for number in range(3) for round_ in (0, 2, 4)]


@pytest.mark.parametrize("kind", GALLERIES)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_as_sorting_all_similarities_by_hand(kind, tmp_path_factory, data):
    """Whole numbers make many ties; of these the earlier row comes first."""
    row = st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(any)
    rows = data.draw(st.lists(row, min_size=1, max_size=12))
    asked, top = np.array(data.draw(row), np.float64), data.draw(st.integers(1, 14))
    with GALLERIES[kind](tmp_path_factory.mktemp("gallery"), Colours()) as gallery:
        gallery.add([colour(*each) for each in rows], keys=[str(i) for i in range(len(rows))])
        cosine = np.array([np.dot(each, asked) / np.linalg.norm(each) / np.linalg.norm(asked) for each in rows])
        (hits,) = gallery.search_vectors(asked[None], top=top)
    found = [int(hit.key) for hit in hits]
    assert [hit.similarity for hit in hits] == pytest.approx(sorted(cosine, reverse=True)[:top], abs=1e-9)
    assert [hit.similarity for hit in hits] == pytest.approx(cosine[found], abs=1e-9)
    assert all(one < other for one, other in pairwise(found) if rows[one] == rows[other])


def test_there_is_no_other_kind_yet():
    with pytest.raises(UsageError, match=r"there are no galleries at redis://here/0: name a file, as people.db"):
        open_gallery("redis://me:secret@here/0", Colours())
    with pytest.raises(UsageError, match="a gallery in memory is empty, and needs a model"):
        open_gallery("memory")
