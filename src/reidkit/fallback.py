"""Where to keep what can be made again, when no folder of the user's can be written: in a container, say."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from functools import cache
from pathlib import Path

from reidkit.terminal import harmless


@cache
def temporary_folder() -> Path:
    """Return a folder for temporary files of this user alone, the same one each time where that is safe.

    What lies in it is run (compiled loops) or trusted (decoded images), so nobody else may be able to write there: a
    folder of that name which is another user's, a link or open to others is left alone, and a new one made.

    Raises:
        OSError: there is no place for temporary files.
    """
    user = os.getuid() if hasattr(os, "getuid") else -1
    folder = Path(tempfile.gettempdir()) / (f"reidkit-{user}" if user >= 0 else "reidkit")
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        others = stat.S_IWGRP | stat.S_IWOTH
        mine = stat.S_ISDIR(found.st_mode) and (user < 0 or (found.st_uid == user and not found.st_mode & others))
        if not mine or not os.access(folder, os.W_OK | os.X_OK):
            return Path(tempfile.mkdtemp(prefix="reidkit-"))
    return folder


@cache
def remark(line: str) -> None:
    """Log a warning, once in this process."""
    logging.getLogger("reidkit").warning("%s", harmless(line))
