"""Own images, listed in a table."""

from __future__ import annotations

import csv
import os
import re
from io import StringIO
from typing import TYPE_CHECKING, NamedTuple

from reidkit.data.formats.labels import NONE, label, numbered
from reidkit.data.formats.scan import Format, is_file, locate, without_junk
from reidkit.errors import DataError
from reidkit.types import SPLITS, Names, Sample

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from reidkit.types import Dataset

COLUMNS = ("path", "pid", "camid", "split")
NEEDED = COLUMNS[:2]
"""What every table has. Without camid the cameras are not known; without split all images are for training."""

_MEANT = {
    "path": (
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "image",
        "image_path",
        "img",
        "img_path",
        "name",
    ),
    "pid": ("id", "person", "person_id", "personid", "identity", "label", "vid", "vehicle_id"),
    "camid": ("cam", "cam_id", "camera", "camera_id", "cameraid", "cid"),
    "split": ("set", "subset", "partition", "fold"),
}
"""What others call our columns: such a one in the place of ours is a misnomer and no more than a hint."""

_PATHS = ("path", "file", "image")
"""What the column of a table of images alone may be called."""

LAYOUT = f"csv (one .csv that begins with {','.join(COLUMNS)})"

SUFFIXES = (".csv", ".tsv")

_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
SAID = re.compile(r'"?sep=.?"?', re.IGNORECASE)
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


def has_labels(table: Path) -> bool:
    """Return whether a table begins with a column path and a column pid, among others."""
    try:
        return table.is_file() and _begins_with_columns(table, NEEDED)
    except OSError:
        return False  # `load` says why


def paths_in(table: Path) -> list[str] | None:
    """Return the cells of a column path, or else file or image, of a table that need have no other; None without one.

    Raises:
        DataError: the table cannot be read, or is no table.
    """
    text = read_text(table)
    content = next(filter(None, (_header(text, (name,)) for name in _PATHS)), None)
    if content is None:
        return None
    at = content.columns.index(next(name for name in _PATHS if name in content.columns))
    try:
        return [cells[at] for _, cells in content.rows if len(cells) > at]
    except csv.Error as error:
        raise DataError(f"{table}: {error}") from None


def load(folder: Path, *, missing: bool = False) -> Dataset:
    """The images that a table lists: the columns path, pid, camid and split. `folder` is the file, or holds it alone.

    A table that is named may lack camid, where no camera is known, and split, where all is for training. With `missing`
    it may list images that are not there.

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
    rows = list(_rows(table, missing))
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
    """Return the one table in a folder; None where there are none or several, or the folder cannot be listed."""
    try:
        with os.scandir(folder) as entries:  # a Path for each of a million images takes its time
            names = [entry.name for entry in entries if entry.name.lower().endswith(SUFFIXES)]
    except OSError:
        return None
    tables = [folder / name for name in names if name[0] != "." and is_file(folder / name)]
    return tables[0] if len(tables) == 1 else None


def _begins_with_columns(table: Path, needed: Collection[str] = COLUMNS) -> bool:
    with table.open("rb") as file:
        start = file.read(4000)
    kind = "utf-16" if start.startswith(_UTF16) else "utf-8-sig"
    return _header(start.decode(kind, errors="replace"), needed) is not None


def _rows(table: Path, missing: bool) -> Iterator[_Row]:
    text = read_text(table)
    content = _header(text)
    if content is None:
        raise _no_header(text, table)
    _check_columns(content, f"{table} line {content.line}")
    try:
        for line, cells in content.rows:
            if any(cell.strip() for cell in cells):  # spreadsheets write their empty rows too
                yield _row(cells, content, table, line, missing)
    except csv.Error as error:
        raise DataError(f"{table}: {error}") from None


def read_text(table: Path) -> str:
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


def _header(text: str, needed: Collection[str] = NEEDED) -> _Table | None:
    """Return the table that begins with our columns, in any order and in capitals or not; None where none does."""
    for separator in _SEPARATORS:
        rows = _cells(text, separator)
        try:
            line, cells = next(rows, (1, []))
            if SAID.fullmatch(separator.join(cells).strip()):
                line, cells = next(rows, (1, []))
        except csv.Error:
            continue
        columns = [name.strip().lower() for name in cells]
        if set(needed) <= set(columns):
            return _Table(separator, columns, line, rows)
    return None


def _check_columns(content: _Table, where: str) -> None:
    """Raise where a column of ours comes twice, or is not there but under another name."""
    for name in COLUMNS:
        if content.columns.count(name) > 1:
            raise DataError(f"{where} has two columns {name}: rename one of them")
        if hint := _hint([name], content.columns):
            raise DataError(f"{where} has no column {name}: {hint}")


def _no_header(text: str, table: Path) -> DataError:
    first = text.partition("\n")[0].strip()
    if not first:
        return DataError(f"{table} line 1 is empty: begin the file with {','.join(COLUMNS)}")
    found = [name.strip(' "') for name in re.split("[,;\t]", first.lower())]
    missing = [name for name in NEEDED if name not in found]
    if not missing:
        wrong = "does not separate its columns by one of comma, semicolon and tab"
        return DataError(f"{table} line 1 {wrong}: begin the file with {','.join(COLUMNS)}")
    remedy = _hint(COLUMNS, found) or f"begin the file with {','.join(COLUMNS)}"
    return DataError(f"{table} line 1 has no column {' and no column '.join(missing)}, but {first[:80]}: {remedy}")


def _hint(wanted: Iterable[str], found: Sequence[str]) -> str:
    """Return which columns to rename: those that are there under a name by others; "" for none."""
    renamed = [
        f"{other} to {name}"
        for name in wanted
        if name not in found
        for other in [next((other for other in _MEANT[name] if other in found), "")]
        if other
    ]
    return f"rename the column{'s' if renamed[1:] else ''} {', '.join(renamed)}" if renamed else ""


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


def _row(cells: list[str], content: _Table, table: Path, line: int, missing: bool) -> _Row:
    """Return a row of the table, whose cells are checked."""
    where, columns = f"{table} line {line}", content.columns
    if len(cells) < len(columns) or any(cell.strip() for cell in cells[len(columns) :]):
        name = _SEPARATORS[content.separator]
        raise DataError(
            f"{where} has not as many columns as line {content.line}: put quotes around a path with a {name}"
        )
    values = {"camid": "", "split": "train", **dict(zip(columns, cells, strict=False))}
    name, pid, camid, split = (values[column].strip() for column in COLUMNS)
    path = _found(table.parent, name)
    if path is None and missing and name and "\0" not in name:
        path = table.parent / name
    if path is None:
        raise DataError(f"{where}: there is no image {table.parent / name}: give paths relative to the table's folder")
    if split.lower() not in SPLITS:
        raise DataError(f"{where}: split {split or 'is empty and'} is none of {', '.join(SPLITS)}: write one of these")
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
