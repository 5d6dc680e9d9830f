"""Locks between processes, on every system that Python runs on."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def hold(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock file `path` for this process; a kill lets go of it too. The file stays, empty.

    A link in its place is refused and never followed.

    Raises:
        BlockingIOError: another process holds it and `wait` is False.
        OSError: the file cannot be made, or its disk knows no locks.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, mode=0o666, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        raise BlockingIOError(f"{path} is held by another process") from None
    try:
        yield
    finally:
        lock.release()
