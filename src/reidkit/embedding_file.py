"""The files that features of many images are written to, with those of one part in memory at a time."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reidkit.errors import UsageError
from reidkit.extras import install

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


class Unreadable(NamedTuple):
    """An image that was left out, and why."""

    path: str
    why: str


@dataclass(frozen=True)
class Embedded:
    """A file of features: `features` of `images` images, each [dim], by the model of this fingerprint.

    `ids`: how many ids the images are known to have, distractors (0 without a name) and junk (-1) aside. `unreadable`:
    the images that were left out. `reused`: of how many images a run before had made the features.
    """

    path: Path
    images: int
    features: int
    ids: int
    dim: int
    model: str
    unreadable: tuple[Unreadable, ...]
    reused: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return the facts as plain values."""
        return {
            "file": str(self.path),
            "images": self.images,
            "features": self.features,
            "ids": self.ids,
            "dim": self.dim,
            "model": self.model,
            "unreadable": [one._asdict() for one in self.unreadable],
            "reused": self.reused,
            "seconds": round(self.seconds, 3),
        }


def refuse_shard(path: Path, shards: Iterable[object]) -> None:
    """Refuse to write features over a shard that the images are read from: a Parquet file of images would be gone.

    Raises:
        UsageError: the file is one of them.
    """
    if os.path.realpath(path) in {os.path.realpath(str(shard)) for shard in shards}:
        raise UsageError(f"{path} holds the images that are read: name another file", argument="out")


def write_npz(
    file: IO[bytes],
    parts: Iterable[Floats],
    shape: tuple[int, int],
    columns: dict[str, Any],
    model: str,
) -> None:
    """Write the arrays that `read_features` reads, with the features of one part in memory at a time.

    Args:
        file: Where to.
        parts: Features float32 [n, D], one part after the other.
        shape: N and D of all of them.
        columns: `pids`, `camids` and `paths` [N], and what else there is beside each feature, by name.
        model: The fingerprint of the weights.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("vectors.npy", "w", force_zip64=True) as stream:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
            for vectors in parts:
                stream.write(np.ascontiguousarray(vectors, "<f4").tobytes())
        arrays: dict[str, Any] = {name: columns[name] for name in ("pids", "camids")}
        arrays |= {"paths": np.array(columns["paths"], np.str_), "model": np.array(model, np.str_)}
        arrays |= {name: values for name, values in columns.items() if name not in arrays}
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asarray(values), allow_pickle=False)


def write_parquet(
    file: IO[bytes],
    parts: Iterable[Floats],
    shape: tuple[int, int],
    columns: dict[str, Any],
    model: str,
) -> None:
    """Write the columns `vector`, `pid`, `camid`, `path` and those of names, a group of rows for each part."""
    arrow, parquet = require_pyarrow()
    names = [name for name in ("pid_names", "camid_names") if name in columns]
    schema = arrow.schema(
        [
            ("vector", arrow.list_(arrow.float32())),
            ("pid", arrow.int64()),
            ("camid", arrow.int64()),
            ("path", arrow.string()),
            *((name.removesuffix("s"), arrow.string()) for name in names),
        ],
        metadata={"reidkit.model": model},
    )
    done = 0
    with parquet.ParquetWriter(file, schema, write_page_checksum=True) as writer:
        for vectors in parts:
            if not len(vectors):
                continue
            some = slice(done, done + len(vectors))
            done += len(vectors)
            offsets = np.arange(len(vectors) + 1, dtype=np.int32) * shape[1]
            lists = arrow.ListArray.from_arrays(offsets, arrow.array(np.ascontiguousarray(vectors).reshape(-1)))
            paths: Sequence[str] = columns["paths"][some]
            text = [path.encode("utf-8", "backslashreplace").decode() for path in paths]  # a byte of none as \udcXX
            rows = [lists, columns["pids"][some], columns["camids"][some], text]
            rows += [columns[name][some].tolist() for name in names]
            writer.write_table(arrow.table(rows, schema=schema))


def require_pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and its module for Parquet.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UsageError(f"Parquet needs pyarrow: {install('pyarrow')}", argument="out") from None
    return pyarrow, parquet
