"""The SQLite file of a gallery: its tables, how it is made, opened, read and written.

Rows and their features are in two tables of one file with pages of 64 KiB (of a feature of 8 KiB, pages of 4 KiB would
waste half), written ahead (WAL) and synced at every commit. An id is never given twice, and a row is never changed: it
is removed and added again. So new ids and the log of removed ones are all that a reader has to know.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import weakref
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reidkit.atomic import new_file, not_written
from reidkit.errors import DataError, GalleryError, MissingFileError
from reidkit.gallery.sqlite_errors import PATIENCE, in_words, out_of_descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

APPLICATION = 0x72656964  # "reid"
VERSION = 1
PAGE_BYTES = 65_536
SETTINGS = ("foreign_keys=ON", "secure_delete=ON", "synchronous=FULL", f"mmap_size={2**40}", "cache_size=-32768")
"""Of every connection. A feature is read out of the mapped file, and not with the whole page that it stands in."""

SCHEMA = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE cameras(id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL) STRICT;
CREATE TABLE rows(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT UNIQUE NOT NULL CHECK(length(key) BETWEEN 1 AND 512),
    pid INTEGER,
    camera INTEGER REFERENCES cameras,
    track TEXT,
    time INTEGER,
    image TEXT,
    attributes TEXT CHECK(attributes IS NULL OR json_valid(attributes)),
    digest BLOB NOT NULL,
    added INTEGER NOT NULL
) STRICT;
CREATE TABLE vectors(id INTEGER PRIMARY KEY REFERENCES rows ON DELETE CASCADE, vector BLOB NOT NULL) STRICT;
CREATE TABLE thumbnails(id INTEGER PRIMARY KEY REFERENCES rows ON DELETE CASCADE, jpeg BLOB NOT NULL) STRICT;
CREATE TABLE removed(seq INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL, time INTEGER NOT NULL) STRICT;
CREATE INDEX rows_time ON rows(time);
CREATE INDEX rows_camera_time ON rows(camera, time);
CREATE INDEX rows_pid ON rows(pid);
CREATE TRIGGER row_gone AFTER DELETE ON rows BEGIN
    INSERT INTO removed(id, time) VALUES(old.id, unixepoch());
END;
"""
"""Times are in microseconds since 1970 (UTC), those of `removed` in seconds."""

MIGRATIONS: Mapping[int, str] = {}
"""What makes a file of version N one of version N + 1: run in one transaction, by the first that may write the file."""

_HEADER = b"SQLite format 3\0"


