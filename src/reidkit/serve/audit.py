"""The audit log: who searched for whom, when and why, in an order that cannot be changed unseen.

Each entry holds the SHA-256 of the one before it, so that one which is changed, left out or put in between shows. What
was cut off at the end shows against the last hash, if that was written down elsewhere. Entries are on the disk before
the request is answered; several that wait at the same time share one transaction.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reidkit.errors import DataError, GalleryError, MissingFileError
from reidkit.gallery.database import connect
from reidkit.gallery.row import now_micros
from reidkit.serve.batcher import Batcher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

APPLICATION = 0x72656961
"""What the SQLite file says it is: "reia"."""
FIRST = "0" * 64
"""The hash before the first entry."""
FORGET = "forget"
"""The action of the entry that stands for those which were removed by age."""
BUSY_SECONDS = 30.0
PAGE = 1000
"""Entries that are read at a time."""

_REMEDY = "name another file as audit, or move it away"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  time INTEGER NOT NULL,      -- microseconds since 1970, UTC
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  entry TEXT NOT NULL,        -- JSON
  before TEXT NOT NULL,       -- the hash of the entry before
  hash TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS entries_time ON entries(time);
"""

Entry = tuple[int, str, str, dict[str, Any]]
"""Time in microseconds, actor, action, and the rest."""


@dataclass(frozen=True)
class Verified:
    """What a check of the log found: how many entries, the first and last number, the hash of the last, and faults."""

    entries: int
    first: int | None
    last: int | None
    hash: str
    faults: tuple[str, ...]


