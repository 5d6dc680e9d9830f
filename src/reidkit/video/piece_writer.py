"""Writing the pieces of one video as they end, in memory that does not grow with the video."""

from __future__ import annotations

import contextlib
import csv
import shutil
from dataclasses import replace
from typing import IO, TYPE_CHECKING

import numpy as np

from reidkit.atomic import atomic_write, os_errors_as
from reidkit.embedding_file import write_npz
from reidkit.terminal import text_cell
from reidkit.types import NO_CAMERA
from reidkit.video.piece import BOXES, COLUMNS, CROPS, DOUBLES, FEATURES, MOST_DOUBLES, MOT, TABLE, crop_name
from reidkit.video.record import Record, write_record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from reidkit.video.piece import Piece

_VECTORS, _KEYS = "features.part", "keys.part"
ROWS = 1024
"""Features that are in memory at a time when features.npz is written."""


class PieceWriter:
    """The folder of one video: what lay in it of an earlier run is removed, and pieces are added one after the other.

    After `finish` it is complete; before, `video.json` says that it is not.

    Args:
        folder: DIR/VIDEO.
        record: What is known of the video, `finished` being False.

    Raises:
        DataError: the folder cannot be written.
    """

    def __init__(self, folder: Path, record: Record) -> None:
        self.folder, self.record = folder, record
        with os_errors_as(folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_record(folder, replace(record, finished=False))
            clear(folder)
            self._boxes: IO[str] = (folder / BOXES).open("w", encoding="utf-8", newline="")
            self._mot: IO[str] = (folder / MOT).open("w", encoding="utf-8")
            self._vectors: IO[bytes] = (folder / _VECTORS).open("wb")
            self._keys: IO[str] = (folder / _KEYS).open("w", encoding="utf-8")
            self._table: IO[str] = (folder / TABLE).open("w", encoding="utf-8", newline="")
        self._files = (self._boxes, self._mot, self._vectors, self._keys, self._table)
        self._lines, self._crops = (csv.writer(file, lineterminator="\n") for file in (self._boxes, self._table))
        self._lines.writerow(COLUMNS)
        self._crops.writerow(("path", "key", "camera", "track", "time", "video", "second", "frame", DOUBLES))
        self._dim = 0
        self._doubles: dict[tuple[str, str], None] = {}
        self.boxes = self.pieces = self.crops = 0

    def add(self, piece: Piece, crops: Sequence[bytes] = ()) -> None:
        """Add a piece; `crops` are the JPEGs of its `best` rows, or none where they are not kept.

        Raises:
            DataError: the folder cannot be written.
        """
        with os_errors_as(self.folder):
            for row, content in zip(piece.best, crops, strict=False):
                path = self.folder / crop_name(piece.track, int(piece.frames[row]))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                self._write_crop(piece, row)
            rank = {row: at for at, row in enumerate(piece.best, 1)}
            for row in range(len(piece)):
                self._write_row(piece, row, rank.get(row, 0), kept=0 < rank.get(row, 0) <= len(crops))
            if piece.feature is not None:
                self._dim = len(piece.feature)
                self._vectors.write(np.ascontiguousarray(piece.feature, "<f4").tobytes())
                self._keys.write(f"{piece.key}\n")
            for file in self._files:
                file.flush()
        for other in piece.doubles:
            if (other, piece.track) not in self._doubles:
                self._doubles[piece.track, other] = None
        self.boxes, self.pieces, self.crops = self.boxes + len(piece), self.pieces + 1, self.crops + len(crops)

    def _write_row(self, piece: Piece, row: int, rank: int, *, kept: bool) -> None:
        frame, second, score = int(piece.frames[row]), float(piece.seconds[row]), float(piece.scores[row])
        x1, y1, x2, y2 = (float(side) for side in piece.boxes[row])
        time = piece.time(second)
        self._lines.writerow(
            (
                frame,
                f"{second:.6f}",
                time.isoformat(timespec="milliseconds") if time else "",
                text_cell(piece.track),
                *(f"{side:.2f}" for side in (x1, y1, x2, y2)),
                f"{score:.4f}",
                crop_name(piece.track, frame) if kept else "",
                rank,
            )
        )
        # Pixels of MOT are counted from 1, and its ids are numbers.
        track = piece.track if piece.track.isdecimal() else str(self.pieces + 1)
        sides = f"{x1 + 1:.2f},{y1 + 1:.2f},{x2 - x1:.2f},{y2 - y1:.2f}"
        self._mot.write(f"{frame},{track},{sides},{score:.4f},-1,-1,-1\n")

    def _write_crop(self, piece: Piece, row: int) -> None:
        """Write a line of the table of crops, which `reidkit gallery add` takes; keys differ from video to video."""
        frame, second = int(piece.frames[row]), float(piece.seconds[row])
        time = piece.time(second)
        path = crop_name(piece.track, frame)
        texts = (path, *map(text_cell, (f"{piece.video}/{path}", piece.camera, piece.key)))
        clock = time.isoformat(timespec="milliseconds") if time else ""
        self._crops.writerow(
            (*texts, clock, text_cell(piece.video), f"{second:.6f}", frame, ",".join(piece.doubles[:MOST_DOUBLES]))
        )

    def finish(self, record: Record) -> Record:
        """Write features.npz and the record, which says from now on that the video is finished.

        Raises:
            DataError: the folder cannot be written.
        """
        self.close()
        with os_errors_as(self.folder):
            if self._dim:
                keys = (self.folder / _KEYS).read_text(encoding="utf-8").splitlines()
                with atomic_write(self.folder / FEATURES) as file:
                    _write_features(file, self.folder / _VECTORS, (len(keys), self._dim), keys, record.settings.model)
            for name in (_VECTORS, _KEYS):
                (self.folder / name).unlink()
        counts = replace(record.counts, boxes=self.boxes, pieces=self.pieces, crops=self.crops)
        self.record = replace(record, counts=counts, doubles=tuple(self._doubles), finished=True)
        write_record(self.folder, self.record)
        return self.record

    def close(self) -> None:
        """Close the files; pieces that were added stay.

        Raises:
            DataError: what is left to be written has no room.
        """
        with os_errors_as(self.folder), contextlib.ExitStack() as files:
            for file in self._files:
                files.callback(file.close)


def _write_features(file: IO[bytes], vectors: Path, shape: tuple[int, int], keys: list[str], model: str) -> None:
    """Write features.npz of the vectors float32 [N, D] in a file, some of them in memory at a time."""
    unknown = np.full(shape[0], NO_CAMERA, np.int64)
    mapped = np.memmap(vectors, "<f4", "r", shape=shape)
    parts = (mapped[first : first + ROWS] for first in range(0, len(mapped), ROWS))
    write_npz(file, parts, shape, {"pids": unknown, "camids": unknown, "paths": keys}, model)


def clear(folder: Path) -> None:
    """Remove what an earlier run has left in the folder of a video, and nothing else."""
    for name in (BOXES, MOT, TABLE, FEATURES, _VECTORS, _KEYS):
        (folder / name).unlink(missing_ok=True)
    crops = folder / CROPS
    if crops.is_dir() and not crops.is_symlink():
        shutil.rmtree(crops)
