from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from reidkit.data.formats import csv
from reidkit.errors import DataError
from reidkit.types import NO_CAMERA, Names, Sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEADER = "path,pid,camid,split\n"


@pytest.fixture
def table(draw: Callable[..., Path]) -> Path:
    """Where the table goes, beside images a.jpg, b.jpg, d.jpg and `with, comma.jpg`."""
    return draw("images/a.jpg", "images/b.jpg", "images/with, comma.jpg", "images/d.jpg") / "people.csv"


def test_four_lines_by_hand(table: Path) -> None:
    table.write_text(
        HEADER
        + "images/a.jpg,7,0,train\n"
        + 'images/b.jpg,9,,query\n"images/with, comma.jpg",9,3,gallery\n'
        + f"{table.parent}/images/d.jpg,-1,2,gallery\n"
    )
    images = table.parent / "images"
    for place in (table, table.parent):
        found = csv.load(place)
        assert found.name == "csv"
        assert found.train == (Sample(images / "a.jpg", 7, 0),)
        assert found.query == (Sample(images / "b.jpg", 9, NO_CAMERA),)
        assert found.gallery == (Sample(images / "with, comma.jpg", 9, 3),)
        assert found.junk == (Sample(images / "d.jpg", -1, 2),)


def test_cameras_and_splits_may_be_left_out(table: Path) -> None:
    """A table of two columns is for training, by no known camera; only by its name is it a data set."""
    table.write_text("path;pid;age\nimages/a.jpg;7;40\nimages/b.jpg;8;50\n")
    images = table.parent / "images"
    found = csv.load(table)
    assert found.train == (Sample(images / "a.jpg", 7, NO_CAMERA), Sample(images / "b.jpg", 8, NO_CAMERA))
    assert not found.query
    assert not csv.matches(table.parent)


def write(table: Path, *rows: str, encoding: str = "utf-8") -> Path:
    table.write_text(HEADER + "".join(f"{row}\n" for row in rows), encoding=encoding)
    return table


def test_one_name_makes_names_of_all(table: Path) -> None:
    """As text `10 < 9 < zoë`: 0, 1, 2; junk stays junk."""
    found = csv.load(
        write(
            table,
            "images/a.jpg,zoë,0,train",
            "images/b.jpg,10,0,train",
            '"images/with, comma.jpg",9,0,train',
            "images/d.jpg,-1,0,train",
        )
    )
    assert [sample.pid for sample in found.train] == [2, 0, 1]
    assert len(found.junk) == 1
    assert found.names == Names({0: "10", 1: "9", 2: "zoë"}, {})


def test_cameras_by_name(table: Path) -> None:
    """As text `2 < door < yard`; what is not known stays so, whether it is empty or -1."""
    rows = ("images/a.jpg,1,door,train", "images/b.jpg,1,yard,train", "images/d.jpg,2,2,query")
    found = csv.load(write(table, *rows, '"images/with, comma.jpg",2,-1,gallery'))
    assert [s.camid for s in (*found.train, *found.query, *found.gallery)] == [1, 2, 0, NO_CAMERA]
    assert found.names == Names({}, {0: "2", 1: "door", 2: "yard"})


def test_the_floats_of_pandas(table: Path) -> None:
    """A column with a gap becomes one of floats: 7.0 is 7, -1.0 junk, and camid 1.0 camera 1."""
    found = csv.load(
        write(table, "images/a.jpg,7.0,1.0,train", "images/b.jpg,12.0,,train", "images/d.jpg,-1.0,2.0,gallery")
    )
    assert [(s.pid, s.camid) for s in found.train] == [(7, 1), (12, NO_CAMERA)]
    assert [(s.pid, s.camid) for s in found.junk] == [(-1, 2)]
    assert not found.names


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_encodings_and_capitals(draw: Callable[..., Path], separator: str, encoding: str, end: str) -> None:
    root = draw("images/zoë.jpg")
    lines = [["PID", "Path", "Split", "CamID", "note"], ["zoë", "images\\zoë.jpg", "Train", "3", "x"]]
    text = end.join(separator.join(line) for line in lines)
    (root / "t.csv").write_bytes(text.encode(encoding))
    for place in (root / "t.csv", root):
        found = csv.load(place)
        assert found.train == (Sample(root / "images/zoë.jpg", 0, 3),)
        assert found.names.pid(0) == "zoë"


def test_excel_may_say_the_separator(table: Path) -> None:
    table.write_text("sep=;\r\npath;pid;camid;split\r\nimages/a.jpg;1;2;train\r\nimages/none.jpg;1;2;train\r\n")
    with pytest.raises(DataError, match="line 4: there is no image"):
        csv.load(table)


def test_trailing_separators_are_no_columns(table: Path) -> None:
    assert csv.load(write(table, "images/a.jpg,1,2,train,,")).train == (Sample(table.parent / "images/a.jpg", 1, 2),)


