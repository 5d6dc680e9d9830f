from __future__ import annotations

import os
import shutil
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest

from reidkit.data.formats.detect import load_dataset
from reidkit.data.shards import index, webdataset
from reidkit.data.shards.samples import ROW
from reidkit.data.shards.writer import convert, finish
from tests.data.shards.made import facts, noise_shards, pair, tar

if TYPE_CHECKING:
    from pathlib import Path


def no_gathering(*args: object) -> object:
    raise AssertionError("a shard was read")


def test_the_second_start_reads_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    first = load_dataset(noise_shards(tmp_path))
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(webdataset, "gather", no_gathering)
    assert load_dataset(tmp_path) == first


def test_an_index_beside_the_shards_is_read_by_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    finish(noise_shards(tmp_path), "webdataset")
    monkeypatch.setattr(webdataset, "gather", no_gathering)
    assert len(load_dataset(tmp_path).train) == 48
    assert not cache.exists()


def test_a_shard_that_changes_is_read_again(tmp_path: Path, jpeg: bytes) -> None:
    path = tar(tmp_path / "train.tar", pair("a", jpeg, pid=1))
    finish(tmp_path, "webdataset")
    load_dataset(tmp_path)
    tar(path, [*pair("a", jpeg, pid=1), *[item for n in range(20) for item in pair(f"b{n}", jpeg, pid=2)]])
    assert len(load_dataset(tmp_path).train) == 21, "another size"
    (tmp_path / index.INDEX).unlink()
    assert len(load_dataset(tmp_path).train) == 21
    then = path.stat().st_mtime_ns
    tar(path, [*pair("a", jpeg, pid=1), *[item for n in range(20) for item in pair(f"c{n}", jpeg, pid=2)]])
    os.utime(path, ns=(then, then + 10**9))
    assert facts(load_dataset(tmp_path).train)[1] == ("c0.jpg", 2, -1), "the same size, another time"
    tar(tmp_path / "train-2.tar", pair("a", jpeg, pid=1))
    assert len(load_dataset(tmp_path).train) == 22, "one more"


@pytest.mark.parametrize(
    "what", ["garbage", "cut", "objects", "outside", "huge", "shape", "pid", "camid", "times", "shards"]
)
def test_a_damaged_or_hostile_index_is_made_again(tmp_path: Path, what: str) -> None:
    noise_shards(tmp_path)
    finish(tmp_path, "webdataset")
    path = tmp_path / index.INDEX
    whole = path.read_bytes()
    with np.load(path) as file:
        parts = dict(file)
    if what == "garbage":
        path.write_bytes(b"no zip")
    elif what == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    else:
        rows = parts["rows"]
        if what == "outside":
            rows["shard"][0] = 99
        if what == "huge":
            rows["length"][0] = 2**31 - 1
        if what in {"pid", "camid"}:
            rows[what][0] = -2
        if what == "times":
            parts["times"] = np.array(["yesterday"])
        if what == "shards":
            parts["shards"] = np.zeros((2, 2), complex)
        wrong = {"huge": rows, "objects": np.array([{}], dtype=object), "outside": rows, "shape": np.zeros(3)}.get(
            what, rows
        )
        np.savez(path, allow_pickle=True, **(parts | {"rows": wrong}))
    train = load_dataset(tmp_path).train
    assert len(train) == 48
    assert min(min(sample.pid, sample.camid) for sample in train) >= -1


def other_labels(path: Path) -> None:
    """The same tar with the ids 1 to 4 as 8 to 5: as many bytes."""
    data = path.read_bytes()
    for pid in range(1, 5):
        data = data.replace(b'"pid": %d' % pid, b'"pid": %d' % (9 - pid))
    path.write_bytes(data)


