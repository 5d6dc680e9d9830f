"""Where image caches lie, how much room they take, and how they are deleted. Nothing else deletes one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reidkit.atomic import remove_if_stale
from reidkit.errors import DataError
from reidkit.jit import remark, temporary_folder

if TYPE_CHECKING:
    from collections.abc import Iterator


def default_cache_dir() -> Path:
    """Return where caches lie unless the user says otherwise: `reidkit` in the cache folder of the XDG standard.

    Where that cannot be written, as in a container whose user has no home, it is a temporary folder, with a warning.

    Raises:
        DataError: there is no temporary folder either.
    """
    told = os.environ.get("XDG_CACHE_HOME", "")
    try:
        folder = (Path(told) if Path(told).is_absolute() else _home() / ".cache") / "reidkit"
    except RuntimeError:
        why = "there is no home folder"
    else:
        if _can_be_written(folder):
            return folder
        why = f"{folder} cannot be written"
    try:
        other = temporary_folder() / "cache"
    except OSError:
        raise DataError(
            f"{why}, nor a temporary one, for the image cache: name a folder as cache_dir, or None for no cache",
            argument="cache_dir",
        ) from None
    remark(f"decoded images are kept in {other}: {why}")
    return other


def _home() -> Path:
    """Return the user's home. An empty HOME is none: it would be the root of the file system.

    Raises:
        RuntimeError: there is none.
    """
    if os.environ.get("HOME") == "":
        raise RuntimeError("HOME is empty")
    return Path.home()


def _can_be_written(folder: Path) -> bool:
    """Return whether the folder is there and open to this user, or can be made."""
    try:
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        with tempfile.TemporaryDirectory(prefix=".reidkit-", dir=there):  # /proc says that it can be written
            return True
    except OSError:
        return False


@dataclass(frozen=True)
class Cached:
    """The caches of one folder: how many files, and their bytes."""

    folder: Path
    files: int
    bytes: int


def cache_usage(folder: Path) -> Cached:
    """Return what lies in `folder`; nothing where it is not there.

    Raises:
        DataError: the folder cannot be read.
    """
    sizes = [size for _, size in _files(folder)]
    return Cached(folder, len(sizes), sum(sizes))


def clear_cache(folder: Path) -> Cached:
    """Delete the caches in `folder`, and say what they were.

    A process that has one open can still read it. What is being written at this moment stays, and so do the lock files,
    which are empty: with a new lock file, two processes could write one cache.

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
