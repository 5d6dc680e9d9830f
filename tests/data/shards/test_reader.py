"""Images of shards against the same images as files."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from reidkit.data import sampler
from reidkit.data.check import describe, find_unreadable
from reidkit.data.formats.detect import load_dataset
from reidkit.data.images import open_images
from reidkit.data.loaders import build_batches, eval_batches
from reidkit.data.shards import webdataset
from reidkit.data.shards.samples import ShardSamples
from reidkit.data.shards.writer import convert
from reidkit.data.sources import Streamed
from reidkit.errors import DataError
from reidkit.recipe import Batch, Images, Recipe
from reidkit.types import Sample
from tests.data.shards.made import noise_shards, pair, picture, tar

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from reidkit.data.sources import ImageSource

SIZE = (12, 10)
RECIPE = Recipe(images=Images(pad=2), batch=Batch(ids=4, images=2))
CPU = torch.device("cpu")


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return noise_shards(tmp_path / "shards")


def opened(folder: Path, stream: bool | None = None) -> ImageSource:
    return open_images(load_dataset(folder).train, SIZE, stream=stream)


def files(folder: Path) -> ImageSource:
    """The same images as loose files."""
    folder.mkdir()
    for n in range(48):
        (folder / f"{n:04d}.png").write_bytes(picture(n))
    return open_images([Sample(folder / f"{n:04d}.png", n // 4, n % 2) for n in range(48)], SIZE)


def batches(source: ImageSource, epoch: int, start: int = 0) -> list[tuple[Tensor, Tensor]]:
    made = build_batches(source, source.samples.pids, RECIPE, 5, CPU)
    return list(made.epoch(epoch, start))


def same(ours: list[tuple[Tensor, Tensor]], theirs: list[tuple[Tensor, Tensor]]) -> bool:
    pairs = zip(ours, theirs, strict=True)
    return all(torch.equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("stream", [None, True])
def test_batches_are_those_of_loose_files(tmp_path: Path, shards: Path, stream: bool | None) -> None:
    """Streamed too, as all fits one window."""
    source, loose = opened(shards, stream), files(tmp_path / "files")
    assert isinstance(source, Streamed) == bool(stream)
    for epoch in (1, 2):
        assert same(batches(source, epoch), batches(loose, epoch))
    pairs = zip(eval_batches(source, 7, CPU), eval_batches(loose, 7, CPU), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group for every shard, and windows of two or three of the six groups."""
    monkeypatch.setattr(sampler, "WINDOW", 20_000)


@pytest.mark.parametrize("place", ["tar", "parquet", "memory"])
def test_a_stream_of_windows_comes_again_and_goes_on_anywhere(
    tmp_path: Path, shards: Path, place: str, small_windows: None
) -> None:
    if place == "parquet":
        pytest.importorskip("pyarrow")
        convert(load_dataset(shards), tmp_path / "pq", "parquet", 8)
        shards = tmp_path / "pq"
    elif place == "memory":
        system = pytest.importorskip("fsspec").filesystem("memory")
        for path in shards.iterdir():
            system.pipe_file(f"/stream/{path.name}", path.read_bytes())
        shards = Path("memory://stream")
    source = opened(shards, stream=True if place == "tar" else None)
    assert isinstance(source, Streamed)
    assert len(source.group_bytes) == 6
    whole = batches(source, 1)
    assert len(whole) > 4
    assert same(batches(opened(shards, stream=True), 1), whole), "another process"
    for start in range(len(whole)):
        assert same(batches(source, 1, start), whole[start:])
    assert not same(batches(source, 2)[:1], whole[:1])


def test_each_group_is_read_once_an_epoch(shards: Path, small_windows: None, monkeypatch: pytest.MonkeyPatch) -> None:
    source = opened(shards, stream=True)
    read: list[str] = []
    good = webdataset.TarShard.read

    def count(shard: webdataset.TarShard, *what: np.ndarray) -> list[bytes]:
        read.append(shard.name)
        return good(shard, *what)  # type: ignore[arg-type]

    monkeypatch.setattr(webdataset.TarShard, "read", count)
    batches(source, 1)
    assert sorted(read) == [f"train-{n:03d}.tar" for n in range(6)]