class AuditLog:
    """An audit log in an SQLite file, written by one thread."""

    def __init__(self, path: Path | None) -> None:
        """Open the log, or make it; None keeps it in memory, and it ends with the program.

        Raises:
            DataError: the file is none of ours, or cannot be written.
        """
        self.path = path
        if path is not None:
            _refuse_left(path)
        self._connection = _open(":memory:" if path is None else str(path))
        self._file = None if path is None else path.stat()
        self._lock = threading.Lock()  # of the connection
        self._batches: Batcher[Entry, None] = Batcher(self._write, largest=1024, name="reidkit-audit")

    def write(self, actor: str, action: str, **facts: Any) -> Future[None]:
        """Write an entry.

        The future is done when it is on the disk. It raises `sqlite3.Error` where that failed, and `GalleryError` where
        another file, or none, is in the place of the log.
        """
        (future,) = self._batches.submit([(now_micros(), actor, action, facts)])
        return future

    def forget(self, seconds: float) -> int:
        """Remove entries older than this, and add one that says how many and up to which; how many there were."""
        with self._another() as connection, _transaction(connection):
            now = now_micros()
            # All up to the last old one, so that what remains is one chain, and none behind the first that is not old:
            # an entry that was written while the clock was wrong takes none of these along, nor keeps older ones.
            before = now - int(seconds * 1e6)
            wanted = "SELECT min(id) FROM entries WHERE time BETWEEN ? AND ?"
            (young,) = connection.execute(wanted, (before, now)).fetchone()
            wanted = "SELECT max(id) FROM entries WHERE time < ? AND id < ?"
            (old,) = connection.execute(wanted, (before, young or 1 << 62)).fetchone()
            if old is None:
                return 0
            tail = _tail(connection)
            (gone,) = connection.execute("SELECT hash FROM entries WHERE id = ?", (old,)).fetchone()
            count = connection.execute("DELETE FROM entries WHERE id <= ?", (old,)).rowcount
            facts = {"entries": count, "last": old, "hash": gone}
            _append(connection, tail, [(now, "service", FORGET, facts)])
        return count

    def read(
        self, *, since: int = 0, until: int | None = None, actor: str = "", after: int = 0, limit: int = 1000
    ) -> list[dict[str, Any]]:
        """Return entries, oldest first: `since` to `until` (microseconds since 1970), of one actor, after a number."""
        with self._another() as connection:
            return _entries(connection, (after, since, until, actor, limit))

    def close(self) -> None:
        """Write what waits, and close the file."""
        self._batches.close()
        self._connection.close()

    @contextmanager
    def _another(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection beside that of the thread that writes; in memory there is but one, which is waited for."""
        if self.path is None:
            with self._lock:
                yield self._connection
            return
        self.refuse_lost()
        with closing(_connect(str(self.path))) as connection:
            yield connection

    def refuse_lost(self) -> None:
        """Refuse to go on with a file that was moved, removed or emptied: nobody would find what is written.

        Raises:
            GalleryError: it was, as by a program that rotates logs.
        """
        if self.path is None or self._file is None:
            return
        with contextlib.suppress(OSError):
            now = self.path.stat()
            if os.path.samestat(self._file, now) and now.st_size >= self._file.st_size:  # it only ever grows
                return
        raise GalleryError(
            f"{self.path} was moved, removed or emptied since it was opened: put it back, or start the service again"
        )

    def _write(self, entries: list[Entry]) -> list[None]:
        """Add entries in one transaction."""
        with self._lock, _transaction(self._connection):
            _append(self._connection, _tail(self._connection), entries)
            self.refuse_lost()
        return [None] * len(entries)


def read_log(path: Path, *, since: int = 0, until: int | None = None, actor: str = "") -> Iterator[dict[str, Any]]:
    """Yield all entries of a log, as `AuditLog.read` returns some; the log may be one that cannot be written.

    Raises:
        DataError: the file is no audit log, or so damaged that entries cannot be read.
        MissingFileError: there is none.
    """
    with _reading(path) as connection:
        found = _entries(connection, (0, since, until, actor, PAGE))
        while found:  # a query for each page: one that stays open would keep the service from tidying its file
            yield from found
            found = _entries(connection, (found[-1]["id"], since, until, actor, PAGE))


def verify(path: Path) -> Verified:
    """Check the chain of hashes of a log, which may be one that cannot be written.

    Raises:
        DataError: the file is no audit log.
        MissingFileError: there is none.
    """
    faults: list[str] = []
    first: tuple[int, str] | None = None  # its number, and the hash that it says stands before it
    count, last, before, forgotten = 0, 0, FIRST, {FIRST}
    with _reading(path) as connection:
        rows = connection.execute("SELECT id, time, actor, action, entry, before, hash FROM entries ORDER BY id")
        try:
            for number, moment, actor, action, text, said, digest in rows:
                if first is None:
                    first, last, before = (number, said), number - 1, said
                if number != last + 1:
                    faults.append(f"entries {last + 1} to {number - 1} are missing")
                elif (said, digest) != (before, _hash(before, moment, actor, action, text)):
                    faults.append(f"entry {number} was changed, or does not follow the one before it")
                if action == FORGET:
                    forgotten.add(str(_facts(text).get("hash")))
                count, last, before = count + 1, number, digest
        except sqlite3.Error as error:
            faults.append(f"what follows entry {last} cannot be read ({error})")
    if first and first[1] not in forgotten:
        faults.insert(0, f"entries before {first[0]} are missing, and none says that they were removed")
    return Verified(count, first[0] if first else None, last if first else None, before, tuple(faults[:100]))


def is_log(path: Path) -> bool:
    """Return whether a file is an audit log, whatever its name."""
    try:
        with _reading(path):
            return True
    except (DataError, MissingFileError):
        return False


def _entries(connection: sqlite3.Connection, wanted: tuple[int, int, int | None, str, int]) -> list[dict[str, Any]]:
    """Return entries: those after a number, from a time on, before one, of an actor, and no more than so many."""
    after, since, until, actor, limit = wanted
    rows = connection.execute(
        "SELECT id, time, actor, action, entry, hash FROM entries WHERE id > ? AND time >= ? AND time < ? "
        "AND (? = '' OR actor = ?) ORDER BY id LIMIT ?",
        (after, since, until if until is not None else 1 << 62, actor, actor, limit),
    )
    found = []
    for number, moment, who, action, text, digest in rows.fetchall():
        columns = {"id": number, "time": moment, "actor": who, "action": action}
        # Facts that somebody has given the name of a column do not stand in its place.
        found.append(columns | _facts(text) | columns | {"hash": digest})
    return found


def _facts(text: str) -> dict[str, Any]:
    """Return what an entry holds; the text itself, where somebody has made it something else than JSON."""
    try:
        found = json.loads(text)
    except ValueError:
        return {"damaged": text}
    return found if isinstance(found, dict) else {"damaged": text}


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection to a log of which nothing is written; texts that are no UTF-8 are read all the same.

    Raises:
        DataError: the file is no audit log, or damaged.
        MissingFileError: there is none.
    """
    if not path.is_file():
        raise MissingFileError(f"{path} is not there: name the audit log of a gallery, as people.db-audit")
    _refuse_left(path)
    try:
        with closing(connect(path, write=False)) as connection:
            connection.execute("PRAGMA query_only=ON")
            connection.text_factory = partial(str, encoding="utf-8", errors="replace")
            if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION,):
                raise DataError(f"{path} is a database of something else and no audit log: name another file")
            yield connection
    except sqlite3.Error as error:
        raise DataError(
            f"{path} cannot be read as an audit log ({error}): name another file, or a copy of it from before"
        ) from None