def test_a_line_is_counted_where_it_begins(table: Path) -> None:
    """The note of the first row goes over lines 2 to 4: the next row begins in line 5, and the one after in line 7."""
    text = 'note,path,pid,camid,split\n"one\ntwo\nthree",images/a.jpg,1,0,train\n"x\ny",images/none.jpg,1,0,train\n'
    table.write_text(text)
    with pytest.raises(DataError, match=re.escape(f"{table} line 5: there is no image")):
        csv.load(table)
    table.write_text(text.replace("none", "b") + '"z"z,images/b.jpg,1,0,train\n')
    with pytest.raises(DataError, match="line 7 is not CSV"):
        csv.load(table)


def test_two_spellings_of_one_integer_are_refused(table: Path) -> None:
    for pids in (("007", "7"), ("7.0", "07"), ("007", "7", "anna")):
        rows = [f"images/{image}.jpg,{pid},0,train" for image, pid in zip("abd", pids, strict=False)]
        with pytest.raises(DataError, match=r"spells the pid 7 in two ways, 0?07 and 7: spell it in one"):
            csv.load(write(table, *rows))
    assert csv.load(write(table, "images/a.jpg,7.0,0,train", "images/b.jpg,7,0,train")).train[0].pid == 7
    two = [f"images/{image}.jpg,{pid},0,train" for image, pid in (("a", "Zo\u00e9"), ("b", "Zoe\u0301"))]
    with pytest.raises(DataError, match=r"spells the pid Zo.* in two ways that look alike, with accents"):
        csv.load(write(table, *two))
    with pytest.raises(DataError, match="spells the camid 1 in two ways, 01 and 1"):
        csv.load(write(table, "images/a.jpg,7,01,train", "images/b.jpg,7,1,train"))


def test_an_image_that_is_listed_twice(table: Path) -> None:
    """In two splits it may be: what is a query may lie in the gallery."""
    write(table, "images/a.jpg,7,0,query", "images/a.jpg,7,0,gallery")
    assert len(csv.load(table).gallery) == 1
    write(table, "images/a.jpg,7,0,train", "images/b.jpg,7,0,train", f"{table.parent}/images/../images/a.jpg,7,0,train")
    with pytest.raises(DataError, match=r"line 4 lists a.jpg again, as line 2: remove one"):
        csv.load(table)
    write(table, "images/a.jpg,7,0,query", "images/a.jpg,8,0,gallery")
    with pytest.raises(
        DataError, match=r"line 3 lists a.jpg with pid 8 and camid 0, and line 2 with 7 and 0: correct one"
    ):
        csv.load(table)


def test_what_spreadsheets_do(table: Path) -> None:
    """A byte order mark, CRLF, spaces, another order of columns, one more column, empty lines."""
    text = "\ufeffsplit, pid ,note,camid,path\r\ntrain, 4,tall, 2 ,images/a.jpg\r\n\r\n,,,,\r\n"
    table.write_text(text, encoding="utf-8")
    assert csv.load(table).train == (Sample(table.parent / "images/a.jpg", 4, 2),)
    assert csv.matches(table.parent)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("images/none.jpg,1,0,train", "there is no image .*none.jpg: give paths relative to the table's folder"),
        (",1,0,train", "there is no image"),
        ("images,1,0,train", "there is no image"),
        ("images/b.jpg,,0,train", "pid is empty"),
        ("images/b.jpg,1,-2,train", "camid -2 is neither a whole number from 0 on, nor -1, nor a name"),
        ("images/b.jpg,1,1.5,train", "camid 1.5 is neither a whole number.*leave it empty if it is not known"),
        ("images/b.jpg,1,NaN,train", "camid NaN is a missing value.*leave it empty if it is not known"),
        ("images/b.jpg,-2.0,0,train", "pid -2 is neither a whole number"),
        ("images/b.jpg,7.5,0,train", "pid 7.5 is neither a whole number"),
        ("images/b.jpg,1.23457E+11,0,train", r"pid 1.23457E\+11 is a long number that a spreadsheet has cut: format"),
        ("images/b.jpg,nan,0,train", "pid nan is a missing value: give the id's number or name, or -1 for junk"),
        ("images/b.jpg,1,0,test", "split test is none of train, query, gallery: write one of these"),
        ("images/b.jpg,1,0,", "split is empty and is none of train"),
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
        b"": "line 1 is empty: begin the file",
        b"images/a.jpg,1,0,train\n": "line 1 has no column path and no column pid.*: begin the file",
        b"path|pid|camid|split\n": "line 1 has no column path",
        b"path,pid,camid,split,pid\n": "line 1 has two columns pid: rename one",
        "path,pid,camid,split\n".encode("utf-16-le"): "line 1 is not text: save the table as UTF-8",
        b"file,ID,camera,set\n": "no column path and no column pid, but file,ID,camera,set: "
        "rename the columns file to path, id to pid, camera to camid, set to split",
        b"path,pid,camera\n": "line 1 has no column camid: rename the column camera to camid",
        b"path;pid;camid;Subset\n": "line 1 has no column split: rename the column subset to split",
        HEADER.encode(): "lists no images",
        b"path,pid,camid,split\nimages/\xe9.jpg,1,0,train\n": "line 2 is not UTF-8: save the table as UTF-8",
        b'path,pid,camid,split\nimages/a.jpg,1,0,train\n"images/a.jpg"x,1,0,train\n': "line 3 is not CSV",
        b'path,pid,camid,split\n"images/a.jpg,1,0,train\n': "line 2 is not CSV",
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
