"""A gallery in a real Milvus: filters, indexes, copies, stops, and errors in a sentence."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta

import numpy as np
import pytest
from benchmarks.milvus_server import Relay
from hypothesis import HealthCheck, given, settings

from reidkit.errors import DataError, GalleryError, MissingFileError, UsageError
from reidkit.gallery import Filter, Row, create_gallery, milvus_view, open_gallery
from reidkit.gallery.agreement import compare_galleries
from reidkit.gallery.local import LocalGallery
from reidkit.gallery.transfer import copy_gallery, open_copy
from tests.gallery import milvus_service
from tests.gallery.made import Calibrated, Colours, keys
from tests.gallery.test_filters import NAMES, START, VALUES, filters, simple

RED, GREEN = [1.0, 0, 0], [0, 1.0, 0]


@pytest.fixture
def gallery():
    with milvus_service.reused(Colours()) as made:
        yield made


@pytest.fixture(scope="module")
def many():
    """Sixty rows, of which each column and each attribute is met by some."""
    rng = np.random.default_rng(0)

    def one_of(values):
        return [None, *values][rng.integers(len(values) + 1)]

    rows = [
        Row(
            str(number) if number < 6 else f"{number} {NAMES[number % len(NAMES)]}",
            pid=one_of(range(4)),
            camera=one_of(NAMES),
            track=one_of(NAMES),
            time=one_of([START + timedelta(hours=hour) for hour in range(7)]),
            attributes={}
            if number % 5 == 0
            else {str(one_of(["colour", "a.b", "ü", "$"])): VALUES[number % len(VALUES)]},
        )
        for number in range(60)
    ]
    rows += [Row(f"large/{n}", attributes={"colour": v}) for n, v in enumerate([2**60, 2**60 + 1, 2.0**60, 2**53 - 1])]
    uri = milvus_service.fresh("filters")
    with create_gallery(uri, fingerprint="abc", dim=2) as made:
        made.add_vectors(np.ones((len(rows), 2)), rows)
        yield made, list(made)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(matching=filters | simple)
def test_filters_agree_with_python(many, matching):
    made, rows = many
    expected = [row.key for row in rows if matching.matches(row)]
    assert [row.key for row in made.rows(matching).rows] == expected
    assert made.count(matching) == len(expected)


@pytest.mark.parametrize("value", [2**60, 2**60 + 1, 2.0**60, 2**53 - 1, 2**63 - 1])
def test_large_numbers_are_not_rounded(many, value):
    made, rows = many
    matching = Filter(attributes={"colour": value})
    assert keys(made.rows(matching).rows) == [row.key for row in rows if matching.matches(row)]


@pytest.mark.parametrize(
    "text", ['x"] or key != "', "\\", '\\"', "' or 1 == 1 or '", "{x}", "%_", "\u2028", "😀", "in []"]
)
def test_no_text_ends_its_place(many, text):
    made, _ = many
    for matching in (
        Filter(keys=[text]),
        Filter(cameras=[text]),
        Filter(tracks=[text]),
        Filter(attributes={"ü": text}),
    ):
        assert made.count(matching) == 0
    assert made.count(Filter(not_cameras=[text])) == made.count()
    assert made.get(text) is None


def test_pages_hold_still_while_rows_come_and_go(gallery):
    gallery.add_vectors([RED] * 5, [Row(key) for key in "edcba"])
    first = gallery.rows(limit=2)
    assert keys(first.rows) == ["e", "d"]
    gallery.remove(["e", "b"])
    gallery.add_vectors([RED], [Row("z")])
    second = gallery.rows(limit=2, cursor=first.next)
    assert keys(second.rows) == ["c", "a"]
    third = gallery.rows(limit=2, cursor=second.next)
    assert (keys(third.rows), third.next) == (["z"], "")
    assert keys(gallery.rows(Filter(keys=["a", "z"]), limit=1).rows) == ["a"]


def test_small_pages_of_hostile_keys(many):
    made, rows = many
    found = [record["key"] for page in made._store.pages("", ["key"], size=3) for record in page]
    assert found == sorted((row.key for row in rows), key=str.encode)


def test_of_many_equal_ones_the_earliest_come_first(gallery):
    """Milvus gives any of them; here more are fetched, until it is certain which come first."""
    gallery.add_vectors([RED] * 90 + [[1.0, 1e-6, 0]] * 5, [Row(f"{99 - number:02}") for number in range(95)])
    hits = gallery.search_vectors([RED], top=3)[0]
    assert keys(hits) == ["99", "98", "97"]
    assert (hits.exact, hits.passed) == (True, 95)
    near = gallery.search_vectors([RED], top=93)[0]
    assert keys(near)[-3:] == ["09", "08", "07"]
    assert near[92].similarity < near[89].similarity == 1


@pytest.mark.parametrize("counted", [True, False])
def test_few_groups_are_found_without_reading_all(gallery, monkeypatch, counted):
    """Their rows are counted; where that takes too long, only after a longer list has not shown enough of them."""
    monkeypatch.setattr(milvus_view, "COUNTED", 65_536 if counted else 100)
    monkeypatch.setattr(milvus_view, "LONG", 200)
    rows = [Row(f"{n}", camera=f"{n % 3}", pid=n // 2) for n in range(3000)]
    vectors = np.abs(np.random.default_rng(0).normal(size=(3000, 3)))
    vectors[2999] = -1
    gallery.add_vectors(vectors, [*rows[:-1], Row("2999", camera="rare")])
    (found,) = gallery.search_vectors([[1, 0, 0]], top=20, group_by="camera")
    assert [hit.camera for hit in found][-1] == "rare"
    assert (len(found), found.next, found.passed) == (4, "", 3000)
    assert found.candidates < 1000
    (found,) = gallery.search_vectors([[1, 0, 0]], top=5, group_by="person", group_size=2)
    assert len(found) == 10
    assert found.candidates < 200


def test_another_program_sees_what_was_acknowledged(gallery):
    with open_gallery(f"{gallery.info().uri}", Colours()) as other:
        for number in range(3):
            gallery.add_vectors([RED], [Row(str(number))])
            assert keys(other.search_vectors([RED])[0]) == [str(each) for each in range(number + 1)]
        other.remove(["1"])
        assert gallery.keys() == ["0", "2"]
        assert other.add_vectors([RED], [Row("2")]).status == ("unchanged",)


def test_another_model_is_refused(gallery):
    uri = gallery.info().uri
    other = Colours()
    other.fingerprint = "beef"
    with pytest.raises(DataError, match="holds features of the model c0105125c0105125 with 3 numbers, and not of beef"):
        open_gallery(uri, other)
    with pytest.raises(DataError, match="is there already"):
        create_gallery(uri, fingerprint="abc", dim=3)
    with pytest.raises(MissingFileError, match=r"none is not there: `reidkit gallery create` makes it"):
        open_gallery(uri.rpartition("/")[0] + "/none")


def test_what_milvus_cannot_hold(gallery):
    with pytest.raises(DataError, match="a thumbnail of 60000 bytes: Milvus holds up to 49151"):
        gallery.add_vectors([RED], [Row("a")], thumbnails=[b"0" * 60_000])
    with pytest.raises(DataError, match=r"the feature of b has the length 1e\+30, which Milvus cannot compare"):
        gallery.add_vectors([RED, [1e30, 0, 0]], [Row("a"), Row("b")])
    with pytest.raises(DataError, match="the feature of z has the length 0, which"):
        gallery.add_vectors([[0.0, 0, 0]], [Row("z")])
    assert len(gallery) == 0
    picture = bytes(range(256)) * 190
    longest = Row("ü" * 512, camera="ß" * 1024, track="😀" * 1024, image="ü" * 4096)
    gallery.add_vectors([[0.0, 3e9, 0]], [longest], thumbnails=[picture])
    assert gallery.thumbnail(longest.key) == picture
    assert gallery.get(longest.key).image == longest.image
    assert gallery.search_vectors([RED])[0][0].similarity == 0


def test_a_foreign_change_is_found(gallery):
    """Somebody writes into the collection beside us."""
    gallery.add_vectors([RED, GREEN], [Row("a"), Row("b")])
    assert gallery.check().problems == ()
    store = gallery._store
    (record,) = store.by_key(["a"], ("*",), size=1, level="strong").values()
    store.upsert([{**record, "camera": "elsewhere"}], size=1)
    assert gallery.check().problems == ("a is not what was written",)


@pytest.mark.parametrize("index", ["hnsw", "ivf"])
def test_the_index_is_chosen_where_it_is_made(index):
    uri = milvus_service.fresh(index)
    rng = np.random.default_rng(0)
    with create_gallery(f"{uri}?index={index}&consistency=session", Calibrated()) as made:
        made.add_vectors(rng.normal(size=(50, 3)), [Row(str(number), camera=str(number % 2)) for number in range(50)])
        hits = made.search_vectors([RED], top=5, cameras=["1"])[0]
        assert (len(hits), hits.passed, made.info().exact) == (5, 25, False)
        assert made.search_vectors([RED], radius="calibrated", top=50)[0][-1].similarity >= 0.5
    with pytest.raises(UsageError, match=f"has the index {index}, and not flat: leave index out"):
        open_gallery(f"{uri}?index=flat")
    with open_gallery(uri) as made:
        assert made.calibration is not None, "kept for those who open it without the model"


def test_a_copy_there_and_back(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 8)).astype(np.float32)
    rows = [
        Row(f"{n}.jpg", pid=n % 7, camera=f"{n % 3}", time=START + timedelta(minutes=n), attributes={"n": n / 8})
        for n in range(40)
    ]
    monkeypatch.setattr("reidkit.gallery.transfer.PAGE", 16)

    def stop(done, total):
        if done >= 16:
            raise KeyboardInterrupt

    uri = milvus_service.fresh("copy")
    with LocalGallery.create(tmp_path / "people.db", fingerprint="abc", dim=8) as local:
        local.add_vectors(vectors, rows, thumbnails=[b"jpeg"] * 40)
        with open_copy(local, uri) as far, pytest.raises(KeyboardInterrupt):
            copy_gallery(local, far, stop)
        with open_copy(local, uri) as far:
            assert len(far) == 16
            done = copy_gallery(local, far)
            assert (done.count("added"), done.count("unchanged")) == (24, 16)
            found = compare_galleries(far, local, queries=10)
            assert (found.missing, found.extra, found.different, found.least()) == (0, 0, 0, 1)
            assert far.thumbnail("3.jpg") == b"jpeg"
            with open_copy(far, tmp_path / "back.db") as back:
                copy_gallery(far, back)
                assert back.keys() == local.keys()
                np.testing.assert_array_equal(back.vectors(back.keys()), vectors)
                assert compare_galleries(back, local).least() == 1


def test_a_client_that_is_killed_in_mid_add():
    """It says each hundred that was acknowledged; those are there, and the same again doubles nothing."""
    uri = milvus_service.fresh("kill")
    with create_gallery(uri, fingerprint="abc", dim=16):
        pass
    words = (
        "import sys, time, numpy as np; from reidkit.gallery import Row, open_gallery\n"
        "g = open_gallery(sys.argv[1]); v = np.random.default_rng(0).normal(size=(2000, 16))\n"
        "for at in range(0, 2000, 100):\n"
        "    g.add_vectors(v[at : at + 100], [Row(str(n)) for n in range(at, at + 100)]); print(at + 100, flush=True)\n"
        "    time.sleep(600 * (at == 1800))\n"  # the last hundred is never sent, however late the signal comes
    )
    client = subprocess.Popen([sys.executable, "-c", words, uri], stdout=subprocess.PIPE, text=True)
    acknowledged = [int(client.stdout.readline()) for _ in range(4)]
    client.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in client.communicate()[0].split()]
    vectors = np.random.default_rng(0).normal(size=(2000, 16))
    with open_gallery(uri) as gallery:
        there = set(gallery.keys())
        assert {str(number) for number in range(acknowledged[-1])} <= there
        assert len(there) < 2000
        added = gallery.add_vectors(vectors, [Row(str(number)) for number in range(2000)])
        assert (added.count("unchanged"), added.count("added")) == (len(there), 2000 - len(there))
        assert sorted(gallery.keys(), key=int) == [str(number) for number in range(2000)]
        assert len(gallery) == 2000
        assert gallery.check().problems == ()


@pytest.fixture
def kept():
    """A port that nobody else is given while no server listens there, nor a client that tries to connect to it."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # so that a server can listen beside it
        bound.bind(("127.0.0.1", 0))
        yield bound


