"""Galleries to files and to other galleries: export, and copies that go on where they stopped."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from reidkit.atomic import atomic_write, os_errors_as, refuse_address
from reidkit.errors import DataError, MissingFileError, UsageError
from reidkit.extras import install
from reidkit.gallery.filters import EVERYTHING
from reidkit.gallery.person_ids import PERSON, named_ids, settle_named
from reidkit.gallery.protocol import Added
from reidkit.gallery.row import Row
from reidkit.gallery.waiting import NUMBERS, TEXTS, WaitingRows
from reidkit.types import NO_CAMERA, Embeddings

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from reidkit.gallery.filters import Filter
    from reidkit.gallery.protocol import Contents, Gallery, Status

PAGE = 1000
GROUP, GROUP_BYTES = 16_384, 32 << 20
"""Rows of a group in a .parquet, and the bytes of their features, at most."""

OWN_TEXTS = tuple(name for name in TEXTS if name != "paths")
"""Columns of text that a file of a gallery has beside those of every features file."""


def export_gallery(
    gallery: Gallery,
    path: Path,
    matching: Filter = EVERYTHING,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write rows with their features to an .npz or a .parquet, whole or not at all; how many.

    It is a features file, which `reidkit score` and `reidkit gallery add` read; its vectors are those that were added,
    bit for bit. Junk and unknown ids and cameras are -1.

    Raises:
        DataError: the file cannot be written.
        UsageError: a file of another kind.
    """
    ending = path.suffix.lower()
    if ending not in (".npz", ".parquet"):
        raise UsageError(f"{path} is neither an .npz nor a .parquet: name the file so", argument="path")
    refuse_address(path)
    if ending == ".parquet":
        _require_pyarrow()
    total = gallery.count(matching)
    with os_errors_as(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with os_errors_as(path), WaitingRows(path.parent, gallery.dim) as waiting:
        done = 0
        for found in _contents(gallery, matching):
            if found.rows:
                waiting.add(found)
            done += len(found.rows)
            if progress:
                progress(min(done, total), total)
        with atomic_write(path) as file:
            write = _write_npz if ending == ".npz" else _write_parquet
            write(file, waiting, gallery.model)
        return len(waiting)


def pages(gallery: Gallery, matching: Filter = EVERYTHING) -> Iterator[tuple[Row, ...]]:
    """Yield the rows that meet a filter, some at a time."""
    cursor: str | None = ""
    while cursor is not None:
        page = gallery.rows(matching, limit=PAGE, cursor=cursor)
        if page.rows:
            yield page.rows
        cursor = page.next or None


def _contents(
    gallery: Gallery,
    matching: Filter = EVERYTHING,
    *,
    thumbnails: bool = False,
    wanted: Callable[[Sequence[Row]], Sequence[Row]] = lambda rows: rows,
) -> Iterator[Contents]:
    """Yield the rows that meet a filter with their features, some at a time; also those that are replaced meanwhile.

    Of each page, `wanted` says which rows these are.
    """
    missed: set[str] = set()
    for page in pages(gallery, matching):
        some = wanted(page)
        found = gallery.contents(some, thumbnails=thumbnails)
        yield found
        missed |= {row.key for row in some}.difference(row.key for row in found.rows)
    while missed:  # one of the last page is behind it now, under another id
        again = gallery.rows(replace(matching, keys=missed), limit=len(missed)).rows
        found = gallery.contents(again, thumbnails=thumbnails)
        yield found
        missed = {row.key for row in again}.difference(row.key for row in found.rows)


def _write_npz(file: IO[bytes], waiting: WaitingRows, model: str) -> None:
    """Write the arrays of an .npz one after the other, with one part of each in memory at a time."""
    count = len(waiting)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("vectors.npy", "w", force_zip64=True) as stream:
            _write_header(stream, np.dtype("<f4"), (count, waiting.dim))
            for vectors in waiting.vectors():
                stream.write(vectors.tobytes())
        with archive.open("model.npy", "w", force_zip64=True) as stream:
            np.lib.format.write_array(stream, np.array(model))
        types = dict.fromkeys(NUMBERS, "<i8") | {name: f"<U{max(1, width)}" for name, width in waiting.widths.items()}
        for name, kind in types.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                _write_header(stream, np.dtype(kind), (count,))
                for values in waiting.column(name):
                    stream.write(np.array(values, kind).tobytes())


def _write_header(stream: IO[bytes], kind: np.dtype[Any], shape: tuple[int, ...]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)


def _write_parquet(file: IO[bytes], waiting: WaitingRows, model: str) -> None:
    """Write a .parquet a group of rows after the other, with one of them in memory at a time."""
    import pyarrow as pa
    from pyarrow import parquet

    dim = waiting.dim
    kinds = dict.fromkeys(NUMBERS, pa.int64()) | dict.fromkeys(TEXTS, pa.string())
    columns = [(_singular(name), kind) for name, kind in kinds.items()]
    schema = pa.schema([("vector", pa.list_(pa.float32(), dim)), *columns], metadata={"reidkit.model": model})
    with parquet.ParquetWriter(file, schema, write_page_checksum=True) as writer:
        parts = zip(waiting.vectors(), *(waiting.column(name) for name in kinds), strict=True)
        for group in _groups(parts, max(1, min(GROUP, GROUP_BYTES // (4 * dim)))):
            vectors, *values = zip(*group, strict=True)
            arrays = [pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(vectors).reshape(-1)), dim)]
            for kind, column in zip(kinds.values(), values, strict=True):
                arrays.append(pa.array([value for some in column for value in some], kind))
            writer.write_table(pa.table(arrays, schema=schema))


def _groups(parts: Iterable[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    """Yield parts, whose first are features, with about so many rows together."""
    group: list[tuple[Any, ...]] = []
    for part in parts:
        group.append(part)
        if sum(len(each[0]) for each in group) >= size:
            yield group
            group = []
    if group:
        yield group


def _require_pyarrow() -> None:
    """Refuse a .parquet where it cannot be written.

    Raises:
        UsageError: pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UsageError(f"a .parquet needs pyarrow: {install('pyarrow')}, or name an .npz", argument="path") from None


def _singular(name: str) -> str:
    return name if name == "attributes" else name.removesuffix("s")


def read_rows(path: Path) -> tuple[Embeddings, list[Row]]:
    """Return the features of a file, and a row for each.

    Raises:
        DataError: the file is damaged or no features file, or says something that no row can be.
    """
    from reidkit.metrics.features import read_features

    embeddings = read_features(path, need_cameras=False)
    count = len(embeddings)
    texts = _own_texts(path, count)
    keys = texts.get("keys") or list(embeddings.paths) or [f"{path.stem}/{number:08d}" for number in range(count)]
    rows = []
    for at, (key, pid, camid) in enumerate(
        zip(keys, embeddings.pids.tolist(), embeddings.camids.tolist(), strict=True)
    ):
        own = {_singular(name): values[at] or None for name, values in texts.items()}
        camera = own.get("camera") or (embeddings.names.camid(camid) if camid != NO_CAMERA else None)
        person = {PERSON: embeddings.names.pids[pid]} if pid in embeddings.names.pids else {}
        image = own.get("image") if texts else (embeddings.paths[at] if embeddings.paths else None)
        rows.append(
            Row(
                key,
                pid=pid,
                camera=camera,
                track=own.get("track"),
                time=own.get("time"),  # type: ignore[arg-type]
                image=image,
                attributes=person | _attributes(own.get("attributes"), path),
            )
        )
    return embeddings, rows


def _attributes(text: str | None, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DataError(f"{path}: attributes are no JSON objects: write the file anew")
    return found


def _own_texts(path: Path, count: int) -> dict[str, list[str]]:
    """Return the columns of text that only a gallery's file has."""
    if path.suffix.lower() == ".parquet":
        from pyarrow import parquet

        schema = parquet.read_schema(path)
        names = [name for name in OWN_TEXTS if _singular(name) in schema.names] if "key" in schema.names else []
        wanted = [_singular(name) for name in names]
        table = parquet.read_table(path, columns=wanted, page_checksum_verification=True)
        return {name: [str(value or "") for value in table.column(_singular(name)).to_pylist()] for name in names}
    if path.suffix.lower() != ".npz":
        return {}
    from reidkit import npz

    with path.open("rb") as file, npz.opened(file, OWN_TEXTS, str(path)) as archive:
        if "keys" not in archive.headers:
            return {}
        texts = {name: archive.read(name, 200) for name in OWN_TEXTS if name in archive.headers}
    for name, column in texts.items():
        if column.dtype.kind != "U" or column.shape != (count,):
            raise DataError(f"{path}: {name} must be text, one for each feature: leave it out or write it anew")
    return {name: column.tolist() for name, column in texts.items()}


def open_copy(source: Gallery, target: str | os.PathLike[str]) -> Gallery:
    """Open the gallery that another one is to be copied into; where there is none, make it for the same features.

    Raises:
        GalleryError: a server that does not answer.
        DataError: something else is there.
    """
    from reidkit.gallery import create_gallery, open_gallery

    try:
        return open_gallery(target)
    except MissingFileError:
        made = create_gallery(target, fingerprint=source.model, dim=source.dim)
        made.calibration = source.calibration
        return made


def copy_gallery(source: Gallery, target: Gallery, progress: Callable[[int, int], None] | None = None) -> Added:
    """Copy all rows that the target does not have with the same contents; what became of them.

    A copy that was stopped goes on with what is missing. Vectors are copied bit for bit, ids of rows are given anew.
    The pid of somebody who has a name becomes the one that the target knows the name by.

    Raises:
        DataError: the galleries are of two models.
    """
    if (source.model, source.dim) != (target.model, target.dim):
        raise DataError(
            f"a gallery of the model {source.model or '(not known)'} with {source.dim} numbers cannot be copied into "
            f"one of {target.model or '(not known)'} with {target.dim}: make one of the same model"
        )
    keys: list[str] = []
    status: list[Status] = []
    total = source.count()

    def not_there(rows: Sequence[Row]) -> list[Row]:
        names = [row.key for row in rows]
        ours, theirs = source.digests(names), target.digests(names)
        same = {name for name, digest in ours.items() if theirs.get(name) == digest}
        keys.extend(same)
        status.extend(["unchanged"] * len(same))
        return [row for row in rows if row.key not in same]

    ids = None
    for rows, vectors, pictures in _contents(source, thumbnails=True, wanted=not_there):
        if rows:
            named, others = ids = ids or named_ids(source)  # all rows are read for it
            settle = settle_named((row.key for row in rows if row.pid in named), taken=others)
            added = target.add_vectors(vectors, rows, thumbnails=pictures, on_conflict="replace", settle=settle)
            keys += added.keys
            status += added.status
        if progress:
            progress(min(len(keys), total), total)
    return Added(tuple(keys), tuple(status))
