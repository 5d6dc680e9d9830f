"""Any data set as shards, the images of an id side by side."""

from __future__ import annotations

import io
import itertools
import json
import os
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from reidkit.atomic import atomic_write, final_name, refuse_address
from reidkit.data.decode import decode_bytes, read_image
from reidkit.data.formats.scan import SUFFIXES
from reidkit.data.shards import parquet, webdataset
from reidkit.data.shards.index import INDEX, Index
from reidkit.data.shards.index import write as write_index
from reidkit.data.shards.parquet import pyarrow
from reidkit.data.shards.samples import ShardSamples
from reidkit.data.shards.storage import Folder
from reidkit.errors import DataError, UsageError
from reidkit.types import SPLITS, SYNTHETIC, as_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from reidkit.data.shards.samples import Shard
    from reidkit.data.shards.storage import Place
    from reidkit.types import Dataset, ImageFile, Names, Sample, Samples


# One shard, written whole or not at all, the same bytes for the same images.

ROW_GROUP = 4 << 20
"""Bytes of images in a row group: the least that can be read of a Parquet file."""


class Item(NamedTuple):
    """An image on its way into a shard: the name of its file, the file, and what is known of it.

    `pid_name` and `camid_name` say what these are called, or "" where they are called nothing; None where none is.
    """

    name: str
    data: bytes
    pid: int
    camid: int
    split: str
    pid_name: str | None = None
    camid_name: str | None = None


Record = tuple[str, bytes, int, int, str] | Item
"""An `Item`, or the first five of its fields."""

_CALLED = ("pid_name", "camid_name")
"""What ids and cameras are called: written where they are called something."""


def write_tar(path: Path, items: Iterable[Record]) -> int:
    """Write images, given as `Item`, into a WebDataset tar: `KEY.json` after each `KEY.jpg`. Gives their number.

    Raises:
        OSError: the file cannot be written.
    """
    count = 0
    with atomic_write(path) as stream, tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        for item in itertools.starmap(Item, items):
            called = {name: getattr(item, name) for name in _CALLED if getattr(item, name)}
            said = json.dumps({"pid": item.pid, "camid": item.camid, "split": item.split, **called}).encode()
            for suffix, content in ((suffix_of(item.name), item.data), (".json", said)):
                entry = tarfile.TarInfo(item.name.removesuffix(suffix_of(item.name)) + suffix)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
            count += 1
    return count


def write_parquet(path: Path, items: Iterable[Record]) -> int:
    """Write images, given as `Item`, into a Parquet file with the columns key, image, pid, camid and split.

    If ids or cameras are called something, pid_name and camid_name come after them.

    Raises:
        DataError: pyarrow is not installed.
        OSError: the file cannot be written.
    """
    arrow, parquet = pyarrow()
    kinds = (("key", arrow.binary()), ("image", arrow.binary()), ("pid", arrow.int64()), ("camid", arrow.int64()))
    groups = _groups(itertools.starmap(Item, items))
    first = next(groups, [])
    called = [(name, arrow.string()) for name in _CALLED if any(getattr(item, name) is not None for item in first)]
    schema = arrow.schema([*kinds, ("split", arrow.string()), *called])
    count = 0
    how = {"compression": "none", "write_page_checksum": True}  # images are compressed already
    with atomic_write(path) as stream, parquet.ParquetWriter(stream, schema, **how) as writer:
        for group in itertools.chain([first] if first else [], groups):
            columns: dict[str, list[Any]] = {"key": [os.fsencode(item.name) for item in group]}
            columns["image"] = [item.data for item in group]
            columns |= {name: [getattr(item, name) for item in group] for name in schema.names[2:]}
            writer.write_table(arrow.table(columns, schema=schema))
            count += len(group)
    return count


def suffix_of(name: str) -> str:
    """From the first dot of the last part on: what WebDataset takes for the kind of a file."""
    base = name.rpartition("/")[2]
    return base[base.find(".") :] if "." in base else ""


def _groups(items: Iterable[Item]) -> Iterator[list[Item]]:
    group: list[Item] = []
    size = 0
    for item in items:
        group.append(item)
        size += len(item.data)
        if size >= ROW_GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


