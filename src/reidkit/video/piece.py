"""Pieces: one person in one video without a break, as boxes in frames, and how they lie on a disk.

DIR/VIDEO/video.json             what the video is and how it was read (`record.py`)
DIR/VIDEO/boxes.csv              a row for each box, those of a piece together: `COLUMNS`
DIR/VIDEO/mot.txt                the same as results of the MOT challenge
DIR/VIDEO/crops/TRACK/FRAME.jpg  the best crops of each piece
DIR/VIDEO/features.npz           a feature for each piece that has crops; its paths are VIDEO/TRACK
"""

from __future__ import annotations

import csv
import itertools
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reidkit.errors import DataError
from reidkit.gallery.row import Row, Value
from reidkit.metrics.features import read_features
from reidkit.terminal import cell_text
from reidkit.video.boxes import overlaps
from reidkit.video.record import read_record, video_folders

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from reidkit.video.record import Record

COLUMNS = ("frame", "second", "time", "track", "x1", "y1", "x2", "y2", "score", "crop", "rank")
"""`crop` is a path in the folder of the video, "" where none is kept; `rank` is 1 for the box of the best crop, then 2,
and so on, and 0 for boxes whose crops were not chosen."""

STILL = 30.0
"""Seconds in one place after which a piece may well show a thing and no person."""

DOUBLES, MOST_DOUBLES = "doubles", 20
"""The attribute of a row that names the doubles of its track, and how many of them at most."""

BOXES, MOT, CROPS, TABLE, FEATURES = "boxes.csv", "mot.txt", "crops", "crops.csv", "features.npz"


@dataclass(frozen=True, eq=False, kw_only=True)
class Piece:
    """One person in N frames of one video, without a break.

    Attributes:
        video: The name of the video, which is also that of its folder in DIR.
        camera: The name of the camera.
        track: What the piece is called: unique in the video, and the same in every run with the same settings.
        frames: Numbers of the frames, int64 [N], rising; the first frame of the video is 1, as in MOT.
        seconds: When each frame is shown, from the beginning of the video, float64 [N].
        boxes: float32 [N, 4]: x1, y1, x2, y2 in pixels of the upright frame, within it.
        scores: What the detector says, 0 to 1, float32 [N].
        start: The clock time of second 0; None: not known.
        feature: The mean of the unit features of the best crops, itself of length 1, float32 [D]; None without a model.
        best: The rows whose crops were chosen, the best one first.
        doubles: Tracks of the video whose boxes lie in those of this one, or around them, wherever both have one: what
            a detector finds of one person who is found already, or somebody behind this one.
    """

    video: str
    camera: str
    track: str
    frames: NDArray[np.int64]
    seconds: NDArray[np.float64]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    start: datetime | None = None
    feature: NDArray[np.float32] | None = None
    best: tuple[int, ...] = ()
    doubles: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def key(self) -> str:
        """What it is called among the pieces of all videos, and in a gallery."""
        return f"{self.video}/{self.track}"

    @property
    def still(self) -> bool:
        """Whether it stays in one place for `STILL` seconds: of 20 boxes 19 overlap their median by 0.7 or more."""
        if self.seconds[-1] - self.seconds[0] < STILL:
            return False
        middle = np.median(self.boxes, axis=0, keepdims=True).astype(np.float32)
        return bool((overlaps(self.boxes, middle) >= 0.7).mean() >= 0.95)

    def time(self, second: float) -> datetime | None:
        """Return the clock time of a second of the video; None where that is not known."""
        return self.start + timedelta(seconds=float(second)) if self.start else None


def crop_name(track: str, frame: int) -> str:
    """Return where a crop lies in the folder of its video."""
    return f"{CROPS}/{track}/{frame:06d}.jpg"