class Database:
    """A gallery's file: connections for readers, which are kept, and one for the writer of this process."""

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            DataError: it is not there, damaged, something else, or of a newer version.
        """
        self.path = path
        self.writable = _check_file(path)
        self._file = path.stat()
        self._idle: list[sqlite3.Connection] = []
        self._readers: set[object] = set()
        self._writer: sqlite3.Connection | None = None
        self._writing = threading.RLock()
        self._closed = self._torn = False
        _OPEN.add(self)
        _follow_forks()
        if self.writable and _version(path) < VERSION:
            self._migrate()

    def close(self) -> None:
        """Close all connections; the log that is written ahead goes into the file with the last one."""
        if self._torn:
            return
        with self._writing:
            self._closed = True
            with contextlib.suppress(sqlite3.Error):
                for connection in [*self._idle, *filter(None, [self._writer])]:
                    connection.close()
            self._idle, self._writer = [], None

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that sees the file as it is now, until the end of the block.

        Raises:
            DataError: the file is damaged.
            GalleryError: it cannot be read.
        """
        self.refuse_lost()
        reader = object()
        self._readers.add(reader)
        try:
            with self.errors():
                connection = self._take()
                try:
                    connection.execute("BEGIN")
                    connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()  # the snapshot is taken here
                    yield connection
                finally:
                    self._give_back(connection)
        finally:
            self._readers.discard(reader)

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection in a transaction, which is on the disk when the block ends and undone by an error.

        Raises:
            DataError: the file is damaged.
            GalleryError: it cannot be written, or another process writes it for too long.
        """
        if not self.writable:
            raise GalleryError(f"{self.path} cannot be written: ask for the right to write it, or copy it")
        self.refuse_lost()
        with self._writing, self.errors():
            connection = self._writer = self._writer or self._connect(write=True)
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise

    def erase(self) -> bool:
        """Overwrite what was written ahead, where removed rows may stand still; whether no reader was in the way."""
        self.refuse_lost()
        with self._writing, self.errors():
            connection = self._writer = self._writer or self._connect(write=True)
            connection.execute("PRAGMA busy_timeout=0")  # who calls this knows how long to wait for readers
            try:
                busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                connection.execute(f"PRAGMA busy_timeout={PATIENCE * 1000:.0f}")
            return not busy

    def size(self) -> int:
        """Return the bytes of the file, with what is written ahead."""
        return sum(file.stat().st_size for file in (self.path, Path(f"{self.path}-wal")) if file.exists())

    def compact(self) -> None:
        """Write the file anew without what is free in it; it is shorter when `erase` has found no reader in the way."""
        self.refuse_lost()
        with self._writing, self.errors():
            connection = self._writer = self._writer or self._connect(write=True)
            connection.execute("VACUUM")

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Say errors of SQLite in a sentence."""
        try:
            yield
        except sqlite3.Error as error:
            raise in_words(self.path, error) from None

    def before_fork(self) -> None:
        """Close the connections that nobody uses now; others are opened when they are needed."""
        with contextlib.suppress(sqlite3.Error):
            while self._idle:
                self._idle.pop().close()
            if self._writer and not self._writer.in_transaction and self._writing.acquire(blocking=False):
                self._writer.close()
                self._writer = None
                self._writing.release()

    def after_fork(self) -> None:
        """Be of no use in a new process that has copies of connections: they must be neither used nor closed."""
        free = self._writing.acquire(blocking=False)
        self._torn = not free or bool(self._readers or self._idle or self._writer)
        if free:
            self._writing.release()

    def refuse_lost(self) -> None:
        """Refuse to go on with a file that has another one in its place, or none: nobody would find what is written.

        Raises:
            GalleryError: it has; or the process is a fork of one that was using the file at that moment.
        """
        if self._torn:
            raise GalleryError(
                f"{self.path} was in use when this process was forked: start processes by `spawn`, and open it there"
            )
        with contextlib.suppress(OSError):
            if os.path.samestat(self._file, self.path.stat()):
                return
        raise GalleryError(f"{self.path} was removed or replaced since it was opened: put it back, or open it again")

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect(write=False)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            connection.close()
            return
        if self._closed:
            connection.close()
        else:
            self._idle.append(connection)

    def _connect(self, *, write: bool) -> sqlite3.Connection:
        if self._closed:
            raise GalleryError(f"{self.path} was closed: open it again")
        connection = connect(self.path, write=write and self.writable)
        if not write:
            connection.execute("PRAGMA query_only=ON")
        return connection

    def _migrate(self) -> None:
        with self.writing() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            while version < VERSION:
                for statement in MIGRATIONS[version].split(";\n"):
                    connection.execute(statement)
                version += 1
                connection.execute(f"PRAGMA user_version={version}")


_OPEN: weakref.WeakSet[Database] = weakref.WeakSet()


