"""Boxes that others found, in files: MOT detections, results and ground truth, corners, text of ultralytics, COCO.

| format | a row | pixels |
|---|---|---|
| `mot` | frame, id, left, top, width, height, score, ... | from 1 |
| `xyxy` | frame, id, x1, y1, x2, y2, score | from 0 |
| `yolo` | a folder with a file for each frame: class, cx, cy, width, height, score, id | parts of the frame |
| `coco` | a list of objects with image_id, bbox (left, top, width, height), score, category_id | from 0 |

Frames are counted from 1. An id of -1 is none. Ground truth of MOT is told by its nine columns: rows with 1 in column 7
(to be evaluated) and class 1 in column 8 (pedestrian) are taken.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from reidkit import strict_json
from reidkit.errors import DataError, MissingFileError, UsageError
from reidkit.video.boxes import NOBODY, Detections, within
from reidkit.video.image_folder import number_in

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

BoxesFormat: TypeAlias = Literal["mot", "xyxy", "yolo", "coco"]
FORMATS: tuple[str, ...] = get_args(BoxesFormat)

LEAST_COLUMNS = 6
LARGEST = 1 << 30
"""Bytes of a text file, at most: 20 million boxes."""


class _Box(NamedTuple):
    frame: int
    track: int  # -1: none
    box: tuple[float, float, float, float]  # x1, y1, x2, y2
    score: float
    line: int


@dataclass(eq=False)
class BoxFile:
    """Boxes by frame.

    Attributes:
        path: The file or folder.
        format: Which it is.
        description: Its name and digest.
        tracks: Whether the boxes have ids, which are the tracks then.
        relative: Whether boxes are in parts of the frame.
        last: The last frame with a box.
        note: That some of the boxes have ids, which are not taken then, and some have none; "" where it is not so.
    """

    path: Path
    format: BoxesFormat
    description: str
    tracks: bool
    relative: bool
    last: int
    _rows: dict[int, list[_Box]] = field(repr=False)
    note: str = ""

    def at(self, frame: int, width: int, height: int) -> Detections:
        """Return the boxes of a frame of this size, cut at its edges."""
        rows = self._rows.get(frame)
        if not rows:
            return NOBODY if not self.tracks else Detections(NOBODY.boxes, NOBODY.scores, np.zeros(0, np.int64))
        boxes = np.array([row.box for row in rows], np.float32)
        if self.relative:
            boxes *= np.array([width, height] * 2, np.float32)
        tracks = np.array([row.track for row in rows], np.int64) if self.tracks else None
        return within(Detections(boxes, np.array([row.score for row in rows], np.float32), tracks), width, height)

    def last_frames(self) -> dict[int, int]:
        """Return the last frame of each track."""
        found: dict[int, int] = {}
        for frame, rows in self._rows.items():
            for row in rows:
                found[row.track] = max(found.get(row.track, 0), frame)
        return found

    def beyond(self, frames: int) -> str:
        """Return a sentence about boxes behind the last frame of the video; "" where there are none."""
        late = [row for frame, rows in self._rows.items() if frame > frames for row in rows]
        if not late:
            return ""
        first = min(late, key=lambda row: (row.frame, row.line))
        where = f" ({self.path.name} line {first.line})" if first.line else ""
        boxes = "1 box lies" if len(late) == 1 else f"{len(late)} boxes lie"
        return f"{boxes} behind its last frame, {frames}: the first of them in frame {first.frame}{where}"


def read_boxes(path: str | os.PathLike[str], format: BoxesFormat | None = None) -> BoxFile:  # noqa: A002
    """Read boxes from a file, or from a folder with a file for each frame.

    Args:
        path: What to read.
        format: Which it is; None: `coco` for .json, `yolo` for a folder, and `mot` for others.

    Raises:
        MissingFileError: there is nothing.
        DataError: a row is wrong; the sentence names its line.
        UsageError: no format of this name.
    """
    place = Path(path)
    if format is not None and format not in FORMATS:
        raise UsageError(f"no format of boxes {format!r}: choose one of {', '.join(FORMATS)}", argument="boxes_format")
    if not place.exists():
        raise MissingFileError(f"{place} is not there: give a file of boxes, as det/det.txt of MOT")
    if not place.is_file() and not place.is_dir():
        raise DataError(f"{place} is no file, but a pipe or a device: give the file itself")
    kind: BoxesFormat = format or ("coco" if place.suffix.lower() == ".json" else "yolo" if place.is_dir() else "mot")
    if (kind == "yolo") != place.is_dir():
        raise DataError(
            f"{place} is {'a folder' if place.is_dir() else 'no folder'}, and boxes of format {kind} are not"
        )
    total = hashlib.sha256()
    rows = list({"mot": _mot, "xyxy": _xyxy, "yolo": _yolo, "coco": _coco}[kind](place, total))
    _check(place, rows)
    by_frame: dict[int, list[_Box]] = defaultdict(list)
    for row in rows:
        by_frame[row.frame].append(row)
    nameless = sum(row.track < 0 for row in rows)
    note = ""
    if 0 < nameless < len(rows):
        note = (
            f"{nameless} of the {len(rows)} boxes of {place.name} {'has' if nameless == 1 else 'have'} no id: a "
            "tracker followed all of them, and the ids of the others were not taken; take the boxes without ids out if "
            "the ids are to be the tracks"
        )
    description = f"{place.name} {total.hexdigest()[:16]} {kind}"
    return BoxFile(
        place, kind, description, bool(rows) and not nameless, kind == "yolo", max(by_frame, default=0), dict(by_frame),
        note,
    )  # fmt: skip


def _check(path: Path, rows: Iterable[_Box]) -> None:
    """Refuse boxes that cannot be ones.

    Raises:
        DataError: with the line.
    """
    seen: dict[tuple[int, int], int] = {}
    for row in rows:
        where = f"{path} line {row.line}" if row.line else f"{path} frame {row.frame}"
        if row.frame < 1:
            raise DataError(f"{where}: frame {row.frame} is none, as frames are counted from 1: number them so")
        x1, y1, x2, y2 = row.box
        if x2 < x1 or y2 < y1:
            raise DataError(f"{where}: the box is {x2 - x1:g} x {y2 - y1:g}, which is no size: take the row out")
        if row.track >= 0 and seen.setdefault((row.frame, row.track), row.line) != row.line:
            raise DataError(f"{where}: track {row.track} has two boxes in frame {row.frame}: take one of them out")


def _lines(path: Path, total: Any) -> Iterator[tuple[int, list[float]]]:
    """Yield number and values of the lines of a text; separators are commas, semicolons, tabs or spaces.

    Raises:
        DataError: a line holds something else than numbers.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > LARGEST:
        raise DataError(f"{path} is larger than {LARGEST >> 20} MB: split it by video")
    total.update(content)
    text = content.decode("utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        cells = [cell for cell in re.split(r"\s*[,;\t]\s*|\s+", line.strip()) if cell]
        if not cells or cells[0].startswith("#"):
            continue
        try:
            values = [float(cell) for cell in cells]
        except ValueError:
            values = [math.nan]
        if not all(map(math.isfinite, values)):
            raise DataError(f"{path} line {number}: {line.strip()[:60]!r} holds something else than numbers")
        yield number, values


def _whole(path: Path, line: int, what: str, value: float) -> int:
    if value != round(value) or abs(value) >= 1 << 53:
        raise DataError(f"{path} line {line}: {value:g} is no {what}: {what}s are whole numbers")
    return round(value)


def _head(path: Path, line: int, values: list[float]) -> tuple[int, int]:
    """Return frame and track, after a look at the number of columns."""
    if len(values) < LEAST_COLUMNS:
        raise DataError(
            f"{path} line {line} has {len(values)} columns, and boxes need {LEAST_COLUMNS}: frame, id, four sides"
        )
    return _whole(path, line, "frame", values[0]), max(-1, _whole(path, line, "id", values[1]))


def _mot(path: Path, total: Any) -> Iterator[_Box]:
    for line, values in _lines(path, total):
        frame, track = _head(path, line, values)
        left, top, width, height = values[2:6]
        score = values[6] if len(values) > 6 else 1.0
        if len(values) == 9:  # ground truth
            if score != 1 or values[7] != 1:
                continue
        elif track >= 0 and score < 0:  # results whose scores are not given
            score = 1.0
        # Pixels are counted from 1.
        yield _Box(frame, track, (left - 1, top - 1, left - 1 + width, top - 1 + height), _clipped(score), line)


def _xyxy(path: Path, total: Any) -> Iterator[_Box]:
    for line, values in _lines(path, total):
        frame, track = _head(path, line, values)
        x1, y1, x2, y2 = values[2:6]
        yield _Box(frame, track, (x1, y1, x2, y2), _clipped(values[6] if len(values) > 6 else 1.0), line)


def _yolo(folder: Path, total: Any) -> Iterator[_Box]:
    """Give the people (class 0) of files whose names end in the number of the frame."""
    texts = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".txt")
    files = [(path, frame) for path in texts if (frame := number_in(path.stem)) is not None]
    if not files:
        raise DataError(
            f"{folder} holds no .txt whose name ends in the number of a frame, and none that is called like the video: "
            "give the labels of a video, or VIDEO.txt with its boxes"
        )
    for path, frame in files:
        total.update(f"{path.name}\0".encode(errors="surrogateescape"))
        for line, values in _lines(path, total):
            if not 5 <= len(values) <= 7:
                raise DataError(
                    f"{path} line {line} has {len(values)} columns: labels of a frame have 5 to 7, class, box, score "
                    "and id; boxes of all frames are one file, which is called like its video in a folder"
                )
            if values[0] != 0:
                continue
            cx, cy, width, height = values[1:5]
            score, track = _score_and_id(path, line, values[5:])
            sides = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
            yield _Box(frame, track, sides, score, 0)


