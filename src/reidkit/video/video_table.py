"""A table of videos: which there are, by which camera, and when each begins."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reidkit.errors import DataError, MissingFileError
from reidkit.terminal import cell_text
from reidkit.video.live import is_live

if TYPE_CHECKING:
    import os

ENDINGS = frozenset({".csv", ".tsv"})
COLUMNS = ("video", "camera", "start")
LARGEST = 1 << 24
"""Bytes, at most: a hundred thousand videos."""


class TableRow(NamedTuple):
    """A line: the path or address of a video, its camera and its start, "" where they are not told."""

    video: str
    camera: str
    start: str


def is_table(video: str | os.PathLike[str]) -> bool:
    """Return whether this names a table and no video."""
    return Path(video).suffix.lower() in ENDINGS and not is_live(str(video))


def read_video_table(path: str | os.PathLike[str]) -> list[TableRow]:
    """Read a table with a column `video` (paths relative to it) and, where they are known, `camera` and `start`.

    Raises:
        MissingFileError: it is not there.
        DataError: it cannot be read, has no such column, or a line has no video.
    """
    place = Path(path)
    if not place.is_file():
        raise MissingFileError(f"{place} is not there: give a table with the columns {', '.join(COLUMNS)}")
    try:
        with place.open("rb") as file:
            content = file.read(LARGEST + 1)
        text = content.decode("utf-8-sig")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        if len(content) > LARGEST or "video" not in (lines.fieldnames or ()):
            raise DataError(f"{place} line 1 has no column video: name the columns {', '.join(COLUMNS)}")
        return [_row(place, lines.line_num, cells) for cells in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{place} cannot be read as a table of videos: {error}; save it as CSV in UTF-8") from None


def _row(place: Path, line: int, cells: dict[str, str | None]) -> TableRow:
    video, camera, start = (cell_text((cells.get(name) or "").strip()) for name in COLUMNS)
    if not video:
        raise DataError(f"{place} line {line} has no video: take it out")
    return TableRow(video if is_live(video) else str(place.parent / video), camera, start)