def test_other_labels_in_as_many_bytes_are_seen(tmp_path: Path, jpeg: bytes) -> None:
    """Whichever way the time of the tar has moved, and with an index of an earlier version too."""
    path = tar(tmp_path / "train.tar", [item for pid in (1, 2, 3) for item in pair(f"a{pid}", jpeg, pid=pid)])
    finish(tmp_path, "webdataset")
    then = path.stat().st_mtime_ns
    other_labels(path)
    for now in (then + 1_000_000, then - 10**12, then + 10**12):
        os.utime(path, ns=(now, now))
        assert [sample.pid for sample in load_dataset(tmp_path).train] == [8, 7, 6]
    with np.load(tmp_path / index.INDEX) as file:
        np.savez(tmp_path / index.INDEX, **{key: file[key] for key in file if key != "times"})
    os.utime(tmp_path / index.INDEX, ns=(then, then))
    assert [sample.pid for sample in load_dataset(tmp_path).train] == [8, 7, 6]


def test_an_index_counts_where_a_copy_keeps_times_or_their_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(noise_shards(tmp_path / "set"), "webdataset")
    shutil.copytree(tmp_path / "set", tmp_path / "copy")
    for path in (tmp_path / "copy").glob("*.tar"):
        seconds = path.stat().st_mtime_ns // 10**9 * 10**9
        os.utime(path, ns=(seconds, seconds))
    monkeypatch.setattr(webdataset, "gather", no_gathering)
    assert len(load_dataset(tmp_path / "copy").train) == 48


@pytest.mark.parametrize("what", ["names", "rows", "shards", "wide"])
def test_an_index_that_unpacks_to_gigabytes_is_made_again(tmp_path: Path, what: str) -> None:
    noise_shards(tmp_path)
    finish(tmp_path, "webdataset")
    path = tmp_path / index.INDEX
    with np.load(path) as file:
        parts = dict(file)
    bombs: dict[str, dict[str, np.ndarray]] = {
        "names": {"names": np.zeros(300 << 20, np.uint8)},
        "rows": {"rows": np.zeros(7 << 20, ROW)},
        "shards": {"shards": np.zeros(10 << 20, [("name", "U4"), ("size", "<i8")])},
        "wide": {"shards": np.zeros(1, [("name", "U50000000"), ("size", "<i8")])},
    }
    np.savez_compressed(path, **(parts | bombs[what]))
    del parts, bombs
    tracemalloc.start()
    assert len(load_dataset(tmp_path).train) == 48
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(load_dataset(noise_shards(tmp_path / "set")).train) == 48


def test_bytes_an_image() -> None:
    """41 and its name: a million images with names of 25 letters take 66 MB."""
    assert ROW.itemsize == 41


def test_shards_that_the_index_tells_of_and_that_are_gone_are_named(tmp_path: Path) -> None:
    """A copy that was broken off is a smaller set, with a smaller gallery and higher scores."""
    finish(noise_shards(tmp_path), "webdataset")
    assert load_dataset(tmp_path).notes == ()
    (tmp_path / "train-001.tar").unlink()
    (note,) = load_dataset(tmp_path).notes
    assert note.startswith("reidkit-index.npz tells of 1 shard more than are there (train-001.tar): copy the set again")
    assert load_dataset(tmp_path / "train-002.tar").notes == (), "one alone is what was asked for"
    finish(tmp_path, "webdataset")
    assert load_dataset(tmp_path).notes == ()


def test_shards_that_the_index_does_not_tell_of_are_named(tmp_path: Path) -> None:
    """A copy beside the shards doubles its images, and with them matches and scores."""
    finish(noise_shards(tmp_path), "webdataset")
    before = len(load_dataset(tmp_path).train)
    shutil.copy(tmp_path / "train-001.tar", tmp_path / "train-001 (copy).tar")
    found = load_dataset(tmp_path)
    (note,) = found.notes
    assert note.startswith("reidkit-index.npz tells of 1 shard fewer than are there (train-001 (copy).tar): copy the")
    assert len(found.train) > before


def test_tables_that_are_gone_are_named_too(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    convert(load_dataset(noise_shards(tmp_path / "tars")), tmp_path / "tables", "parquet", 8)
    for number in range(3):
        (tmp_path / "tables" / f"train-{number:05d}.parquet").unlink()
    (note,) = load_dataset(tmp_path / "tables").notes
    assert "3 shards more than are there (train-00000.parquet, train-00001.parquet, ...)" in note
