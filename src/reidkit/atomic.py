"""Files that are written completely or not at all, and locks between processes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from reidkit.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# A file is written whole or not at all: beside its final place first, and then renamed into it.

try:
    import fcntl
except ImportError:  # Windows, which does not let go of an open file anyway
    fcntl = None  # type: ignore[assignment]


NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The numbers of errors that say that a disk, a quota or a file is full."""
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/", re.ASCII)
_PARTIAL = re.compile(r"(.+)\.[0-9a-f]{8}\.partial", re.DOTALL)
_LONGEST = 230
"""Bytes of a name that leave room for what a partial file adds to it."""
_OWN_STREAM = re.compile(r"/dev/(?:stdin|stdout|stderr|fd/\d+)|/proc/[^/]+/fd/\d+")


@contextlib.contextmanager
def os_errors_as(path: Path) -> Iterator[None]:
    """Say in a sentence why a file that a user has named cannot be written.

    Raises:
        DataError: in the place of every OSError.
    """
    try:
        yield
    except OSError as error:
        raise not_written(path, error, "a file in a folder you can write to") from None


class NoRoomError(DataError):
    """A disk or a quota is full, so that nothing else can be written there either."""


def not_written(path: Path, error: OSError, instead: str) -> DataError:
    """Return the error that says why `path` cannot be written: make room on a full disk, else name `instead`."""
    full = error.errno in NO_ROOM
    remedy = "make room for it" if full else f"name {instead}"
    return (NoRoomError if full else DataError)(f"{path} cannot be written ({error.strerror or error}): {remedy}")


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """What to write the bytes of `path` to. What was there stays until the last of them is on the disk.

    They lie in `NAME.RANDOM.partial` until then, a new file that no other process can have made. An error removes it;
    what a kill leaves is removed by the next write of the same file. Of several that write one file at the same time,
    the last one to finish stays. A character device or a pipe is written into, and never replaced.

    Raises:
        OSError: the file cannot be written, or `path` is a folder, a disk or a pipe that nobody reads.
    """
    if _is_stream(path):
        with _stream(path) as file:
            yield file
        return
    with _whole(path, os.replace) as file:
        yield file


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """What to write the bytes of a file to that is not there yet. It appears with the last of them.

    What a kill leaves is removed as that of `atomic_write` is.

    Raises:
        FileExistsError: `path` is there, or another process has been quicker.
        OSError: the file cannot be written.
    """
    with _whole(path, os.link) as file:  # which, unlike a rename, never replaces another's file
        yield file


@contextlib.contextmanager
def _whole(path: Path, appear: Callable[[Path, Path], None]) -> Iterator[IO[bytes]]:
    """What to write a partial file of `path` to; `appear` gives it its name when its last byte is on the disk."""
    remove_stale(path)
    with _new_partial(path) as file:
        partial = Path(file.name)
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # Windows renames and links no open file
            appear(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):  # what is still in its buffer has no room either
                file.close()
            raise
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes `path` at the end; an error takes it away.

    Until then it is `NAME.RANDOM.partial`. What a kill leaves is removed by the next call for the same folder.

    Raises:
        OSError: the folder cannot be made, or `path` is there and not empty.
    """
    for left in _partials(path):
        with contextlib.suppress(OSError), _locked_folder(left):
            shutil.rmtree(left)
    partial = path.with_name(f"{_stem(path)}.{secrets.token_hex(4)}.partial")
    partial.mkdir()
    try:
        with _locked_folder(partial):
            yield partial
            partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    """Lock a folder, so that nobody takes it for stale.

    Raises:
        OSError: it is no folder, or another process holds it.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def final_name(name: str) -> str:
    """Return the name of the file that a partial file of this name becomes; any other name stays as it is."""
    match = _PARTIAL.fullmatch(name)
    return match[1] if match else name


def remove_stale(path: Path) -> None:
    """Remove the partial files of `path` that killed processes have left. What is still being written stays."""
    for left in _partials(path):
        remove_if_stale(left)


def _partials(path: Path) -> list[Path]:
    """Return what lies under the names of partial files of `path`."""
    stem = _stem(path)
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        return [Path(one.path) for one in entries if one.name.startswith(f"{stem}.") and final_name(one.name) == stem]
    return []


def remove_if_stale(partial: Path) -> bool:
    """Remove a partial file that nobody writes any more; whether that was so."""
    with contextlib.suppress(OSError):
        if not stat.S_ISREG(partial.lstat().st_mode):
            return False
        if fcntl is None:
            partial.unlink()
            return True
        file = os.open(partial, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()
        finally:
            os.close(file)
        return True
    return False


def _stem(path: Path) -> str:
    """Return what the names of the partial files of `path` begin with: its name, or a digest of a very long one."""
    code = os.fsencode(path.name)
    return path.name if len(code) <= _LONGEST else hashlib.sha256(code).hexdigest()


def _new_partial(path: Path) -> IO[bytes]:
    """Return a new file beside `path`, locked so that nobody takes it for stale."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    while True:
        partial = path.with_name(f"{_stem(path)}.{secrets.token_hex(4)}.partial")
        try:
            file = open(partial, "w+b", opener=lambda name, _: os.open(name, flags, 0o666))  # noqa: SIM115
        except FileExistsError:
            continue
        try:
            if fcntl is not None:
                with contextlib.suppress(OSError):  # disks that know no locks have to do without
                    fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(file, partial):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # another process took it for stale before it was locked


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


def _is_stream(path: Path) -> bool:
    """Whether `path` is no place for a file of its own: a device, a pipe, or one of this process's open files."""
    if _OWN_STREAM.fullmatch(os.path.abspath(path)):  # noqa: PTH100 (`Path.resolve` follows the link)
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False  # not there, or the error of writing says it better
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        raise OSError(errno.EINVAL, "a disk or a socket is no file", str(path))
    return not stat.S_ISREG(mode)


@contextlib.contextmanager
def _stream(path: Path) -> Iterator[IO[bytes]]:
    """A file that is copied into a device or pipe at the end: some formats are not written from front to back."""
    # Without O_NONBLOCK, a pipe that nobody reads would be waited for without an end.
    place = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(place, "wb") as stream, tempfile.TemporaryFile() as file:
        if hasattr(os, "set_blocking"):
            os.set_blocking(place, True)
        yield file
        file.seek(0)
        shutil.copyfileobj(file, stream)


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write `content` beside `path` and rename it into place, so that a reader never sees half a file.

    Raises:
        DataError: the folder cannot be made or written to, or it is an address.
    """
    refuse_address(path)
    with os_errors_as(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(content)


def refuse_address(path: Path) -> None:
    """Refuse to write to an address: s3://bucket/x would be a new folder called `s3:` on this machine.

    Raises:
        DataError: it is one, and there is no such folder.
    """
    if _ADDRESS.match(str(path)) and not Path(path.parts[0]).exists():
        address = _ADDRESS.sub(r"\1://", str(path), count=1)  # a path folds its slashes
        raise DataError(
            f"{address} is an address, and files are written to a disk: name a place on a disk, and copy the result"
        )


def refuse_unwritable(path: Path) -> None:
    """Refuse a file that cannot be written, before the work whose result it is to hold.

    Raises:
        DataError: it is a folder or an address, or nothing can be written where it would lie.
    """
    refuse_address(path)
    with os_errors_as(path):
        if _is_stream(path):
            return
        folder = next(each for each in path.absolute().parents if os.path.lexists(each))
        probe = _new_partial(folder / path.name)
        probe.close()
        Path(probe.name).unlink()


# Locks between processes, on every system that Python runs on.


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
