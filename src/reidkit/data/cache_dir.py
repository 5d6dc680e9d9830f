"""Where reidkit keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path

from reidkit.types import DataError


def default_cache_dir() -> Path:
    """Where caches lie unless the user says otherwise: `reidkit` in the cache folder of the XDG standard.

    Raises:
        DataError: the user has no home folder, as in a container that gives them a bare number.
    """
    told = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(told) if Path(told).is_absolute() else Path.home() / ".cache") / "reidkit"
    except RuntimeError:
        raise DataError("there is no home folder for the image cache: give --cache DIR or --no-cache") from None
