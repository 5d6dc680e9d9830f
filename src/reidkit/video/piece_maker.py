"""Boxes of frame after frame to pieces, each given out when it has ended; memory depends on what is in view alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reidkit.arguments import check_number, check_whole
from reidkit.errors import UsageError
from reidkit.video.boxes import nested
from reidkit.video.crops import Candidates, CropOptions, cut_out, worths
from reidkit.video.piece import Piece
from reidkit.video.trackers import TrackerOptions, build_tracker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from reidkit.video.boxes import Detections
    from reidkit.video.frames import Frame
    from reidkit.video.trackers import Tracker


NESTED, MOSTLY = 0.8, 0.9
"""A box of which this part lies in another one, and of how many of the frames that show both that has to be true.

A detector that finds one person twice finds a part of them in the whole: non-maximum suppression, which goes by the
intersection over the union, leaves boxes of so different a size alone. Two people, one of them behind the other, come
apart sooner or later.
"""


@dataclass(frozen=True, kw_only=True)
class PieceOptions:
    """How pieces are made of boxes.

    Attributes:
        tracker: How boxes become tracks.
        crops: Which crops of a piece are its best.
        min_boxes: Tracks of fewer boxes are left out; those of a file's ids are not.
        longest: Seconds after which a track goes on as another piece, so that memory stays bounded.
    """

    tracker: TrackerOptions = field(default_factory=TrackerOptions)
    crops: CropOptions = field(default_factory=CropOptions)
    min_boxes: int = 3
    longest: float = 300.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "min_boxes", check_whole(self.min_boxes, "min_boxes"))
        if not 1 <= self.min_boxes <= 10_000:
            raise UsageError(f"min_boxes {self.min_boxes} is not from 1 to 10000", argument="min_boxes")
        if not check_number(self.longest, "longest") >= 1:
            raise UsageError(f"longest {self.longest} s is less than 1 s", argument="longest")

    def described(self) -> str:
        """Return what pieces depend on beside boxes and tracker, to tell other settings from these."""
        return f"crops {self.crops.crops} of {self.crops.min_height} pixels, {self.min_boxes} boxes, {self.longest:g} s"


class Made(NamedTuple):
    """A piece that has ended, without a feature yet, and the pixels of its best crops, uint8 [h, w, 3] each."""

    piece: Piece
    crops: list[NDArray[np.uint8]]


class _Running:
    """A piece under way."""

    def __init__(self, name: str, options: CropOptions) -> None:
        self.name, self.candidates = name, Candidates(options)
        self.frames: list[int] = []
        self.seconds: list[float] = []
        self.boxes: list[NDArray[np.float32]] = []
        self.scores: list[float] = []
        self.nested: dict[_Running, int] = {}
        self.doubles: list[str] = []

    def note_doubles(self) -> None:
        """Note who is a double of a piece that ends: all that others share with it is known."""
        for other, count in self.nested.items():
            del other.nested[self]
            if count >= MOSTLY * len(np.intersect1d(self.frames, other.frames, assume_unique=True)):
                self.doubles.append(other.name)
                other.doubles.append(self.name)


class PieceMaker:
    """Pieces of one video.

    Args:
        video: The name of the video; `camera` of its camera, `start` the clock time of its second 0.
        options: How pieces are made.
        tracker: Follows boxes that have no ids; None: as the options say.
        ends: The last frame of each id, where boxes have ids.
    """

    def __init__(
        self,
        video: str,
        camera: str,
        start: datetime | None,
        options: PieceOptions,
        *,
        tracker: Tracker | None = None,
        ends: Mapping[int, int] | None = None,
    ) -> None:
        self._video, self._camera, self._start, self._options = video, camera, start, options
        self._ends = ends
        self._tracker = None if ends is not None else tracker or build_tracker(options.tracker)
        self._running: dict[int, _Running] = {}
        self._count = 0

    def follow(self, frame: Frame, found: Detections) -> Sequence[int | None]:
        """Return the track of each box of the next frame; to be given to `add`."""
        if self._tracker:
            return self._tracker.update(found, frame.second)
        tracks: list[int | None] = [] if found.tracks is None else found.tracks.tolist()
        return tracks

    def add(self, frame: Frame, found: Detections, tracks: Sequence[int | None]) -> list[Made]:
        """Take the boxes of a frame with their tracks, and return the pieces that have ended."""
        for row, (track, worth) in enumerate(zip(tracks, self._worths(frame, found), strict=True)):
            if track is not None:
                self._extend(track, frame, found, row, float(worth))
        self._note_nested(found, tracks)
        return self._ended(frame)

    def finish(self) -> list[Made]:
        """Return the pieces that are still under way, at the end of the video."""
        running, self._running = self._running, {}
        return [made for each in running.values() if (made := self._made(each))]

    @staticmethod
    def _worths(frame: Frame, found: Detections) -> NDArray[np.float32]:
        height, width = frame.image.shape[:2]
        return worths(found.boxes, found.scores, width, height)

    def _extend(self, track: int, frame: Frame, found: Detections, row: int, worth: float) -> None:
        running = self._running.get(track)
        if running is None:
            self._count += 1
            # Ids of a file are names of their own; tracks are numbered in the order of their first frames.
            name = str(self._count if self._tracker else track)
            running = self._running[track] = _Running(name, self._options.crops)
        box = found.boxes[row]
        if running.candidates.wants(frame.second, worth, float(box[3] - box[1])):
            running.candidates.add(len(running.frames), frame.second, worth, cut_out(frame.image, box))
        running.frames.append(frame.number)
        running.seconds.append(frame.second)
        running.boxes.append(box)
        running.scores.append(float(found.scores[row]))

    def _note_nested(self, found: Detections, tracks: Sequence[int | None]) -> None:
        """Count for each two pieces in how many frames the box of one lies in that of the other."""
        rows = np.array([row for row, track in enumerate(tracks) if track is not None], np.int64)
        pairs = np.argwhere(np.triu(nested(found.boxes[rows], NESTED), 1)) if len(rows) > 1 else np.zeros((0, 2), int)
        for pair in pairs.tolist():
            one, other = (self._running[track] for row in pair if (track := tracks[rows[row]]) is not None)
            one.nested[other] = other.nested[one] = one.nested.get(other, 0) + 1

    def _ended(self, frame: Frame) -> list[Made]:
        """Return, and forget, the pieces that are over after this frame."""
        over = [track for track, running in self._running.items() if self._is_over(track, running, frame)]
        return [made for track in over if (made := self._made(self._running.pop(track)))]

    def _is_over(self, track: int, running: _Running, frame: Frame) -> bool:
        if self._ends is not None:
            return frame.number >= self._ends.get(track, 0)
        lost = frame.second - running.seconds[-1] > self._options.tracker.lost
        return lost or running.seconds[-1] - running.seconds[0] >= self._options.longest

    def _made(self, running: _Running) -> Made | None:
        """Return what has been gathered as a piece with its crops; None for a track of too few boxes."""
        running.note_doubles()
        if self._tracker and len(running.frames) < self._options.min_boxes:
            return None
        best = running.candidates.best()
        piece = Piece(
            video=self._video,
            camera=self._camera,
            track=running.name,
            frames=np.array(running.frames, np.int64),
            seconds=np.array(running.seconds, np.float64),
            boxes=np.array(running.boxes, np.float32).reshape(-1, 4),
            scores=np.array(running.scores, np.float32),
            start=self._start,
            best=tuple(each.row for each in best),
            doubles=tuple(running.doubles),
        )
        return Made(piece, [each.pixels for each in best])
