"""Export, copies and comparisons."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime

import numpy as np
import pytest

from reidkit.errors import DataError, UsageError
from reidkit.gallery import Filter, Row, open_gallery
from reidkit.gallery import transfer as module
from reidkit.gallery.agreement import compare_galleries
from reidkit.gallery.fill import fill_from_features
from reidkit.gallery.local import LocalGallery
from reidkit.gallery.transfer import copy_gallery, export_gallery
from reidkit.metrics.features import read_features
from tests.gallery.made import Colours

VECTORS = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
ROWS = [
    Row(
        f"ü/{n}.jpg",
        pid=n % 4 if n % 5 else None,
        camera=["door", "3", None][n % 3],
        track="t" if n % 2 else None,
        time=datetime(2026, 1, 1, n % 24, 0, 0, n, tzinfo=UTC) if n % 4 else None,
        image=f"pictures/{n}.jpg" if n % 3 else None,
        attributes={"n": n, "colour": "red, dark"} if n % 2 else {},
    )
    for n in range(30)
]


@pytest.fixture
def gallery(tmp_path):
    with LocalGallery.create(tmp_path / "people.db", fingerprint="abc", dim=5) as made:
        made.add_vectors(VECTORS, ROWS, thumbnails=[b"jpeg"] + [None] * 29)
        yield made


def empty(path, dim=5):
    return LocalGallery.create(path, fingerprint="abc", dim=dim)


def same(one, other):
    return [(row.key, row.pid, row.camera, row.track, row.time, row.image, row.attributes) for row in one] == [
        (row.key, row.pid, row.camera, row.track, row.time, row.image, row.attributes) for row in other
    ]


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_what_is_exported_and_added_again_is_the_same(gallery, tmp_path, ending):
    path = tmp_path / f"people.{ending}"
    assert export_gallery(gallery, path) == 30
    with empty(tmp_path / "again.db") as again:
        assert fill_from_features(again, path, any_model=True).added == 30
        assert same(gallery, again)
        np.testing.assert_array_equal(again.vectors(again.keys()), VECTORS)
        assert compare_galleries(again, gallery).least() == 1
    features = read_features(path)
    assert features.model == gallery.model
    np.testing.assert_array_equal(features.vectors, VECTORS)
    assert features.pids.tolist()[:6] == [-1, 1, 2, 3, 0, -1]
    assert features.camids.tolist()[:3] == [4, 3, -1]  # names are numbered behind the numbers
    assert export_gallery(gallery, path, Filter(cameras=["door"])) == 10


def test_a_parquet_file_names_its_model_as_embed_does(gallery, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    export_gallery(gallery, tmp_path / "people.parquet")
    assert parquet.read_schema(tmp_path / "people.parquet").metadata[b"reidkit.model"] == b"abc"
    assert read_features(tmp_path / "people.parquet").model == "abc"


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_names_in_an_exported_file_keep_their_ids_apart(tmp_path, ending):
    """Each gallery numbers names by itself: 0 is Karl in the one and Anna in the other."""
    path = tmp_path / f"people.{ending}"
    people = [("Karl", 0), ("Lena", 1), (None, 2), ("guest", 5), ("guest", 6)]
    theirs = [
        Row(f"t{n}", pid=pid, attributes={"person": name} if name else {}) for n, (name, pid) in enumerate(people)
    ]
    own = [Row(f"o{n}", pid=n, attributes={"person": name}) for n, name in enumerate(["Anna", "Karl"])]
    with empty(tmp_path / "theirs.db") as source, empty(tmp_path / "own.db") as target:
        source.add_vectors(VECTORS[:5], theirs)
        target.add_vectors(VECTORS[5:7], own)
        export_gallery(source, path)
        assert fill_from_features(target, path, any_model=True).added == 5
        assert [(row.attributes.get("person"), row.pid) for row in target if row.key.startswith("t")] == [
            ("Karl", 1),
            ("Lena", 7),  # 2 is another person of the file
            (None, 2),
            ("guest", 5),  # no name of one person: as it is
            ("guest", 6),
        ]
        assert fill_from_features(target, path, any_model=True).unchanged == 5


def test_a_byte_that_changed_in_a_parquet_file_is_noticed(gallery, tmp_path):
    path = tmp_path / "people.parquet"
    export_gallery(gallery, path)
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="could not verify page integrity"):
        read_features(path)


def test_an_export_does_not_hold_all_vectors(tmp_path, monkeypatch):
    """64 MB of them, where numpy writes 16 at a time."""
    monkeypatch.setattr(module, "PAGE", 100)
    vectors = np.random.default_rng(1).normal(size=(1000, 16_384)).astype(np.float32)
    with empty(tmp_path / "wide.db", 16_384) as wide:
        wide.add_vectors(vectors, [Row(f"{n:04d}") for n in range(1000)])
        wide.vectors(["0000"])  # its own memory is there before
        tracemalloc.start()
        try:
            assert export_gallery(wide, tmp_path / "wide.npz") == 1000
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    np.testing.assert_array_equal(read_features(tmp_path / "wide.npz").vectors, vectors)
    assert peak < 40e6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wide.db", "wide.npz"]


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_an_export_does_not_hold_all_rows(tmp_path, monkeypatch, ending):
    """20,000 rows with two texts of 1,000 letters: 40 MB, of which a twentieth is looked at at a time."""
    monkeypatch.setattr(module, "GROUP", 1000)
    rows = [Row(f"{n:05d}", image=f"{n:05d}" * 200, track=f"{n:05d}" * 200) for n in range(20_000)]
    with empty(tmp_path / "long.db") as long:
        long.add_vectors(np.ones((20_000, 5)), rows)
        export_gallery(long, tmp_path / f"first.{ending}", Filter(keys=["00000"]))  # what it imports is there before
        tracemalloc.start()
        try:
            assert export_gallery(long, tmp_path / f"long.{ending}") == 20_000
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 20e6
    _, read = module.read_rows(tmp_path / f"long.{ending}")
    assert [(row.key, row.image, row.track) for row in read] == [(row.key, row.image, row.track) for row in rows]


def test_columns_of_another_kind_are_refused(gallery, tmp_path):
    export_gallery(gallery, tmp_path / "people.npz")
    with np.load(tmp_path / "people.npz") as file:
        arrays = dict(file)
    for name, values, message in (
        ("attributes", np.array(["[1]"] * 30), "attributes are no JSON objects"),
        ("attributes", np.array(["{"] * 30), "attributes are no JSON objects"),
        ("tracks", np.arange(30), "tracks must be text"),
        ("tracks", np.array(["t"] * 29), "tracks must be text, one for each feature"),
    ):
        assert name in arrays
        np.savez(tmp_path / "wrong.npz", **{**arrays, name: values})
        with empty(tmp_path / "again.db") as again, pytest.raises(DataError, match=message):
            fill_from_features(again, tmp_path / "wrong.npz", any_model=True)
        (tmp_path / "again.db").unlink()


def test_files_that_cannot_be_written(gallery, tmp_path):
    with pytest.raises(UsageError, match=r"neither an \.npz nor a \.parquet"):
        export_gallery(gallery, tmp_path / "people.csv")
    assert export_gallery(gallery, tmp_path / "people.npz") == 30
    assert export_gallery(gallery, tmp_path / "new" / "folder" / "people.npz") == 30
    with pytest.raises(DataError, match="cannot be written"):
        export_gallery(gallery, tmp_path / "people.npz" / "people.npz")


def test_a_copy_goes_on_where_it_stopped(gallery, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAGE", 8)

    def stop(done, total):
        if done >= 16:
            raise KeyboardInterrupt

    with empty(tmp_path / "copy.db") as copy:
        with pytest.raises(KeyboardInterrupt):
            copy_gallery(gallery, copy, stop)
        assert len(copy) == 16
        done = copy_gallery(gallery, copy)
        assert (done.count("added"), done.count("unchanged")) == (14, 16)
        assert same(gallery, copy)
        assert copy.thumbnail("ü/0.jpg") == b"jpeg"
        original, read = LocalGallery.contents, []
        with monkeypatch.context() as patched:  # what has the same digest is not read
            patched.setattr(
                LocalGallery, "contents", lambda self, rows, **how: read.extend(rows) or original(self, rows, **how)
            )
            assert sorted(copy_gallery(gallery, copy).keys) == sorted(row.key for row in ROWS)
        assert read == []
        gallery.add_vectors(VECTORS[:1], ROWS[7:8], on_conflict="replace")
        done = copy_gallery(gallery, copy)
        assert (done.count("replaced"), done.count("unchanged")) == (1, 29)
        np.testing.assert_array_equal(copy.vectors([ROWS[7].key]), VECTORS[:1])
    with (
        LocalGallery.create(tmp_path / "other.db", fingerprint="beef", dim=5) as other,
        pytest.raises(DataError, match="a gallery of the model abc with 5 numbers cannot be copied into one of beef"),
    ):
        copy_gallery(gallery, other)


def test_rows_that_are_replaced_meanwhile_keep_their_features(gallery, tmp_path, monkeypatch):
    """Columns of before stood beside the feature of now, a key came twice, and one that was removed ended the copy."""
    monkeypatch.setattr(module, "PAGE", 7)
    original, calls = LocalGallery.contents, []

    def meanwhile(self, rows, *, thumbnails=False):
        calls.append(rows[0].key)
        other = [row for row in rows if row.track is None and row.camera != "new"][:2]
        again = [Row(row.key, camera="new") for row in other]
        gallery.add_vectors(np.full((len(other), 5), 9), again, on_conflict="replace")
        if len(calls) == 3:
            gallery.remove([rows[-1].key])
        if len(calls) == 4:  # of a page that was written already
            gallery.add_vectors(np.full((1, 5), 9), [Row("ü/1.jpg", camera="new")], on_conflict="replace")
        return original(self, rows, thumbnails=thumbnails)

    monkeypatch.setattr(LocalGallery, "contents", meanwhile)
    before = {row.key: vector.tolist() for row, vector in zip(ROWS, VECTORS, strict=True)}
    export_gallery(gallery, tmp_path / "people.npz")
    embeddings, rows = module.read_rows(tmp_path / "people.npz")
    with LocalGallery.create(tmp_path / "copy.db", fingerprint="abc", dim=5) as copy:
        calls.clear()
        copy_gallery(gallery, copy)
        monkeypatch.undo()
        for found, vectors in ((rows, embeddings.vectors), (list(copy), copy.vectors(copy.keys()))):
            assert len(found) == len({row.key for row in found}) > 20
            assert any(row.camera == "new" for row in found)
            for row, vector in zip(found, vectors.tolist(), strict=True):
                assert vector == ([9] * 5 if row.camera == "new" else before[row.key])
        assert {row.key for row in copy} >= set(gallery.keys())


def test_a_comparison_by_hand(gallery, tmp_path):
    with empty(tmp_path / "copy.db") as copy:
        copy_gallery(gallery, copy)
        whole = compare_galleries(copy, gallery, queries=10)
        assert (whole.missing, whole.extra, whole.different, whole.least()) == (0, 0, 0, 1.0)
        assert set(whole.recall) == {"all", "one camera", "smallest camera", "1/16 of the time"}
        assert whole.passed["one camera"] == pytest.approx(1 / 3)
        copy.remove(["ü/1.jpg", "ü/2.jpg"])
        copy.add_vectors(VECTORS[:1], [Row("new")])
        copy.add_vectors(-VECTORS[3:4], ROWS[3:4], on_conflict="replace")
        copy.add_vectors(VECTORS[4:5], [Row("ü/4.jpg")], on_conflict="replace")
        found = compare_galleries(copy, gallery, queries=10)
        assert (found.missing, found.extra, found.different) == (2, 1, 2)
        assert found.least() < 1


def test_who_has_a_name_is_copied_to_the_id_that_the_target_knows_it_by(tmp_path):
    """Karl is 0 in the one and Lena is 0 in the other; a number without a name is what it is."""

    def made(*people):
        gallery = open_gallery("memory", Colours())
        rows = [Row(key, pid=pid, attributes={"person": name} if name else {}) for key, pid, name in people]
        gallery.add_vectors(np.ones((len(rows), 3)), rows)
        return gallery

    source = made(("k", 0, "Karl"), ("m", 1, "Mia"), ("n", 3, None))
    target = made(("l", 0, "Lena"), ("m2", 2, "Mia"))
    assert copy_gallery(source, target).count("added") == 3
    expected = {"l": 0, "m2": 2, "k": 4, "m": 2, "n": 3}
    assert {row.key: row.pid for row in target} == expected
    assert copy_gallery(source, target).count("unchanged") == 3
    assert {row.key: row.pid for row in target} == expected
