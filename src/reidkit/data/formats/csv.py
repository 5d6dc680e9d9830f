"""Own images, listed in a table."""

from __future__ import annotations

import csv
import os
import re
from io import StringIO
from typing import TYPE_CHECKING, NamedTuple

from reidkit.data.formats.scan import NONE, Format, is_file, label, locate, numbered, without_junk
from reidkit.errors import DataError
from reidkit.types import SPLITS, Names, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reidkit.types import Dataset

COLUMNS = ("path", "pid", "camid", "split")
LAYOUT = f"csv (one .csv that begins with {','.join(COLUMNS)})"

SUFFIXES = (".csv", ".tsv")

_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
_SAID = re.compile(r'"?sep=.?"?', re.IGNORECASE)
"""The first line by which Excel says the separator."""

_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class _Row(NamedTuple):
    line: int
    path: Path
    pid: str
    camid: str
    split: str


class _Table(NamedTuple):
    """The cells below the header, each row with the line that it begins in."""

    separator: str
    columns: list[str]
    line: int
    rows: Iterator[tuple[int, list[str]]]


def matches(folder: Path) -> bool:
    """Return whether `folder` is a table (.csv or .tsv), or holds exactly one and that begins with our columns."""
    if folder.is_file():
        return folder.suffix.lower() in SUFFIXES
    table = _only_table(folder)
    return table is not None and _begins_with_columns(table)


def load(folder: Path) -> Dataset:
    """The images that a table lists: the columns path, pid, camid and split. `folder` is the file, or holds it alone.

    UTF-8, or UTF-16 with its mark; cells are separated by commas, semicolons or tabs. Paths are relative to the file,
    with slashes or backslashes. A pid is an integer (-1 is junk); as soon as one in the file is not, all but -1 are
    taken as names and numbered in sorted order. Cameras likewise; an empty camid, or -1, is an unknown camera. The
    splits are train, query and gallery.

    Raises:
        DataError: no such file, or a line that does not fit, named with its number.
    """
    table = folder
    if not folder.is_file():
        table = _only_table(locate(folder, matches, f"one .csv file that begins with {','.join(COLUMNS)}")) or folder
    rows = list(_rows(table))
    if not rows:
        raise DataError(f"{table} lists no images: write one line per image, {','.join(COLUMNS)}")
    _refuse_twice(rows, table)
    pids, names = numbered({row.pid for row in rows}, "pid", str(table))
    camids, cameras = numbered({row.camid for row in rows}, "camid", str(table))
    train, query, gallery = (
        tuple(Sample(row.path, pids[row.pid], camids[row.camid]) for row in rows if row.split == split)
        for split in SPLITS
    )
    return without_junk("csv", train, query, gallery, Names(names, cameras))


def _only_table(folder: Path) -> Path | None:
    tables = [p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES and p.is_file() and p.name[0] != "."]
    return tables[0] if len(tables) == 1 else None


def _begins_with_columns(table: Path) -> bool:
    with table.open("rb") as file:
        start = file.read(4000)
    kind = "utf-16" if start.startswith(_UTF16) else "utf-8-sig"
    return _header(start.decode(kind, errors="replace")) is not None


def _rows(table: Path) -> Iterator[_Row]:
    text = _text(table)
    content = _header(text)
    if content is None:
        raise _no_header(text, table)
    twice = next((name for name in COLUMNS if content.columns.count(name) > 1), None)
    if twice:
        raise DataError(f"{table} line {content.line} has two columns {twice}: rename one of them")
    try:
        for line, cells in content.rows:
            if any(cell.strip() for cell in cells):  # spreadsheets write their empty rows too
                yield _row(cells, content, table, line)
    except csv.Error as error:
        raise DataError(f"{table}: {error}") from None