def _refuse_left(path: Path) -> None:
    """Refuse a place where entries wait for a file that was moved or removed alone: SQLite would delete them.

    Raises:
        DataError: there are some.
    """
    left = Path(f"{path}-wal")
    if left.exists() and left.stat().st_size and not (path.exists() and path.stat().st_size):
        raise DataError(
            f"{left} holds entries of an audit log whose file was moved, removed or emptied: move it beside that file, "
            "as NAME-wal, or delete it",
            argument="audit",
        )


def _open(name: str) -> sqlite3.Connection:
    """Open the file of a log, and make the table where there is none.

    Raises:
        DataError: it is another file, or cannot be written.
    """
    try:
        connection = _connect(name)
        (known,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and known != APPLICATION:
            connection.close()
            raise DataError(f"{name} is a database of something else and no audit log: {_REMEDY}", argument="audit")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA application_id={APPLICATION}")
        connection.executescript(_SCHEMA)
    except sqlite3.Error as error:
        kind = getattr(error, "sqlite_errorname", "") or ""
        remedy = _REMEDY
        if kind == "SQLITE_FULL" or kind.startswith("SQLITE_IOERR"):
            remedy = f"make room for it, or {_REMEDY}"
        elif kind.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
            remedy = "ask for the right to write it and its folder, or name another file as audit"
        raise DataError(f"{name} cannot be the audit log ({error}): {remedy}", argument="audit") from None
    return connection


def _connect(name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(name, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA secure_delete=ON")
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _tail(connection: sqlite3.Connection) -> str:
    """Return the hash of the last entry."""
    last = connection.execute("SELECT hash FROM entries ORDER BY id DESC LIMIT 1").fetchone()
    return str(last[0]) if last else FIRST


def _append(connection: sqlite3.Connection, before: str, entries: list[Entry]) -> None:
    """Add entries behind the one with the hash `before`."""
    for moment, actor, action, facts in entries:
        text = json.dumps(facts, sort_keys=True, default=str)
        digest = _hash(before, moment, actor, action, text)
        connection.execute(
            "INSERT INTO entries(time, actor, action, entry, before, hash) VALUES(?,?,?,?,?,?)",
            (moment, actor, action, text, before, digest),
        )
        before = digest


def _hash(before: str, moment: int, actor: str, action: str, text: str) -> str:
    return hashlib.sha256(json.dumps([before, moment, actor, action, text]).encode()).hexdigest()
