"""One video under way: frames to detector, tracker, crops, features, folder and gallery, with the time of each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from reidkit.errors import UsageError
from reidkit.terminal import counted, first_and_more
from reidkit.video.box_files import BoxFile
from reidkit.video.boxes import checked
from reidkit.video.crops import as_jpeg
from reidkit.video.detectors.file_detector import Detector
from reidkit.video.live import LiveInput, ended_by_signals
from reidkit.video.piece import STILL
from reidkit.video.piece_features import TOGETHER, GalleryPieces, PieceEmbedder
from reidkit.video.piece_maker import PieceMaker, PieceOptions
from reidkit.video.piece_writer import PieceWriter
from reidkit.video.record import Counts, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from reidkit.encoder import ImageEncoder
    from reidkit.gallery import Gallery
    from reidkit.video.boxes import Detections
    from reidkit.video.frames import Frame, Frames
    from reidkit.video.piece_maker import Made

    OnProgress: TypeAlias = Callable[[str, int, int], None]

Boxes: TypeAlias = Detector | BoxFile
"""What finds people: a detector, or a file of boxes."""

STAGES = ("reader", "detector", "tracker", "crops", "ReID", "writing")


@dataclass(frozen=True, kw_only=True)
class Common:
    """What all videos of a call have in common.

    Attributes:
        folder: DIR.
        options: How pieces are made.
        encoder: What embeds crops; None: nothing.
        gallery: Where pieces go; `gallery_id` is its uuid.
        progress: Called as `progress(video, frames, total)`.
    """

    folder: Path
    options: PieceOptions
    encoder: ImageEncoder | None = None
    gallery: Gallery | None = None
    gallery_id: str = ""
    progress: OnProgress | None = None


class VideoRun:
    """One video under way: its frames through detector, tracker, crops and model into its folder and a gallery."""

    def __init__(self, common: Common, record: Record, finder: Boxes, start: datetime | None) -> None:
        self._common, self._finder = common, finder
        ends = finder.last_frames() if isinstance(finder, BoxFile) and finder.tracks else None
        settings = record.settings
        self._maker = PieceMaker(record.video, settings.camera, start, common.options, ends=ends)
        gallery = common.gallery
        flip = bool(gallery is not None and gallery.info().flip)
        # Who has left a camera can be found at once: the next one may come after hours, or a kill before that.
        self._embedder = PieceEmbedder(common.encoder, flip=flip, together=1 if record.source.live else TOGETHER)
        crops = settings.keep == "crops"
        self._sink = GalleryPieces(gallery, record.source.digest, pictures=crops) if gallery is not None else None
        self.writer = PieceWriter(common.folder / record.video, record)
        self._record = record
        self.used: dict[str, list[float]] = {stage: [0.0, 0.0] for stage in STAGES}
        self._looked_at = self._detections = 0
        self._still: list[str] = []
        self._last: Frame | None = None

    def read(self, frames: Frames) -> None:
        """Take all frames. Ctrl-C ends live input as its end would; a second one, without what is under way."""
        with ended_by_signals(frames) if isinstance(frames, LiveInput) else nullcontext():
            try:
                self._take_all(frames)
            except KeyboardInterrupt:
                if not self._record.source.live:
                    raise
                frames.close()
        self._write(self._timed("crops", 0, self._maker.finish))
        self._write([], last=True)

    def finish(self, frames: Frames) -> Record:
        """Finish the folder and the gallery, and return the record."""
        common, last = self._common, self._last
        remarks = list(frames.about.remarks)
        if isinstance(self._finder, BoxFile) and (late := self._finder.beyond(frames.about.last or frames.read)):
            remarks.append(late)
        record = replace(
            self._record,
            counts=Counts(frames=frames.read, looked_at=self._looked_at, detections=self._detections),
            width=last.image.shape[1] if last else 0,
            height=last.image.shape[0] if last else 0,
            seconds=round(last.second, 6) if last else 0.0,
            moved=frames.about.moved,
            remarks=tuple(remarks),
            notes=(*frames.about.notes, *self._note_of_boxes(), *_still_note(self._still)),
        )
        if self._sink:
            self._sink.finish()
            record = replace(record, galleries=(common.gallery_id,))
        if common.progress:
            common.progress(record.video, 1, 1)
        return self.writer.finish(record)

    def _note_of_boxes(self) -> list[str]:
        return [self._finder.note] if isinstance(self._finder, BoxFile) and self._finder.note else []

    def _take_all(self, frames: Frames) -> None:
        for some in self._batches(frames):
            self._take(some)
            if self._common.progress:
                total = frames.about.frames
                self._common.progress(self._record.video, frames.read, max(total, frames.read + 1) if total else 0)

    def _batches(self, frames: Frames) -> Iterator[list[Frame]]:
        """Yield as many frames at a time as the detector takes; live ones singly, as they come."""
        live = self._record.source.live
        size = 1 if live or isinstance(self._finder, BoxFile) else max(1, self._finder.batch)
        source = iter(frames)
        waiting: list[Frame] = []
        while True:
            frame = self._timed("reader", 1, partial(next, source, None))
            if frame is not None:
                waiting.append(frame)
            if waiting and (frame is None or len(waiting) >= size):
                yield waiting
                waiting = []
            if frame is None:
                return

    def _take(self, some: list[Frame]) -> None:
        found = self._timed("detector", len(some), partial(self._find, some))
        self._looked_at += len(some)
        self._last = some[-1]
        for frame, each in zip(some, found, strict=True):
            self._detections += len(each)
            tracks = self._timed("tracker", 1, partial(self._maker.follow, frame, each))
            self._write(self._timed("crops", 1, partial(self._maker.add, frame, each, tracks)))

    def _find(self, some: list[Frame]) -> list[Detections]:
        if isinstance(self._finder, BoxFile):
            return [self._finder.at(frame.number, frame.image.shape[1], frame.image.shape[0]) for frame in some]
        found = self._finder.detect([frame.image for frame in some])
        if not isinstance(found, Sequence) or len(found) != len(some):
            gave = counted(len(found), "item") if isinstance(found, Sequence) else f"a {type(found).__name__}"
            images = counted(len(some), "image")
            raise UsageError(
                f"the detector gave {gave} for {images}: return one Detections for each", argument="detector"
            )
        sides = [frame.image.shape[:2] for frame in some]
        return [checked(each, width, height) for each, (height, width) in zip(found, sides, strict=True)]

    def _write(self, made: list[Made], *, last: bool = False) -> None:
        """Embed and write pieces that have ended, as soon as there are enough of them."""
        embed = self._embedder.finish if last else partial(self._embedder.add, made)
        if self._common.encoder is None:
            ready = embed()
        else:
            ready = self._timed("ReID", sum(len(each.crops) for each in made), embed)
        if ready:
            self._timed("writing", 0, partial(self._save, ready))

    def _save(self, ready: Iterable[Made]) -> None:
        for each in ready:
            keep = self._record.settings.keep == "crops"
            self.writer.add(each.piece, [as_jpeg(crop) for crop in each.crops] if keep else [])
            if each.piece.still:
                self._still.append(each.piece.track)
        if self._sink:
            self._sink.add(list(ready))

    def _timed(self, stage: str, count: int, work: Callable[[], Any]) -> Any:
        began = time.process_time()
        try:
            return work()
        finally:
            used = self.used[stage]
            used[0], used[1] = used[0] + time.process_time() - began, used[1] + count


def _still_note(tracks: list[str]) -> list[str]:
    """Return a sentence about tracks that stay in one place, if there are any."""
    if not tracks:
        return []
    named = first_and_more(tracks, 5)
    what = f"track {named} stays" if len(tracks) == 1 else f"tracks {named} stay"
    return [f"{what} in one place for {STILL:g} s or longer: look whether it is a person, and not a sign or a picture"]