def _text(table: Path) -> str:
    """Return the text of a table.

    Raises:
        DataError: it cannot be read, or its encoding is another; the line is named.
    """
    try:
        data = table.read_bytes()
    except OSError as error:
        raise DataError(f"{table} cannot be read: {error.strerror}") from None
    remedy = "save the table as UTF-8 (a spreadsheet calls it CSV UTF-8)"
    try:
        text = data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{table} line {line} is not UTF-8: {remedy}") from None
    if "\0" in text:
        raise DataError(f"{table} line {text.count(chr(10), 0, text.index(chr(0))) + 1} is not text: {remedy}")
    return text


def _header(text: str) -> _Table | None:
    """Return the table that begins with our columns, in any order and in capitals or not; None where none does."""
    for separator in _SEPARATORS:
        rows = _cells(text, separator)
        try:
            line, cells = next(rows, (1, []))
            if _SAID.fullmatch(separator.join(cells).strip()):
                line, cells = next(rows, (1, []))
        except csv.Error:
            continue
        columns = [name.strip().lower() for name in cells]
        if set(COLUMNS) <= set(columns):
            return _Table(separator, columns, line, rows)
    return None


def _no_header(text: str, table: Path) -> DataError:
    first = text.partition("\n")[0].lower()
    found = {name.strip(' "\r') for name in re.split("[,;\t]", first)}
    missing = " and no column ".join(name for name in COLUMNS if name not in found)
    wrong = (
        f"has no column {missing}" if missing else "does not separate its columns by one of comma, semicolon and tab"
    )
    return DataError(f"{table} line 1 {wrong}: begin the file with {','.join(COLUMNS)}")


def _cells(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the line that it begins in: a cell in quotes may go over several."""
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise csv.Error(
                f"line {line} is not CSV ({error}): put quotes around a cell, and double those in it"
            ) from None
        if cells is None:
            return
        yield line, cells


def _row(cells: list[str], content: _Table, table: Path, line: int) -> _Row:
    """One row, checked."""
    where, columns = f"{table} line {line}", content.columns
    if len(cells) < len(columns) or any(cell.strip() for cell in cells[len(columns) :]):
        name = _SEPARATORS[content.separator]
        raise DataError(
            f"{where} has not as many columns as line {content.line}: put quotes around a path with a {name}"
        )
    values = dict(zip(columns, cells, strict=False))
    name, pid, camid, split = (values[column].strip() for column in COLUMNS)
    path = _found(table.parent, name)
    if path is None:
        raise DataError(f"{where}: there is no image {table.parent / name}")
    if split.lower() not in SPLITS:
        raise DataError(f"{where}: split {split} is none of {', '.join(SPLITS)}")
    try:
        pid = label(pid, "pid")
    except DataError as error:
        raise DataError(f"{where}: {error}: give the id's number or name, or -1 for junk") from None
    try:
        camid = label(camid, "camid") if camid else NONE
    except DataError as error:
        raise DataError(
            f"{where}: {error}: give the camera's number or name, or leave it empty if it is not known"
        ) from None
    return _Row(line, path, pid, camid, split.lower())


def _found(folder: Path, name: str) -> Path | None:
    """Return the image of this name; tables that were written on Windows separate folders by backslashes."""
    for spelled in (name, name.replace("\\", "/")):
        if spelled and "\0" not in spelled and is_file(folder / spelled):
            return folder / spelled
    return None


def _refuse_twice(rows: list[_Row], table: Path) -> None:
    """Raise where an image is listed twice in a split, or with two pids or cameras. In two splits it may be."""
    seen: dict[str, list[_Row]] = {}
    for row in rows:
        before = seen.setdefault(os.path.normpath(row.path.absolute()), [])
        for other in before:
            if (row.pid, row.camid) != (other.pid, other.camid):
                raise DataError(
                    f"{table} line {row.line} lists {row.path.name} with pid {row.pid} and camid {row.camid}, and line "
                    f"{other.line} with {other.pid} and {other.camid}: correct one of them"
                )
            if row.split == other.split:
                raise DataError(
                    f"{table} line {row.line} lists {row.path.name} again, as line {other.line}: remove one"
                )
        before.append(row)


FORMATS = {"csv": Format(matches, load, guessed=True)}
