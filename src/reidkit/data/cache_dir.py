"""Where reidkit keeps what it can make again."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from reidkit.fallback import remark, temporary_folder
from reidkit.types import DataError


def default_cache_dir() -> Path:
    """Where caches lie unless the user says otherwise: `reidkit` in the cache folder of the XDG standard.

    Where that cannot be written, as in a container whose user has no home, it is a temporary folder, with a warning.

    Raises:
        DataError: there is no temporary folder either.
    """
    told = os.environ.get("XDG_CACHE_HOME", "")
    try:
        folder = (Path(told) if Path(told).is_absolute() else Path.home() / ".cache") / "reidkit"
    except RuntimeError:
        why = "there is no home folder"
    else:
        if _can_be_written(folder):
            return folder
        why = f"{folder} cannot be written"
    try:
        other = temporary_folder() / "cache"
    except OSError:
        raise DataError(f"{why}, nor a temporary one, for the image cache: give --cache DIR or --no-cache") from None
    remark(f"decoded images are kept in {other}: {why}")
    return other


def _can_be_written(folder: Path) -> bool:
    """Whether the folder is there and open to this user, or can be made."""
    try:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        with tempfile.TemporaryDirectory(prefix=".reidkit-", dir=there):  # /proc says that it can be written
            return True
    except OSError:
        return False
