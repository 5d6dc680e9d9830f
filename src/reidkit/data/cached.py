"""What image caches take on the disk, and how to be rid of them. Nothing else ever deletes one."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reidkit.types import DataError
from reidkit.whole import remove_if_stale

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Cached:
    """The caches of one folder: how many files, and their bytes."""

    folder: Path
    files: int
    bytes: int


def look(folder: Path) -> Cached:
    """What lies in `folder`; nothing where it is not there.

    Raises:
        DataError: the folder cannot be read.
    """
    sizes = [size for _, size in _files(folder)]
    return Cached(folder, len(sizes), sum(sizes))


def clear(folder: Path) -> Cached:
    """Delete the caches in `folder`, and say what they were.

    Who has one open keeps it until the end. What is being written at this moment stays, and so do the locks, which are
    empty: with another lock file, two processes could write one cache.

    Raises:
        DataError: one cannot be deleted.
    """
    sizes = []
    for path, size in _files(folder):
        try:
            if path.suffix == ".images":
                path.unlink(missing_ok=True)
            elif not remove_if_stale(path):
                continue
        except OSError as error:
            raise DataError(f"{path} cannot be deleted: {error.strerror}") from None
        sizes.append(size)
    return Cached(folder, len(sizes), sum(sizes))


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Caches, and what is left of those that were broken off, each with its size."""
    try:
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from None
    for path in paths:
        if path.suffix in {".images", ".partial"}:
            with contextlib.suppress(OSError):  # gone since
                yield path, path.stat().st_size
