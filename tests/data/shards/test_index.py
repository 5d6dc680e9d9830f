from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from reidkit.data.detect import open_benchmark
from reidkit.data.shards import index, webdataset
from reidkit.data.shards.convert import finish
from reidkit.data.shards.samples import ROW
from tests.data.shards.made import facts, noise_shards, pair, tar

if TYPE_CHECKING:
    from pathlib import Path


def no_gathering(*args: object) -> object:
    raise AssertionError("a shard was read")


def test_the_second_start_reads_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    first = open_benchmark(noise_shards(tmp_path))
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(webdataset, "gather", no_gathering)
    assert open_benchmark(tmp_path) == first


def test_an_index_beside_the_shards_is_read_by_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    finish(noise_shards(tmp_path), "webdataset")
    monkeypatch.setattr(webdataset, "gather", no_gathering)
    assert len(open_benchmark(tmp_path).train) == 48
    assert not cache.exists()


def test_a_shard_that_changes_is_read_again(tmp_path: Path, jpeg: bytes) -> None:
    path = tar(tmp_path / "train.tar", pair("a", jpeg, pid=1))
    finish(tmp_path, "webdataset")
    open_benchmark(tmp_path)
    tar(path, [*pair("a", jpeg, pid=1), *[item for n in range(20) for item in pair(f"b{n}", jpeg, pid=2)]])
    assert len(open_benchmark(tmp_path).train) == 21, "another size"
    (tmp_path / index.INDEX).unlink()
    assert len(open_benchmark(tmp_path).train) == 21
    then = path.stat().st_mtime_ns
    tar(path, [*pair("a", jpeg, pid=1), *[item for n in range(20) for item in pair(f"c{n}", jpeg, pid=2)]])
    os.utime(path, ns=(then, then + 10**9))
    assert facts(open_benchmark(tmp_path).train)[1] == ("c0.jpg", 2, -1), "the same size, another time"
    tar(tmp_path / "train-2.tar", pair("a", jpeg, pid=1))
    assert len(open_benchmark(tmp_path).train) == 22, "one more"


@pytest.mark.parametrize("what", ["garbage", "cut", "objects", "outside", "huge", "shape"])
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
        wrong = {"huge": rows, "objects": np.array([{}], dtype=object), "outside": rows, "shape": np.zeros(3)}[what]
        np.savez(path, allow_pickle=True, **(parts | {"rows": wrong}))
    assert len(open_benchmark(tmp_path).train) == 48


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(open_benchmark(noise_shards(tmp_path / "set")).train) == 48


def test_bytes_an_image() -> None:
    """41 and its name: a million images with names of 25 letters take 66 MB."""
    assert ROW.itemsize == 41
