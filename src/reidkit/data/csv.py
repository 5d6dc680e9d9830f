"""Own images, listed in a table."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, NamedTuple

from reidkit.data.listing import INTEGER, locate, numbered, without_junk
from reidkit.types import NO_CAMERA, DataError, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from reidkit.types import Benchmark

COLUMNS = ("path", "pid", "camid", "split")
SPLITS = ("train", "query", "gallery")
LAYOUT = f"csv (one .csv that begins with {','.join(COLUMNS)})"


class _Row(NamedTuple):
    path: Path
    pid: str
    camid: int
    split: str


def matches(folder: Path) -> bool:
    """Whether `folder` is a .csv file, or holds exactly one and that begins with our columns."""
    if folder.is_file():
        return folder.suffix.lower() == ".csv"
    table = _only_table(folder)
    return table is not None and _begins_with_columns(table)


def load(folder: Path) -> Benchmark:
    """The images that a CSV file lists: `path,pid,camid,split`, in UTF-8. `folder` is the file, or holds it alone.

    Paths are relative to the file. A pid is an integer (-1 is junk); as soon as one in the file is not, all but -1 are
    taken as names and numbered in sorted order. An empty camid is an unknown camera. The splits are train, query and
    gallery.

    Raises:
        DataError: no such file, or a line that does not fit, named with its number.
    """
    table = folder
    if not folder.is_file():
        table = _only_table(locate(folder, matches, f"one .csv file that begins with {','.join(COLUMNS)}")) or folder
    rows = list(_rows(table))
    if not rows:
        raise DataError(f"{table} lists no images: write one line per image, {','.join(COLUMNS)}")
    pids = numbered({row.pid for row in rows})
    train, query, gallery = (
        tuple(Sample(row.path, pids[row.pid], row.camid) for row in rows if row.split == split) for split in SPLITS
    )
    return without_junk("csv", train, query, gallery)


def _only_table(folder: Path) -> Path | None:
    tables = [path for path in folder.glob("*.[cC][sS][vV]") if path.is_file() and not path.name.startswith(".")]
    return tables[0] if len(tables) == 1 else None


def _begins_with_columns(table: Path) -> bool:
    with table.open(encoding="utf-8-sig", errors="replace") as file:
        return set(COLUMNS) <= {name.strip() for name in file.readline(1000).split(",")}


def _rows(table: Path) -> Iterator[_Row]:
    line = 1
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            reader.fieldnames = _header(reader.fieldnames, table)
            for row in reader:
                line = reader.line_num
                if any(row.values()):  # spreadsheets write their empty rows too
                    yield _row(row, table, line)
    except OSError as error:
        raise DataError(f"{table} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{table} after line {line} is not UTF-8: save the table as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{table} after line {line} is not CSV: {error}") from None


def _header(names: Sequence[str] | None, table: Path) -> list[str]:
    found = [name.strip() for name in names or ()]
    for column in COLUMNS:
        if column not in found:
            raise DataError(f"{table} line 1 has no column {column}: begin the file with {','.join(COLUMNS)}")
    return found


def _row(row: dict[str, str], table: Path, line: int) -> _Row:
    """One line, checked. DictReader gives None for what is missing, and puts what is too much under the key None."""
    where = f"{table} line {line}"
    if None in row or None in row.values():
        raise DataError(f"{where} has not as many columns as line 1: put quotes around a path with a comma")
    name, pid, camid, split = (row[column].strip() for column in COLUMNS)
    path = table.parent / name
    rules = (
        (name != "" and path.is_file(), f"there is no image {path}"),
        (pid != "", "pid is empty: give the person's number or name, or -1 for junk"),
        (camid == "" or INTEGER.fullmatch(camid), f"camid {camid} is not a number: leave it empty if it is not known"),
        (split in SPLITS, f"split {split} is none of {', '.join(SPLITS)}"),
    )
    for holds, sentence in rules:
        if not holds:
            raise DataError(f"{where}: {sentence}")
    return _Row(path, pid, int(camid) if camid else NO_CAMERA, split)
