"""The chain of hashes by hand, and what shows when somebody touches the file."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from concurrent.futures import wait
from contextlib import closing

import pytest

from reidkit.errors import DataError, GalleryError, MissingFileError
from reidkit.gallery import database
from reidkit.serve import audit
from reidkit.serve.audit import AuditLog, is_log, read_log, verify


@pytest.fixture
def path(tmp_path):
    return tmp_path / "people.db-audit"


def filled(path, count=5):
    log = AuditLog(path)
    wait([log.write("anna", "search", purpose=f"case {number}") for number in range(count)])
    log.close()


def change(path, statement):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def test_a_chain_by_hand(path):
    filled(path, 2)
    with closing(sqlite3.connect(path)) as connection:
        (first, second) = connection.execute("SELECT time, actor, action, entry, before, hash FROM entries").fetchall()
    assert first[4] == "0" * 64
    assert first[5] == hashlib.sha256(json.dumps([first[4], *first[:4]]).encode()).hexdigest()
    assert second[4] == first[5]
    assert json.loads(first[3]) == {"purpose": "case 0"}
    found = verify(path)
    assert (found.entries, found.first, found.last, found.hash, found.faults) == (2, 1, 2, second[5], ())


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE entries SET actor = 'bob' WHERE id = 3", "entry 3 was changed, or does not follow the one before it"),
        ("UPDATE entries SET entry = '{}' WHERE id = 2", "entry 2 was changed, or does not follow the one before it"),
        ("DELETE FROM entries WHERE id = 3", "entries 3 to 3 are missing"),
        ("DELETE FROM entries WHERE id < 3", "entries before 3 are missing, and none says that they were removed"),
    ],
)
def test_what_was_touched_shows(path, statement, fault):
    filled(path)
    change(path, statement)
    assert fault in verify(path).faults


def test_a_hash_that_was_made_to_fit_shows_in_the_next_entry(path):
    filled(path)
    with closing(sqlite3.connect(path)) as connection:
        time, before = connection.execute("SELECT time, before FROM entries WHERE id = 3").fetchone()
    made = hashlib.sha256(json.dumps([before, time, "anna", "search", "{}"]).encode()).hexdigest()
    change(path, f"UPDATE entries SET entry = '{{}}', hash = '{made}' WHERE id = 3")  # noqa: S608
    assert verify(path).faults == ("entry 4 was changed, or does not follow the one before it",)


def test_a_log_goes_on_where_it_ended(path):
    filled(path, 2)
    filled(path, 2)
    assert (verify(path).entries, verify(path).faults) == (4, ())


def test_entries_are_removed_by_age_and_the_chain_says_so(path, monkeypatch):
    now = 1_000_000_000
    monkeypatch.setattr(audit, "now_micros", lambda: now)
    log = AuditLog(path)
    for _ in range(3):
        log.write("anna", "search").result()
        now += 60_000_000
    assert log.forget(3600) == 0
    assert log.forget(100) == 2
    log.write("anna", "search").result()
    assert [(entry["id"], entry["action"]) for entry in log.read()] == [(3, "search"), (4, "forget"), (5, "search")]
    now += 10**12
    assert log.forget(1) == 3
    log.close()
    found = verify(path)
    assert (found.entries, found.first, found.faults) == (1, 6, ())


def test_a_clock_that_was_wrong_removes_no_entry_early_and_keeps_none(path, monkeypatch):
    """As on a machine that starts in 1970, or in ten years, until it has asked for the time."""
    year = 365 * 86_400_000_000
    now = 50 * year
    monkeypatch.setattr(audit, "now_micros", lambda: now)
    log = AuditLog(path)
    for years, purpose in [(50, "old"), (51, "new"), (0, "in 1970"), (61, "in ten years"), (51, "newer")]:
        now = years * year
        log.write("anna", "search", purpose=purpose).result()
    assert log.forget(year / 2e6) == 1
    assert [entry.get("purpose") for entry in log.read()] == ["new", "in 1970", "in ten years", "newer", None]
    now = 52 * year
    log.write("anna", "search", purpose="newest").result()
    assert log.forget(year / 2e6) == 5
    assert [entry["action"] for entry in log.read()] == ["search", "forget"]
    log.close()
    assert verify(path).faults == ()


def test_reading_by_actor_time_and_number():
    log = AuditLog(None)
    for actor in ("anna", "bob", "anna"):
        log.write(actor, "search").result()
    assert [entry["id"] for entry in log.read(actor="anna")] == [1, 3]
    assert [entry["id"] for entry in log.read(after=1, limit=1)] == [2]
    third = log.read()[2]["time"]
    assert [entry["id"] for entry in log.read(since=third)] == [3]
    assert 3 not in [entry["id"] for entry in log.read(until=third)]
    log.close()


@pytest.mark.parametrize("in_memory", [True, False])
def test_it_is_read_and_shortened_while_it_is_written(path, in_memory):
    log = AuditLog(None if in_memory else path)
    written = []
    for number in range(100):
        written.append(log.write("anna", "search", number=number))
        log.read(limit=10)
        log.forget(3600)
    assert [each.result(60) for each in written] == [None] * 100
    assert len(log.read()) == 100
    log.close()


def test_a_log_that_cannot_be_written_says_so_and_heals(path):
    log = AuditLog(path)
    log.write("anna", "search").result()
    log._connection.execute("PRAGMA query_only=ON")
    with pytest.raises(sqlite3.Error):
        log.write("anna", "search").result()
    log._connection.execute("PRAGMA query_only=OFF")
    log.write("anna", "search").result()
    log.close()
    assert (verify(path).entries, verify(path).faults) == (2, ())


def test_a_log_that_may_not_be_written_is_read(path, monkeypatch):
    """As a copy that was put away so that nobody changes it."""
    filled(path)
    monkeypatch.setattr(database.os, "access", lambda *_: False)
    before = path.read_bytes()
    assert is_log(path)
    assert (verify(path).entries, verify(path).faults) == (5, ())
    assert [entry["purpose"] for entry in read_log(path)] == [f"case {number}" for number in range(5)]
    assert [entry["id"] for entry in read_log(path, actor="bob")] == []
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE entries SET entry = CAST(x'7bff7d' AS TEXT) WHERE id = 3", {"damaged": "{\ufffd}"}),
        ("UPDATE entries SET entry = '[3]', action = 'forget' WHERE id = 3", {"damaged": "[3]"}),
    ],
)
def test_an_entry_that_is_no_json_any_more_is_a_fault(path, statement, found):
    filled(path)
    change(path, statement)
    assert verify(path).faults == ("entry 3 was changed, or does not follow the one before it",)
    assert {name: list(read_log(path))[2].get(name) for name in found} == found


def test_damaged_pages_are_faults(path):
    filled(path, 400)
    content = bytearray(path.read_bytes())
    for page in range(20, 25):
        content[page * 4096 : (page + 1) * 4096] = bytes(4096)
    path.write_bytes(content)
    found = verify(path)
    assert 0 < found.entries < 400
    assert found.faults == (f"what follows entry {found.last} cannot be read (database disk image is malformed)",)
    with pytest.raises(DataError, match=r"cannot be read as an audit log .*malformed"):
        list(read_log(path))


def test_a_long_log_is_read_some_at_a_time(path):
    """The names of columns among the facts are somebody's doing; the page that follows begins behind the last one."""
    filled(path, 2500)
    change(path, """UPDATE entries SET entry = '{"id": 7, "actor": "eve", "purpose": "none"}' WHERE id = 1000""")
    found = read_log(path)
    assert [entry["id"] for entry in found] == [*range(1, 2501)]
    assert [entry["id"] for entry in read_log(path, actor="eve")] == []


