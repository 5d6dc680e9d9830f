"""Where shards lie: a folder on a disk, or a URL that fsspec opens."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from reidkit.data.shards.remote import Remote
from reidkit.types import SYNTHETIC, DataError

_URL = re.compile(r"([a-z][a-z0-9+.-]+):/+", re.ASCII)


class Place(Protocol):
    """A folder of shards. Two that are equal hold the same files."""

    def sizes(self) -> dict[str, int]:
        """The files right inside, by name, and their sizes in bytes; -1 where the place does not say."""

    def state(self, name: str) -> str:
        """Something that changes when the file does."""

    def read(self, name: str, start: int, length: int) -> bytes:
        """The bytes of a file from `start` on, fewer than `length` at its end."""

    def open(self, name: str) -> Any:
        """The file as a binary stream that can seek."""

    def where(self, name: str) -> str:
        """The file as people write it."""


def url_of(path: Path) -> str | None:
    """The URL that a command was given as a path, which folds its slashes: `s3:/bucket/people` is `s3://bucket/people`.

    None where it is a path after all.
    """
    match = _URL.match(str(path))
    if not match or path.exists():
        return None
    scheme, rest = match[1], str(path)[match.end() :]
    return f"{scheme}:///{rest}" if scheme in {"file", "local"} else f"{scheme}://{rest}"


@lru_cache(maxsize=64)
def place_of(path: Path) -> Place:
    """The place that a folder or a folded URL names.

    Raises:
        DataError: fsspec, or what it needs for this kind of URL, is not installed; there is no such kind.
    """
    url = url_of(path)
    if url is None:
        return Folder(path)
    if url.startswith(("file:", "local:")):
        return Folder(Path(url.partition("://")[2]))
    return Remote(url)


def shards_at(path: Path, suffix: str) -> tuple[Place, dict[str, int]]:
    """Where the shards of a folder or URL lie, their names and sizes; `path` may be one shard alone.

    Raises:
        DataError: as `place_of`, or the place cannot be listed.
    """
    alone = path.name.lower().endswith(suffix) and not path.is_dir()
    place = place_of(path.parent if alone else path)
    found = place.sizes()
    return place, {
        name: size for name, size in found.items() if name.lower().endswith(suffix) and (not alone or name == path.name)
    }


def set_name(path: Path, name: str) -> str:
    """`name`, or `synthetic` where the README beside the shards says that they were drawn."""
    place = place_of(path)
    drawn = "README.txt" in place.sizes() and place.read("README.txt", 0, 200).startswith(SYNTHETIC.encode())
    return "synthetic" if drawn else name


class Folder:
    """Shards in a folder on a disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Folder) and other._path == self._path

    def __hash__(self) -> int:
        return hash(self._path)

    def sizes(self) -> dict[str, int]:
        """The regular files of the folder, hidden ones left out; none where there is no such folder."""
        if not self._path.is_dir():
            return {}
        with os.scandir(self._path) as entries:
            return {e.name: e.stat().st_size for e in entries if not e.name.startswith(".") and e.is_file()}

    def state(self, name: str) -> str:
        """The time of the last change."""
        return str((self._path / name).stat().st_mtime_ns)

    def read(self, name: str, start: int, length: int) -> bytes:
        """A piece of a file."""
        try:
            with (self._path / name).open("rb", buffering=0) as file:
                file.seek(start)
                return file.read(length)
        except OSError as error:
            raise DataError(f"{self.where(name)} cannot be read: {error.strerror}") from None

    def open(self, name: str) -> Any:
        """The file, opened."""
        try:
            return (self._path / name).open("rb")
        except OSError as error:
            raise DataError(f"{self.where(name)} cannot be read: {error.strerror}") from None

    def where(self, name: str) -> str:
        """The path."""
        return str(self._path / name)