Kind = Literal["webdataset", "parquet"]
README = "README.txt"
_SUFFIX = {"webdataset": ".tar", "parquet": ".parquet"}
_WRITE = {"webdataset": write_tar, "parquet": write_parquet}
_SHARD: dict[str, Callable[[Place, str], Shard]] = {"webdataset": webdataset.TarShard, "parquet": parquet.ParquetShard}


@dataclass(frozen=True)
class _Planned:
    """A shard to write: images `indices` of `samples`, which are those of one split, under `names`."""

    name: str
    split: str
    samples: Sequence[Sample]
    names: Sequence[str]
    indices: Sequence[int]
    called: Names


def convert(
    dataset: Dataset,
    out: Path,
    kind: Kind,
    images_per_shard: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Write the images of `dataset`, their files as they are, into shards in the folder `out`, with their index.

    Each is decoded once to see that it is an image: a list may name any file, and shards are given to others.

    The images of an id follow each other, and lie in one shard unless it has no room for them; otherwise the order
    is that of the data set. Each shard appears when it is whole, the index last. A shard of an earlier call that holds
    what it should, byte for byte, is kept, so that a call that was interrupted goes on.

    Returns:
        How many `images` and `shards` there are, and how many of these were `kept`.

    Raises:
        UsageError: `out` holds something else, or a shard should hold no image.
        DataError: an image cannot be read or decoded, or a shard cannot be written.
    """
    if images_per_shard < 1:
        raise UsageError(
            "a shard holds one image at least: pass images_per_shard=1 or more", argument="images_per_shard"
        )
    plan = _plan(dataset, _SUFFIX[kind], images_per_shard)
    images = sum(len(shard.indices) for shard in plan)
    if not images:
        raise DataError(f"{dataset.name} holds no images: there is nothing to write")
    done = kept = 0
    try:
        _begin(out, {shard.name for shard in plan}, synthetic=dataset.name == "synthetic")
        for shard in plan:
            if _is_there(shard, out, kind):
                kept += 1
            else:
                _WRITE[kind](out / shard.name, _items(shard))
            done += len(shard.indices)
            if progress:
                progress(done, images)
        finish(out, kind)
    except OSError as error:
        raise DataError(
            f"{out} cannot be written ({error.strerror or error}): make room or name another folder; "
            "the same command goes on with the shards that are whole"
        ) from None
    return {"images": images, "shards": len(plan), "kept": kept}


def finish(out: Path, kind: Kind) -> int:
    """Lay the index beside the shards in `out`. Gives the number of images.

    Raises:
        DataError: a shard is not what it should be.
        OSError: the index cannot be written.
    """
    index, sizes = _gather(out, kind)
    write_index(out / INDEX, index, sizes, {name: int(Folder(out).state(name)) for name in sizes})
    return len(index.rows)


def _gather(out: Path, kind: Kind, only: str = "") -> tuple[Index, dict[str, int]]:
    place = Folder(out)
    found = place.sizes()
    sizes = {name: found[name] for name in sorted(found) if name.endswith(_SUFFIX[kind]) and only in ("", name)}
    return (parquet if kind == "parquet" else webdataset).gather(place, sizes), sizes


def _begin(out: Path, shards: set[str], synthetic: bool) -> None:
    refuse_address(out)
    out.mkdir(parents=True, exist_ok=True)
    ours = shards | {INDEX, README}
    foreign = sorted(path.name for path in out.iterdir() if final_name(path.name) not in ours)
    if foreign:
        raise UsageError(f"{out} holds something else ({foreign[0]}): give a folder that is empty or not there")
    (out / INDEX).unlink(missing_ok=True)
    if synthetic:
        with atomic_write(out / README) as file:
            file.write(f"{SYNTHETIC}\n".encode())


def _plan(dataset: Dataset, suffix: str, images_per_shard: int) -> list[_Planned]:
    plan = []
    test = as_samples((*dataset.gallery, *dataset.junk)) if len(dataset.junk) else dataset.gallery
    for split, samples in zip(SPLITS, (dataset.train, dataset.query, test), strict=True):
        names = _names([sample.path for sample in samples])
        plan += [
            _Planned(f"{split}-{number:05d}{suffix}", split, samples, names, indices, dataset.names)
            for number, indices in enumerate(_cut(samples, images_per_shard))
        ]
    return plan


def _cut(samples: Samples, images_per_shard: int) -> Iterator[list[int]]:
    """Which images go into each shard: ids in the order in which they first come, undivided as long as they fit."""
    if not len(samples):
        return
    # Order the images by the first appearance of their id, then by their own, and cut that into one run for each id.
    _, first, id_of = np.unique(samples.pids, return_index=True, return_inverse=True)
    order = np.argsort(first[id_of], kind="stable")
    by_id = np.split(order, np.flatnonzero(np.diff(first[id_of][order])) + 1)
    shard: list[int] = []
    for images in by_id:
        # An id that does not fit any more begins a shard; one with more images than a shard holds fills several.
        if shard and len(shard) + len(images) > images_per_shard:
            yield shard
            shard = []
        shard += images.tolist()
        while len(shard) > images_per_shard:
            yield shard[:images_per_shard]
            shard = shard[images_per_shard:]
    if shard:
        yield shard


def _names(paths: Sequence[ImageFile]) -> list[str]:
    """A name for each image, no two alike: its own below the folder of them all, with one dot, where that will do."""
    files = {path: os.path.abspath(path) for path in paths if isinstance(path, Path)}  # noqa: PTH100 (`..` goes)
    root = os.path.commonpath([os.path.dirname(path) for path in files.values()]) if files else ""  # noqa: PTH120
    named = [_one_dot(os.path.relpath(files[p], root) if isinstance(p, Path) else _key(p)) for p in paths]
    count = Counter(suffixless for suffixless, _ in named)
    return [
        f"{n:08d}_{key.replace('/', '_')}{suffix}" if count[key] > 1 else key + suffix
        for n, (key, suffix) in enumerate(named)
    ]


def _key(path: ImageFile) -> str:
    """Return the name of an image in a shard without what would lead out of a folder that it is unpacked into."""
    parts = PurePosixPath(str(getattr(path, "key", path.name))).parts
    return "/".join(part for part in parts if part not in ("/", "//", ".."))


def _one_dot(name: str) -> tuple[str, str]:
    """Return the name before its suffix, without a dot in its last part, and the suffix of an image."""
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.rpartition(".")
    kind = f".{suffix.lower()}"
    stem, kind = (stem, kind) if dot and kind in SUFFIXES else (base, ".jpg")
    return f"{folder}{slash}{stem.replace('.', '_') or '_'}", kind


def _items(shard: _Planned) -> Iterator[Item]:
    for index in shard.indices:
        sample = shard.samples[index]
        pid_name = shard.called.pids.get(sample.pid, "") if shard.called.pids else None
        camid_name = shard.called.camids.get(sample.camid, "") if shard.called.camids else None
        facts = (sample.pid, sample.camid, shard.split, pid_name, camid_name)
        yield Item(shard.names[index], _image(sample.path), *facts)


def _image(path: ImageFile) -> bytes:
    """Return the bytes of an image file, which were decoded once."""
    try:
        data = read_image(path)
        decode_bytes(data, str(path))
    except DataError as error:
        raise DataError(f"{error}: mend it, or take it out of the data set; nothing but images is packed") from None
    return data


def _is_there(shard: _Planned, out: Path, kind: Kind) -> bool:
    """Return whether the shard was written before, of these images: their names, labels and bytes are the same."""
    if not (out / shard.name).is_file():
        return False
    try:
        index, _ = _gather(out, kind, shard.name)
    except DataError:
        return False
    samples = [shard.samples[i] for i in shard.indices]
    wanted = [(s.pid, s.camid, SPLITS.index(shard.split)) for s in samples]
    keys = [os.fsencode(shard.names[i]) for i in shard.indices]
    pids, camids = {sample.pid for sample in samples}, {sample.camid for sample in samples}
    if index.called != shard.called.restricted_to(pids, camids):
        return False
    if index.rows[["pid", "camid", "split"]].tolist() != wanted or index.names != b"".join(keys):
        return False
    return _same_bytes(ShardSamples((_SHARD[kind](Folder(out), shard.name),), *index), samples)


def _same_bytes(written: ShardSamples, samples: Sequence[Sample]) -> bool:
    """Return whether the images of one shard are those of `samples`, read a group at a time."""
    groups = written.groups
    order = np.argsort(groups, kind="stable")
    try:
        for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
            found = zip(rows.tolist(), written.read(rows), strict=True)
            if any(data != read_image(samples[row].path) for row, data in found):
                return False
    except DataError:
        return False  # writing it again says what is wrong
    return True
