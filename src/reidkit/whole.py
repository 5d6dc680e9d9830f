"""A file is written whole or not at all: beside its place first, and then renamed into it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import IO, TYPE_CHECKING

from reidkit.types import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def said(path: Path) -> Iterator[None]:
    """Say in a sentence why a file that a user has named cannot be written.

    Raises:
        DataError: in the place of every OSError.
    """
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise DataError(f"{path} cannot be written ({why}): name a file in a folder you can write to") from None


@contextlib.contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """What to write the bytes of `path` to. What was there stays until the last of them is on the disk.

    They lie in `NAME.partial` until then, which an error takes away and a kill leaves to the next try. Who writes
    the same file at the same time, in this process or another, is waited for.

    Raises:
        OSError: the file cannot be written.
    """
    partial = path.with_name(f"{path.name}.partial")
    with _alone(partial) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


def _alone(partial: Path) -> IO[bytes]:
    """`partial`, open and empty, with nobody else in it."""
    while True:
        file = open(partial, "wb", opener=_untouched)  # noqa: SIM115 (the caller closes it)
        try:
            with contextlib.suppress(OSError):  # disks that know no locks have to do without
                fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(file, partial):
                file.truncate()
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # who was waited for has given this file its name: begin another


def _untouched(path: str, flags: int) -> int:
    """Open a file without emptying it: it may be another's still."""
    return os.open(path, flags & ~os.O_TRUNC, 0o666)


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
