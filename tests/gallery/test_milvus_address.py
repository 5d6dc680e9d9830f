"""Addresses of galleries in Milvus, for which no server is needed."""

from __future__ import annotations

import logging
import socket

import pytest

from reidkit.errors import GalleryError, UsageError
from reidkit.gallery import open_gallery
from reidkit.gallery.milvus_address import Address, parse_address, shown


def test_by_hand():
    assert parse_address("milvus://here/people", {}) == Address(host="here", port=19530, name="people")
    found = parse_address("milvus://me:p%40ss@[::1]:7/shop/people?index=hnsw&consistency=bounded&tls=true", {})
    assert (found.host, found.port, found.database, found.name) == ("::1", 7, "shop", "people")
    assert (found.secrets(), found.index, found.consistency, found.tls) == (
        ("me:p@ss", "p@ss"),
        "hnsw",
        "bounded",
        True,
    )
    assert (str(found), found.server) == ("milvus://[::1]:7/shop/people", "https://[::1]:7")
    assert parse_address("milvus://here/people", {"REIDKIT_MILVUS_TOKEN": "abc"}).secrets() == ("abc",)
    assert "p@ss" not in repr(found) + str(found)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("milvus://here:19530/", "named by letters, digits and underscores"),
        ("milvus://secret:secret@here/1people", "named by letters"),
        ("milvus://here/a/b/c", "named by letters"),
        ("milvus://here/people;drop", "named by letters"),
        ("milvus://here/../people", "named by letters"),
        ("milvus:///people", "the address names no host"),
        ("milvus://here:70000/people", "no port from 1 to 65535"),
        ("milvus://secret:secret@here:x/people", "no port from 1 to 65535"),
        ("milvus://here/people?index=tree", "index cannot be tree: choose flat, hnsw, ivf"),
        ("milvus://here/people?colour=red", "no option colour: choose index, consistency, tls"),
        ("people.db", "no address of a gallery in Milvus"),
    ],
)
def test_what_is_no_address(uri, words):
    with pytest.raises(UsageError, match=words) as error:
        parse_address(uri, {})
    assert "secret" not in str(error.value)


def test_what_is_shown():
    assert shown("milvus://me:secret@here/people?index=hnsw") == "milvus://here:19530/people"
    assert shown("milvus://me:secret@here:x/people") == "milvus://host:19530/name"
    assert shown("redis://me:secret@here/0") == "redis://here/0"
    assert shown("people.db") == "people.db"


def test_a_refused_call_leaves_the_loggers_of_the_client_as_they_were() -> None:
    """They said nothing any more, of calls of the program's own either."""
    pytest.importorskip("pymilvus")
    loggers = [logging.getLogger(name) for name in ("pymilvus", "pymilvus.milvus_client", "grpc")]
    before = [logger.level for logger in loggers]
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = closed.getsockname()[1]
    with pytest.raises(GalleryError, match="does not answer"):
        open_gallery(f"milvus://127.0.0.1:{nobody}/people")
    assert [logger.level for logger in loggers] == before