def test_a_full_disk_needs_room(path, monkeypatch):
    def full(name):
        connection = sqlite3.connect(name)
        connection.execute("PRAGMA max_page_count=1")  # for which SQLite says what it says of a full disk
        return connection

    with monkeypatch.context() as patched:
        patched.setattr(audit, "_connect", full)
        with pytest.raises(
            DataError, match=r"audit log \(database or disk is full\): make room for it, or name another"
        ):
            AuditLog(path)
    filled(path)  # in what was left


def moved(path, old):
    path.rename(old)


def moved_and_made(path, old):
    path.rename(old)
    path.touch()


def copied_and_emptied(path, old):
    shutil.copy(path, old)
    path.write_bytes(b"")


def removed_and_replaced(path, old):
    path.rename(old)
    shutil.copy(old, path)


@pytest.mark.parametrize("rotated", [moved, moved_and_made, copied_and_emptied, removed_and_replaced])
def test_nothing_is_noted_in_a_log_that_was_rotated(path, rotated):
    """Nobody would find it there, and SQLite deletes what waits for a file that is empty."""
    log, old = AuditLog(path), path.with_name("old")
    log.write("anna", "search").result()
    rotated(path, old)
    with pytest.raises(GalleryError, match="was moved, removed or emptied since it was opened: put it back, or start"):
        log.write("anna", "search").result()
    for use in (log.read, lambda: log.forget(0)):
        with pytest.raises(GalleryError, match="was moved"):
            use()
    log.close()
    if rotated in (copied_and_emptied, removed_and_replaced):
        assert (verify(path).entries, verify(path).faults) == (1, ())
        return
    with pytest.raises(
        DataError, match=r"people\.db-audit-wal holds entries of an audit log whose file was moved, removed"
    ):
        AuditLog(path)
    path.with_name("people.db-audit-wal").rename(f"{old}-wal")
    assert (verify(old).entries, verify(old).faults) == (1, ())
    filled(path)
    assert verify(path).entries == 5


def test_a_log_that_was_put_back_goes_on(path):
    log, old = AuditLog(path), path.with_name("old")
    log.write("anna", "search").result()
    path.rename(old)
    with pytest.raises(GalleryError):
        log.write("anna", "search").result()
    old.rename(path)
    log.write("anna", "search").result()
    log.close()
    assert (verify(path).entries, verify(path).faults) == (2, ())


def test_a_log_that_may_not_be_written_needs_the_right(path, monkeypatch):
    filled(path)
    monkeypatch.setattr(audit, "_connect", lambda name: sqlite3.connect(f"file:{name}?mode=ro", uri=True))
    with pytest.raises(DataError, match=r"\(attempt to write a readonly database\): ask for the right to write it and"):
        AuditLog(path)


def test_another_file_is_refused(path, tmp_path):
    change(path, "CREATE TABLE people(name)")
    with pytest.raises(DataError, match="database of something else"):
        AuditLog(path)
    path.write_bytes(b"no database, but long enough to be looked at as one" * 99)
    with pytest.raises(DataError, match="cannot be the audit log"):
        AuditLog(path)
    with pytest.raises(MissingFileError):
        verify(tmp_path / "gone")
    with pytest.raises(DataError, match="name another file"):
        AuditLog(tmp_path / "no folder" / "audit")
