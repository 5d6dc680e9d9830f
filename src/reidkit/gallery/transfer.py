"""Galleries to files and to other galleries: export, and copies that go on where they stopped."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.atomic import atomic_write, os_errors_as, refuse_address
from reidkit.errors import DataError, MissingFileError, UsageError
from reidkit.extras import install
from reidkit.gallery.filters import EVERYTHING
from reidkit.gallery.person_ids import PERSON, named_ids, settle_named
from reidkit.gallery.protocol import Added
from reidkit.gallery.row import Row
from reidkit.types import NO_CAMERA, Embeddings

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.gallery.filters import Filter
    from reidkit.gallery.protocol import Contents, Gallery, Status

PAGE = 1000
TEXTS = ("keys", "cameras", "tracks", "times", "images", "attributes")
"""Columns of a file of a gallery beside those of every features file, as text, "" where there is nothing."""


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
    rows: list[Row] = []
    total = gallery.count(matching)
    with os_errors_as(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    # The vectors wait in a file without a name until their number is known: memory may have no room for them.
    with os_errors_as(path), tempfile.TemporaryFile(dir=path.parent) as waiting:
        for found in _contents(gallery, matching):
            rows += found.rows
            waiting.write(found.vectors.tobytes())
            if progress:
                progress(min(len(rows), total), total)
        waiting.flush()
        shape = (len(rows), gallery.dim)
        vectors = np.memmap(waiting, np.float32, "r+", shape=shape) if rows else np.zeros(shape, np.float32)
        rows, vectors = _last_of_each(rows, vectors)
        if ending == ".npz":
            with atomic_write(path) as file:
                content = {"vectors": vectors, "model": np.array(gallery.model), **_columns(rows)}
                np.savez(file, **content)  # type: ignore[arg-type]
        else:
            _write_parquet(path, vectors, _columns(rows), gallery.model)
    return len(rows)


def _last_of_each(rows: list[Row], vectors: NDArray[np.float32]) -> tuple[list[Row], NDArray[np.float32]]:
    """Return the last row of each key, with features, moved in place: what was replaced meanwhile came twice."""
    kept = sorted({row.key: at for at, row in enumerate(rows)}.values())
    if len(kept) == len(rows):
        return rows, vectors
    for first in range(0, len(kept), PAGE):
        some = kept[first : first + PAGE]
        vectors[first : first + len(some)] = vectors[some]  # none of which has been written over
    return [rows[at] for at in kept], vectors[: len(kept)]


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


def _columns(rows: Sequence[Row]) -> dict[str, NDArray[Any]]:
    names = sorted({row.camera for row in rows if row.camera is not None}, key=lambda name: (len(name), name))
    # Cameras that have numbers keep them; names are numbered behind these.
    numbers = {name: int(name) for name in names if name.isdecimal() and int(name) < 2**31}
    following = max(numbers.values(), default=-1) + 1
    numbers |= {name: following + at for at, name in enumerate(name for name in names if name not in numbers)}
    texts = {
        "keys": [row.key for row in rows],
        "paths": [row.image or row.key for row in rows],
        "cameras": [row.camera or "" for row in rows],
        "tracks": [row.track or "" for row in rows],
        "times": [row.time.isoformat() if row.time else "" for row in rows],
        "images": [row.image or "" for row in rows],
        "attributes": [json.dumps(dict(row.attributes), ensure_ascii=False) if row.attributes else "" for row in rows],
    }
    return {
        "pids": np.array([-1 if row.pid is None else row.pid for row in rows], np.int64),
        "camids": np.array([NO_CAMERA if row.camera is None else numbers[row.camera] for row in rows], np.int64),
        **{name: np.array(values, np.str_) for name, values in texts.items()},
    }


def _write_parquet(path: Path, vectors: NDArray[np.float32], columns: dict[str, NDArray[Any]], model: str) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise UsageError(f"a .parquet needs pyarrow: {install('pyarrow')}, or name an .npz", argument="path") from None
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    data = {"vector": lists} | {_singular(name): pa.array(column.tolist()) for name, column in columns.items()}
    table = pa.table(data).replace_schema_metadata({"model": model})
    with atomic_write(path) as file:
        parquet.write_table(table, file, row_group_size=16_384, write_page_checksum=True)


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
        names = [name for name in TEXTS if _singular(name) in schema.names] if "key" in schema.names else []
        wanted = [_singular(name) for name in names]
        table = parquet.read_table(path, columns=wanted, page_checksum_verification=True)
        return {name: [str(value or "") for value in table.column(_singular(name)).to_pylist()] for name in names}
    if path.suffix.lower() != ".npz":
        return {}
    from reidkit import npz

    with path.open("rb") as file, npz.opened(file, TEXTS, str(path)) as archive:
        if "keys" not in archive.headers:
            return {}
        texts = {name: archive.read(name, 200) for name in TEXTS if name in archive.headers}
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
