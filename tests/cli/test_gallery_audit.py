"""`reidkit gallery audit`, on a log that is whole and on one that somebody has touched."""

from __future__ import annotations

import sqlite3
from concurrent.futures import wait
from contextlib import closing

import pytest

from reidkit.serve.audit import AuditLog


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "people.db-audit"
    with closing(AuditLog(path)) as made:
        wait([made.write(actor, "search", purpose="lost child") for actor in ("anna", "bob", "anna")])
    return path


def test_entries_and_their_chain(nursery, log):
    gallery = str(log).removesuffix("-audit")
    shown = nursery.run("gallery", "audit", gallery)
    assert [line.split()[2:4] for line in shown.out.splitlines()] == [
        ["anna", "search"],
        ["bob", "search"],
        ["anna", "search"],
    ]
    assert '{"purpose": "lost child"}' in shown.out
    some = nursery.run("gallery", "audit", gallery, "--actor", "anna", "--since", "1h", "--json").json()["entries"]
    assert [entry["id"] for entry in some] == [1, 3]
    assert nursery.run("gallery", "audit", log, "--until", "2000-01-01").out == ""
    assert nursery.run("gallery", "audit", log, "--until", "2000-01-01", "--json").json() == {"entries": []}
    assert nursery.run("gallery", "audit", log, "--since", "soon", "--json").out == ""
    whole = nursery.run("gallery", "audit", gallery, "--verify")
    assert whole.status == 0
    assert whole.out.startswith("3 entries, the last one ")


def test_a_log_of_any_name_and_why_before_what_was_found(nursery, tmp_path):
    with closing(AuditLog(tmp_path / "log.sqlite")) as made:
        wanted = {"filter": {"camera": {"in": ["hall"]}}}
        made.write("anna", "search", count=20, images=["sha256:" + "0" * 64], purpose="case 8", wanted=wanted).result()
        shown = nursery.run("gallery", "audit", tmp_path / "log.sqlite").out
    assert '{"purpose": "case 8", "wanted": {"filter": {"camera": {"in": ["hall"]}}}, "count": 20' in shown
    assert nursery.run("gallery", "audit", tmp_path / "log.sqlite", "--verify").out.startswith("1 entry, the last one ")


def test_no_log_lies_beside_a_gallery_in_milvus(nursery):
    said = nursery.run("gallery", "audit", "milvus://me:secret@here/people")
    assert said.status == 2
    assert "milvus://here:19530/people is no file that an audit log could lie beside" in said.line()
    assert "secret" not in said.err


def test_a_log_that_was_touched(nursery, log):
    with closing(sqlite3.connect(log)) as connection:
        connection.execute("UPDATE entries SET actor = 'nobody' WHERE id = 2")
        connection.commit()
    found = nursery.run("gallery", "audit", log, "--verify")
    assert found.status == 1
    assert "entry 2 was changed" in found.out
    assert "has been changed" in found.line()


def test_a_time_that_is_none_any_more(nursery, log):
    with closing(sqlite3.connect(log)) as connection:
        connection.execute("UPDATE entries SET time = 4611686018427387903 WHERE id = 2")
        connection.commit()
    times = [entry["time"] for entry in nursery.run("gallery", "audit", log, "--json").json()["entries"]]
    assert times[1] == "4611686018427387903"


def test_no_log(nursery, tmp_path):
    found = nursery.run("gallery", "audit", tmp_path / "people.db")
    assert found.status == 1
    assert "a log begins when `reidkit serve` first serves the gallery" in found.line()