def _score_and_id(path: Path, line: int, rest: list[float]) -> tuple[float, int]:
    """Return score and id: one value behind the box is an id where it is a whole number above 0, and else a score."""
    if len(rest) == 2:
        return _clipped(rest[0]), _whole(path, line, "id", rest[1])
    if rest and rest[0] == round(rest[0]) and rest[0] >= 1:
        return 1.0, round(rest[0])
    return (_clipped(rest[0]) if rest else 1.0), -1


def _coco(path: Path, total: Any) -> Iterator[_Box]:
    """Give the boxes of a list of results, or of a data set with `images` and `annotations`."""
    try:
        content = strict_json.read(path)
    except (OSError, strict_json.JsonError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}): give results in the form of COCO") from None
    total.update(path.read_bytes())
    listed = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(listed, list):
        raise DataError(f"{path} is no list of results and has no annotations: give results in the form of COCO")
    frames = _coco_frames(content) if isinstance(content, dict) else {}
    people = _coco_people(content) if isinstance(content, dict) else (1,)
    for at, each in enumerate(listed):
        where = f"{path} object {at}"
        if not isinstance(each, dict):
            raise DataError(f"{where} is no object: give results in the form of COCO")
        if each.get("category_id", people[0] if people else 1) not in people:
            continue
        yield _coco_box(where, each, frames)


