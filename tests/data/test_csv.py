from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from reidkit.data import csv
from reidkit.types import NO_CAMERA, DataError, Sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEADER = "path,pid,camid,split\n"


@pytest.fixture
def table(draw: Callable[..., Path]) -> Path:
    """Where the table goes, beside images a.jpg, b.jpg and `with, comma.jpg`."""
    return draw("images/a.jpg", "images/b.jpg", "images/with, comma.jpg") / "people.csv"


def test_four_lines_by_hand(table: Path) -> None:
    table.write_text(
        HEADER
        + "images/a.jpg,7,0,train\n"
        + 'images/b.jpg,9,,query\n"images/with, comma.jpg",9,3,gallery\n'
        + f"{table.parent}/images/a.jpg,-1,2,gallery\n"
    )
    images = table.parent / "images"
    for place in (table, table.parent):
        found = csv.load(place)
        assert found.name == "csv"
        assert found.train == (Sample(images / "a.jpg", 7, 0),)
        assert found.query == (Sample(images / "b.jpg", 9, NO_CAMERA),)
        assert found.gallery == (Sample(images / "with, comma.jpg", 9, 3),)
        assert found.junk == (Sample(images / "a.jpg", -1, 2),)


def test_one_name_makes_names_of_all(table: Path) -> None:
    """As text `10 < 9 < zoë`: 0, 1, 2; junk stays junk."""
    table.write_text(
        HEADER + "".join(f"images/a.jpg,{pid},0,train\n" for pid in ["zoë", "10", "9", "-1"]), encoding="utf-8"
    )
    found = csv.load(table)
    assert [sample.pid for sample in found.train] == [2, 0, 1]
    assert len(found.junk) == 1


def test_what_spreadsheets_do(table: Path) -> None:
    """A byte order mark, CRLF, spaces, another order of columns, one more column, empty lines."""
    text = "\ufeffsplit, pid ,note,camid,path\r\ntrain, 4,tall, 2 ,images/a.jpg\r\n\r\n,,,,\r\n"
    table.write_text(text, encoding="utf-8")
    assert csv.load(table).train == (Sample(table.parent / "images/a.jpg", 4, 2),)
    assert csv.matches(table.parent)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("images/none.jpg,1,0,train", "there is no image"),
        (",1,0,train", "there is no image"),
        ("images,1,0,train", "there is no image"),
        ("images/b.jpg,,0,train", "pid is empty"),
        ("images/b.jpg,1,lobby,train", "camid lobby is not a number"),
        ("images/b.jpg,1,-2,train", "camid -2 is not a number"),
        ("images/b.jpg,1,0,test", "split test is none of train, query, gallery"),
        ("images/b.jpg,1,0", "has not as many columns as line 1"),
        ("images/b.jpg,1,0,train,more", "has not as many columns as line 1"),
    ],
)
def test_a_bad_line_is_named(table: Path, line: str, reason: str) -> None:
    table.write_text(HEADER + "images/a.jpg,1,0,train\n" + line + "\n")
    with pytest.raises(DataError, match=re.escape(f"{table} line 3") + ".*" + reason):
        csv.load(table)


def test_a_file_that_is_no_table(table: Path) -> None:
    cases = {
        b"": "line 1 has no column path",
        b"path;pid;camid;split\n": "line 1 has no column path: begin the file with path,pid,camid,split",
        b"path,pid,camid\n": "line 1 has no column split",
        HEADER.encode(): "lists no images",
        b"path,pid,camid,split\nimages/\xe9.jpg,1,0,train\n": "is not UTF-8",
        b'path,pid,camid,split\nimages/a.jpg,1,0,train\n"images/a.jpg"x,1,0,train\n': "line 2 is not CSV",
        b'path,pid,camid,split\n"images/a.jpg,1,0,train\n': "line 1 is not CSV",
    }
    for content, reason in cases.items():
        table.write_bytes(content)
        with pytest.raises(DataError, match=reason):
            csv.load(table)


def test_which_file_is_meant(table: Path) -> None:
    with pytest.raises(DataError, match=r"does not hold one .csv file"):
        csv.load(table.parent)
    table.write_text(HEADER + "images/a.jpg,1,0,train\n")
    assert csv.matches(table.parent)
    table.with_name("other.CSV").write_text(HEADER)
    assert not csv.matches(table.parent)
    assert csv.matches(table)
    assert not csv.matches(table.parent / "images" / "a.jpg")
