"""Rows of a gallery on their way to a file: they wait on the disk until it is known how many there are.

A row that is replaced while others are read comes a second time, and then the first one does not count. Of each row no
more than a digest of its key is in memory.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import tempfile
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from reidkit.types import NO_CAMERA

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

    from reidkit.gallery.protocol import Contents
    from reidkit.gallery.row import Row

NUMBERS = ("pids", "camids")
TEXTS = ("keys", "paths", "cameras", "tracks", "times", "images", "attributes")
"""Columns of a file of a gallery: those of numbers, and those of text, "" where there is nothing."""

_KEY_BYTES = 16


class WaitingRows:
    """Rows that wait in files without a name in a folder, until the end of a `with` block.

    They are read when all are there, and of each key the last one.

    Attributes:
        dim: The length of their features.
        widths: The length of the longest text of each column.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.dim, self.widths = dim, dict.fromkeys(TEXTS, 0)
        self._vectors: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed at the end of the block)
        self._texts: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._places: list[dict[str, tuple[int, int]]] = []  # of each column of a part in the file of texts
        self._counts: list[int] = []  # of the rows of each part
        self._keys = bytearray()
        self._cameras: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._vectors.close()
        self._texts.close()

    def add(self, some: Contents) -> None:
        """Take some more rows."""
        columns = {"pids": [-1 if row.pid is None else row.pid for row in some.rows]} | _texts(some.rows)
        for name in TEXTS:
            self.widths[name] = max(self.widths[name], *map(len, columns[name]), 0)
        self._cameras |= {row.camera for row in some.rows if row.camera is not None}
        self._keys += b"".join(
            hashlib.blake2b(key.encode(), digest_size=_KEY_BYTES).digest() for key in columns["keys"]
        )
        self._vectors.write(np.ascontiguousarray(some.vectors, "<f4").tobytes())
        places = {}
        for name, values in columns.items():
            places[name] = (self._texts.tell(), self._texts.write(json.dumps(values).encode()))
        self._places.append(places)
        self._counts.append(len(some.rows))

    def __len__(self) -> int:
        return sum(int(mask.sum()) for mask in self._masks)

    def vectors(self) -> Iterator[NDArray[np.float32]]:
        """Yield the features [n, D], some at a time."""
        self._vectors.seek(0)
        for count, mask in zip(self._counts, self._masks, strict=True):
            content = self._vectors.read(4 * self.dim * count)
            yield np.frombuffer(content, "<f4").reshape(count, self.dim)[mask]

    def column(self, name: str) -> Iterator[list[Any]]:
        """Yield the values of a column of `NUMBERS` or `TEXTS`, as many at a time as there are features."""
        numbers = camera_numbers(self._cameras) | {"": NO_CAMERA}
        for places, mask in zip(self._places, self._masks, strict=True):
            offset, size = places["cameras" if name == "camids" else name]
            self._texts.seek(offset)
            values = json.loads(self._texts.read(size))
            found = values if mask.all() else list(itertools.compress(values, mask))
            yield [numbers[value] for value in found] if name == "camids" else found

    @cached_property
    def _masks(self) -> list[NDArray[np.bool_]]:
        """Which rows of each part are the last ones of their key."""
        keys = np.frombuffer(bytes(self._keys), f"V{_KEY_BYTES}")
        _, from_behind = np.unique(keys[::-1], return_index=True)
        last = np.zeros(len(keys), np.bool_)
        last[len(keys) - 1 - from_behind] = True
        return np.split(last, np.cumsum(self._counts)[:-1]) if self._counts else []


def camera_numbers(names: set[str]) -> dict[str, int]:
    """Return a number for each camera: names that are numbers keep them, the others are numbered behind these."""
    ordered = sorted(names, key=lambda name: (len(name), name))
    numbers = {name: int(name) for name in ordered if name.isdecimal() and int(name) < 2**31}
    following = max(numbers.values(), default=-1) + 1
    return numbers | {name: following + at for at, name in enumerate(name for name in ordered if name not in numbers)}


def _texts(rows: Sequence[Row]) -> dict[str, list[Any]]:
    return {
        "keys": [row.key for row in rows],
        "paths": [row.image or row.key for row in rows],
        "cameras": [row.camera or "" for row in rows],
        "tracks": [row.track or "" for row in rows],
        "times": [row.time.isoformat() if row.time else "" for row in rows],
        "images": [row.image or "" for row in rows],
        "attributes": [json.dumps(dict(row.attributes), ensure_ascii=False) if row.attributes else "" for row in rows],
    }