def _coco_box(where: str, each: Mapping[str, Any], frames: Mapping[Any, int]) -> _Box:
    box, score, image = each.get("bbox"), each.get("score", 1.0), each.get("image_id")
    track = each.get("track_id", -1)
    if not isinstance(box, list) or len(box) != 4 or not all(type(side) in (int, float) for side in (*box, score)):
        raise DataError(
            f"{where} has no bbox of four numbers, or a score that is none: write [left, top, width, height]"
        )
    frame = frames.get(image, image)
    if type(frame) is not int or type(track) is not int:
        raise DataError(f"{where}: image_id {image!r} is no number of a frame, or track_id none of a track")
    left, top, width, height = map(float, box)
    return _Box(frame, max(track, -1), (left, top, left + width, top + height), _clipped(score), 0)


def _coco_frames(content: Mapping[str, Any]) -> dict[Any, int]:
    """Return the frame of each image: its frame_id, or the number at the end of its file's name."""
    frames = {}
    for image in content.get("images") or ():
        if not isinstance(image, dict):
            continue
        number = image.get("frame_id", number_in(Path(str(image.get("file_name", ""))).stem))
        if type(image.get("id")) is int and type(number) is int:
            frames[image["id"]] = number
    return frames


def _coco_people(content: Mapping[str, Any]) -> tuple[Any, ...]:
    named = [each for each in content.get("categories") or () if isinstance(each, dict)]
    people = tuple(each.get("id") for each in named if str(each.get("name")).lower() in ("person", "pedestrian"))
    return people or (1,)


def _clipped(score: float) -> float:
    """Return a score from 0 to 1; detectors of MOT15 give others, too."""
    return min(max(score, 0.0), 1.0)
