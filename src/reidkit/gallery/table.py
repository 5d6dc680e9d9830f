"""Tables of images that go into a gallery: a line each, with what is known of it."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any

from reidkit.errors import DataError, ReidkitError
from reidkit.gallery.person_ids import PERSON
from reidkit.gallery.row import Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

KNOWN = ("path", "key", "pid", "camera", "track", "time", "image")
"""The columns of a table that are columns of a row; `camid` is another name of `camera`, all others are attributes."""

_WHOLE = re.compile(r"-?\d+", re.ASCII)


def rows_of_table(place: Path, split: str | None = None) -> list[tuple[Row, Path, bool]]:
    """Return the rows of a table, their images, and whether a pid is only the number of a name.

    As in a data set's table, ids are names as soon as one of them is.

    Args:
        place: The table: commas, semicolons or tabs; UTF-8, or UTF-16 with its mark.
        split: Of a table with such a column: the rows of this split alone; None and all: all.

    Raises:
        DataError: a line that does not fit, named with its number; no such split.
    """
    from reidkit.data.formats.csv import SAID, read_text
    from reidkit.data.formats.labels import numbered

    text, said = read_text(place), 0
    if SAID.fullmatch(text.partition("\n")[0].strip()):  # the line by which Excel names the separator
        text, said = text.partition("\n")[2], 1
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    try:
        lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        head = [name.strip() for name in lines.fieldnames or ()]
        lines.fieldnames = [
            {"camid": "camera"}.get(name.lower(), name.lower() if name.lower() in (*KNOWN, "split") else name)
            for name in head
        ]
        if "path" not in lines.fieldnames or len(set(lines.fieldnames)) < len(head):
            raise DataError(
                f"{place} line {said + 1}: name the columns, each once: path and any of {', '.join(KNOWN[1:])}"
            )
        found = [(lines.line_num + said, _checked(place, lines.line_num + said, cells)) for cells in lines]
    except csv.Error as error:
        raise DataError(f"{place} cannot be read as a table: {error}; save it as CSV in UTF-8") from None
    # All ids are numbered, whatever split is asked for: a name has one number then.
    ids = {cells["pid"] for _, cells in found if cells.get("pid")}
    names: Mapping[str, int] = {} if all(map(_WHOLE.fullmatch, ids)) else numbered(ids, "pid", str(place))[0]
    return [_row(place, line, cells, names) for line, cells in _of_split(place, split, found, lines.fieldnames)]


def _of_split(
    place: Path, split: str | None, found: list[tuple[int, dict[str, str]]], columns: Iterable[str]
) -> list[tuple[int, dict[str, str]]]:
    if split in (None, "all"):
        return found
    if "split" not in columns:
        raise DataError(f"{place} has no column split: name no split", argument="split")
    chosen = [each for each in found if each[1]["split"].lower() == split]
    if not chosen:
        raise DataError(f"{place} has no {split} images: choose another split, or all", argument="split")
    return chosen


def _checked(place: Path, line: int, cells: dict[str, Any]) -> dict[str, str]:
    """Return the cells of a line without space around them, its id and its camera as a data set's table has them.

    Raises:
        DataError: the line does not fit, named with its number.
    """
    from reidkit.data.formats.labels import label

    if None in cells or None in cells.values():
        raise DataError(f"{place} line {line}: it has not as many columns as line 1")
    given = {name: value.strip() for name, value in cells.items()}
    try:
        return given | {name: label(given[name], name) for name in ("pid", "camera") if given.get(name)}
    except DataError as error:
        raise DataError(f"{place} line {line}: {error}") from None


def _row(place: Path, line: int, cells: dict[str, str], names: Mapping[str, int]) -> tuple[Row, Path, bool]:
    """Return a line of a table as a row, its image, and whether it is of somebody with a name.

    Raises:
        DataError: the line does not fit, named with its number.
    """
    try:
        known: dict[str, Any] = {name: value for name in KNOWN[1:] if (value := cells.get(name))}
        if not cells["path"]:
            raise DataError("it has no path")
        attributes = {name: value_of(text) for name, text in cells.items() if name not in KNOWN and text}
        named = "pid" in known and names.get(known["pid"], -1) >= 0
        if named:
            if cells.get(PERSON, "") not in ("", known["pid"]):
                raise DataError(
                    f"its pid {known['pid']} is a name, which becomes its {PERSON}, and its {PERSON} is "
                    f"{cells[PERSON]}: call that column otherwise, or leave it out"
                )
            attributes[PERSON] = known["pid"]
        if "pid" in known:
            known["pid"] = names[known["pid"]] if names else int(known["pid"])
        if known.get("camera") == "-1":
            known["camera"] = None
        name = cells["path"].replace("\\", "/")
        values: dict[str, Any] = {"key": name, "image": name, **known, "attributes": attributes}
        return Row(**values), place.parent / name, named
    except ReidkitError as error:
        raise DataError(f"{place} line {line}: {error}") from None


def value_of(text: str) -> str | int | float | bool:
    """Return a cell as what it looks like; numbers that are written otherwise than usual, as 007, are names."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if re.fullmatch(r"-?(0|[1-9]\d{0,17})", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?(0|[1-9]\d{0,17})\.\d{1,17}", text) else text