@cache
def _follow_forks() -> None:
    """Let no connection go along into a forked process, from now on.

    SQLite would take the locks of its parent for its own there, in new connections, too: what one of them writes may be
    in a file that the other has removed.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lambda: list(map(Database.before_fork, list(_OPEN))),
            after_in_child=lambda: list(map(Database.after_fork, list(_OPEN))),
        )


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """Open a connection without transactions of its own."""
    readable = os.access(path.parent, os.W_OK) and os.access(path, os.W_OK)
    # Where nothing can be laid beside the file and nothing lies there, nobody can be writing it.
    still = "" if readable or Path(f"{path}-wal").exists() else "&immutable=1"
    mode = "rw" if write or readable else "ro"
    address = f"{path.absolute().as_uri()}?mode={mode}{still}"
    connection = sqlite3.connect(
        address, uri=True, isolation_level=None, timeout=PATIENCE, check_same_thread=False, cached_statements=64
    )
    try:
        for setting in SETTINGS:
            connection.execute(f"PRAGMA {setting}")
    except BaseException:
        connection.close()
        raise
    return connection


def create(path: Path, meta: Mapping[str, str]) -> None:
    """Make the file of an empty gallery, whole or not at all; folders above it that are missing, too.

    Raises:
        DataError: there is a file already, or what was written ahead for one; or it cannot be written.
    """
    try:
        _refuse_there(path)
        _refuse_left(path)
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
        with new_file(path) as file:
            file.write(_empty(meta))
    except FileExistsError:
        raise DataError(f"{path} is there already: add to it, or name another file") from None
    except OSError as error:
        raise not_written(path, error, "a file in a folder you can write to") from None
    except sqlite3.Error as error:
        raise in_words(path, error) from None


def _refuse_there(path: Path) -> None:
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, "it is there already")


def _refuse_left(path: Path) -> None:
    """Refuse a place where rows wait for a file that was moved or removed alone: SQLite would put them into a new one.

    Raises:
        DataError: there are some.
        FileExistsError: they are of a gallery that another process has made meanwhile.
    """
    if os.path.lexists(f"{path}-wal"):
        _refuse_there(path)
        raise DataError(
            f"{path}-wal is of a gallery whose file was moved or removed without it: move it there too, or delete it"
        )


def _empty(meta: Mapping[str, str]) -> bytes:
    """Return the bytes of an empty gallery's file."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        connection.execute(f"PRAGMA application_id={APPLICATION}")
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.executescript(SCHEMA)
        connection.executemany("INSERT INTO meta VALUES(?, ?)", meta.items())
        content = bytearray(connection.serialize())
    content[18:20] = b"\2\2"  # the file is read and written with a log that is written ahead, from the first time on
    return bytes(content)


def _check_file(path: Path) -> bool:
    """Return whether a gallery's file can be written.

    Raises:
        DataError: it is not there, or no gallery of a version that is known.
    """
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder and no gallery: name its file, as people.db")
        with path.open("rb") as file:
            head = file.read(100)
    except FileNotFoundError:
        raise MissingFileError(
            f"{path} is not there: make a gallery with `reidkit gallery create` or, in Python, open it with a model"
        ) from None
    except OSError as error:
        raise out_of_descriptors(path) or DataError(f"{path} cannot be read: {error.strerror}") from None
    if not head.startswith(_HEADER) or len(head) < 100:
        raise DataError(f"{path} is no gallery: name a file that `reidkit gallery create` has made")
    if int.from_bytes(head[68:72], "big") != APPLICATION:
        raise DataError(f"{path} is a database of another program and no gallery: name another file")
    version = int.from_bytes(head[60:64], "big")
    if version > VERSION:
        raise DataError(f"{path} is a gallery of version {version}, and this reidkit knows {VERSION}: update reidkit")
    # A page that is cut off would be read as zeros. While something is written ahead, the file may be growing.
    page = int.from_bytes(head[16:18], "big")  # 1 stands for 65,536
    size = int.from_bytes(head[28:32], "big") * (PAGE_BYTES if page == 1 else page)
    if path.stat().st_size < size and not _written_ahead(path):
        raise DataError(f"{path} is damaged, its end is missing: take a copy of it from before")
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _written_ahead(path: Path) -> bool:
    try:
        return Path(f"{path}-wal").stat().st_size > 0
    except OSError:
        return False


def _version(path: Path) -> int:
    with path.open("rb") as file:
        return int.from_bytes(file.read(64)[60:], "big")


def read_meta(connection: sqlite3.Connection) -> dict[str, Any]:
    """Return what is noted of the gallery, by name."""
    return dict(connection.execute("SELECT name, value FROM meta"))
