"""Errors of SQLite, of a gallery's file, in a sentence."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from reidkit.errors import DataError, GalleryError

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

PATIENCE = 30.0
"""Seconds that a writer waits for another process that is writing."""


def in_words(path: Path, error: sqlite3.Error) -> DataError | GalleryError:
    """Return an error of SQLite as one of ours."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")) or "SHORT_READ" in name:
        return DataError(
            f"{path} is damaged ({error}): `reidkit gallery check` says what can be read; take a copy of it from before"
        )
    if name.startswith("SQLITE_BUSY"):
        return GalleryError(f"{path} is being written by another process for {PATIENCE:.0f} s already: try again later")
    if name == "SQLITE_FULL" or name.startswith("SQLITE_IOERR"):
        return GalleryError(f"{path} cannot be written ({error}), the disk may be full: make room, and do it again")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return out_of_descriptors(path) or GalleryError(
            f"{path} cannot be opened or written ({error}): ask for the right to write it and its folder"
        )
    return GalleryError(f"{path} cannot be used ({error}): `reidkit gallery check` may say more")


def out_of_descriptors(path: Path) -> GalleryError | None:
    """Return what to do where no more files can be open, as SQLite only says that it cannot open one; else None."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return GalleryError(
                f"{path} cannot be opened, as no more files can be open at one time: close galleries that are not "
                "needed, or raise the limit, as by `ulimit -n 4096`"
            )
    return None