def gallery_row(piece: Piece, *, source: str = "", with_image: bool = True) -> Row:
    """Return what a gallery knows of a piece: one row, whose feature is that of the piece.

    Its time is that of the best crop. Its attributes are `video`, `second` and `frame` of the best crop, `first` and
    `last` (the seconds of the first and the last box), `doubles` where there are some (tracks, with a comma between
    them), and `source`, which tells videos of equal names apart. `image` is the path of the best crop in DIR.
    """
    best = piece.best[0] if piece.best else int(np.argmax(piece.scores))
    second, frame = float(piece.seconds[best]), int(piece.frames[best])
    attributes: dict[str, Value] = {
        "video": piece.video,
        "second": round(second, 6),
        "frame": frame,
        "first": round(float(piece.seconds[0]), 6),
        "last": round(float(piece.seconds[-1]), 6),
    }
    if piece.doubles:
        attributes[DOUBLES] = ",".join(piece.doubles[:MOST_DOUBLES])
    return Row(
        piece.key,
        camera=piece.camera,
        track=piece.key,
        time=piece.time(second),
        image=f"{piece.video}/{crop_name(piece.track, frame)}" if with_image and piece.best else None,
        attributes=attributes | ({"source": source} if source else {}),
    )


def read_pieces(folder: str | os.PathLike[str], *, unfinished: bool = False) -> list[Piece]:
    """Read the pieces of all videos in DIR, ordered by video, and in it by their first frame.

    Args:
        folder: DIR, or the folder of one video in it.
        unfinished: Read videos that are not finished, too.

    Raises:
        MissingFileError: there are no videos in it.
        DataError: a file is damaged; the sentence names it and the line.
    """
    found: list[Piece] = []
    for place in video_folders(Path(folder)):
        record = read_record(place)
        if record.finished or unfinished:
            found += sorted(pieces_of_video(place, record), key=lambda piece: (piece.frames[0], piece.track))
    return found


def pieces_of_video(place: Path, record: Record) -> Iterator[Piece]:
    """Yield the pieces of one video as its boxes lie in the file, one in memory at a time.

    Raises:
        DataError: a file is damaged.
    """
    features, seen = _features(place), set[str]()
    doubles: dict[str, list[str]] = {}
    for pair in record.doubles:
        for one, other in (pair, pair[::-1]):
            doubles.setdefault(one, []).append(other)
    for track, lines in itertools.groupby(_lines(place / BOXES), key=lambda line: line[0]):
        if track in seen:
            raise DataError(f"{place / BOXES}: the lines of track {track} do not stand together: sort them by track")
        seen.add(track)
        kept = list(lines)
        numbers = np.array([line[1] for line in kept], np.float64)
        best = sorted((rank, at) for at, (_, _, rank) in enumerate(kept) if rank)
        yield Piece(
            video=record.video,
            camera=record.camera,
            track=track,
            frames=numbers[:, 0].astype(np.int64),
            seconds=numbers[:, 1],
            boxes=numbers[:, 2:6].astype(np.float32),
            scores=numbers[:, 6].astype(np.float32),
            start=datetime.fromisoformat(record.start) if record.start else None,
            feature=features.get(f"{record.video}/{track}"),
            best=tuple(at for _, at in best),
            doubles=tuple(doubles.get(track, ())),
        )


def _features(place: Path) -> dict[str, NDArray[np.float32]]:
    """Return the feature of each piece by its key."""
    path = place / FEATURES
    if not path.exists():
        return {}
    made = read_features(path)
    return dict(zip(made.paths, made.vectors, strict=True))


def _lines(path: Path) -> Iterator[tuple[str, list[float], int]]:
    """Yield track, numbers (frame, second, box, score) and the rank of the crop (1 is best; 0: none) of each line."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.DictReader(file, strict=True)
            if tuple(lines.fieldnames or ()) != COLUMNS:
                raise DataError(f"{path} line 1: the columns are not {', '.join(COLUMNS)}: make it again")
            for cells in lines:
                yield _line(path, lines.line_num, cells)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error}): make it again by reidkit video track") from None


def _line(path: Path, number: int, cells: dict[str, str]) -> tuple[str, list[float], int]:
    try:
        values = [float(cells[name]) for name in ("frame", "second", "x1", "y1", "x2", "y2", "score")]
        track, rank = cell_text(cells["track"]), int(cells["rank"])
    except (ValueError, KeyError, TypeError):
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise DataError(f"{path} line {number} is damaged: make it again by reidkit video track")
    return track, values, rank