def test_a_server_that_goes_away(kept):
    """A relay stands for the network: when it stops, a call ends in a sentence, and goes on when it is back."""
    name = milvus_service.fresh("gone").rpartition("/")[2]
    host, _, port = milvus_service.server().rpartition(":")
    place = kept.getsockname()
    relay = Relay(socket.create_server(place), (host, int(port)))
    with create_gallery(f"milvus://127.0.0.1:{place[1]}/{name}", fingerprint="abc", dim=3) as made:
        made.add_vectors([RED], [Row("a")])
        relay.close()
        for call in (lambda: made.add_vectors([RED], [Row("b")]), lambda: made.search_vectors([RED]), made.keys):
            with pytest.raises(GalleryError, match=f"milvus://127.0.0.1:{place[1]}/{name} does not answer"):
                call()
        relay = Relay(socket.create_server(place), (host, int(port)))
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with contextlib.suppress(GalleryError):  # it tries again every few seconds
                made.add_vectors([RED], [Row("b")])
                break
        assert made.keys() == ["a", "b"]
    relay.close()


def test_no_password_is_shown(caplog):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = closed.getsockname()[1]
    with pytest.raises(GalleryError) as error:
        open_gallery(f"milvus://me:hunter2@127.0.0.1:{nobody}/people")
    assert str(error.value) == (
        f"milvus://127.0.0.1:{nobody}/people does not answer: start Milvus there, or check host and port"
    )
    uri = milvus_service.fresh("token").replace("//", "//me:hunter2@")
    with create_gallery(uri, Colours()) as made:
        assert "hunter2" not in repr(made) + str(made.info())
        with pytest.raises(GalleryError) as error:
            made._store.count("hunter2 ==")
        assert "hunter2" not in str(error.value)
        assert "***" in str(error.value)
    assert "hunter2" not in caplog.text