def test_parquet_and_urls_are_always_streamed(tmp_path: Path, shards: Path) -> None:
    pytest.importorskip("pyarrow")
    convert(load_dataset(shards), tmp_path / "pq", "parquet", 8)
    assert isinstance(opened(tmp_path / "pq"), Streamed)
    with pytest.raises(DataError, match="cannot be read one by one: pass stream=True, or leave stream out"):
        opened(tmp_path / "pq", stream=False)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Five images, of which the second and the last are none."""
    images = [picture(0), b"no image", picture(2), picture(3), b""]
    tar(tmp_path / "set" / "train.tar", [i for n, data in enumerate(images) for i in pair(f"k{n}", data, pid=n)])
    return tmp_path / "set"


@pytest.mark.parametrize("stream", [False, True])
def test_a_broken_image_is_named_with_its_shard(broken: Path, stream: bool) -> None:
    source = opened(broken, stream)
    with pytest.raises(
        DataError,
        match=r"train\.tar:k1\.jpg is not an image.*: repair it, or have unreadable images left out from the start",
    ):
        source.rows(np.array([0, 1]))
    with pytest.raises(DataError, match=r"train\.tar:k4\.jpg is empty"):
        source.rows(np.array([4]))


@pytest.mark.parametrize("stream", [False, True])
def test_broken_images_are_left_out(broken: Path, stream: bool) -> None:
    told: list[tuple[int, int]] = []
    samples = load_dataset(broken).train
    source = open_images(samples, SIZE, skip_unreadable=True, progress=lambda *now: told.append(now), stream=stream)
    assert source.readable.tolist() == [0, 2, 3]
    assert [sample.pid for sample in source.samples] == [0, 2, 3]
    assert told[-1] == (5, 5)
    pixels, rows = source.rows(np.array([2]))
    whole = opened(broken, stream).rows(np.array([3]))
    assert np.array_equal(pixels[rows[0]], whole[0][whole[1][0]])
    only = samples[1:2]
    with pytest.raises(DataError, match=r"1 of 1 images cannot be read .*k1\.jpg is not an image"):
        open_images(only, SIZE, skip_unreadable=True)


def test_what_is_broken_is_found(broken: Path) -> None:
    samples = load_dataset(broken).train
    assert [(str(b.path), b.reason.split(",")[0]) for b in find_unreadable(samples)] == [
        (f"{broken}/train.tar:k1.jpg", "is not an image"),
        (f"{broken}/train.tar:k4.jpg", "is empty: it has 0 bytes"),
    ]
    assert describe(load_dataset(broken)).train.ids == 5


def test_nothing_is_written_into_the_cache(tmp_path: Path, shards: Path) -> None:
    source = open_images(load_dataset(shards).train, SIZE, cache_dir=tmp_path / "images")
    source.rows(np.arange(48))
    assert not (tmp_path / "images").exists()


def many(count: int) -> ShardSamples:
    """The columns of so many images."""
    from reidkit.data.shards.samples import ROW
    from reidkit.data.shards.storage import Folder

    rows = np.zeros(count, dtype=ROW)
    rows["pid"] = np.arange(count) // 10
    rows["start"] = np.arange(count) * 2048
    rows["part"] = rows["start"] // webdataset.PART
    rows["length"], rows["letters"] = 1024, 25
    rows["name"] = np.arange(count) * 25
    return ShardSamples((webdataset.TarShard(Folder(Path("/nowhere")), "a.tar"),), rows, b"n" * (25 * count))


@pytest.mark.parametrize("open_them", [lambda s: open_images(s, SIZE), lambda s: open_images(s, SIZE, stream=True)])
def test_memory_is_a_few_columns(open_them: Callable[[ShardSamples], ImageSource]) -> None:
    """Up to the first batch: 66 bytes an image in the index, and at most 200 in labels, orders and groups."""
    count = 100_000
    tracemalloc.start()
    samples = many(count)
    source = open_them(samples)
    pids, labels = np.unique(source.samples.pids, return_inverse=True)
    order = sampler.build_sampler(source, labels, RECIPE.batch, 0).epoch(1)
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(order) * 8 > 0.9 * count
    assert len(pids) == count // 10
    assert now / count < 66 + 200
    assert peak / count < 66 + 400
