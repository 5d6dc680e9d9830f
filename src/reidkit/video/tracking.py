"""People of videos as pieces, in a folder and in a gallery: what `reidkit video track` and `video crops` do."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from reidkit.arguments import check_path
from reidkit.atomic import NoRoomError, hold, not_written, refuse_address
from reidkit.encoder import as_image_encoder
from reidkit.errors import DataError, GalleryError, ReidkitError, UsageError
from reidkit.terminal import counted, harmless
from reidkit.video.box_files import BoxesFormat, BoxFile, read_boxes
from reidkit.video.frames import Sampling
from reidkit.video.named_videos import boxes_in, choose_names, given_videos, require_packages
from reidkit.video.piece_features import add_from_folder, is_of_another_video
from reidkit.video.piece_maker import PieceOptions
from reidkit.video.record import RECORD, Record, Settings, Source, read_record, write_record
from reidkit.video.trackers import build_tracker
from reidkit.video.video_run import Common, VideoRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from reidkit.encoder import Encoder
    from reidkit.gallery import Gallery
    from reidkit.video.detectors.file_detector import Detector
    from reidkit.video.frames import Frames
    from reidkit.video.named_videos import GivenVideo
    from reidkit.video.video_run import Boxes, OnProgress

log = logging.getLogger(__name__)

Keep: TypeAlias = Literal["crops", "vectors", "nothing"]


@dataclass(frozen=True, kw_only=True)
class TrackOptions:
    """How videos are tracked.

    Attributes:
        every: The least seconds from one frame that is looked at to the next; 0: every frame.
        keep: What is kept beside boxes: `crops` and vectors, `vectors` alone, or `nothing` that shows a person.
        pieces: How pieces are made.
        boxes_format: What files of boxes are; None: told by their names.
        seconds: When live input ends; None: when the program is stopped.
        again: Read videos anew that were finished with other settings.
    """

    every: float = 0.0
    keep: Keep = "crops"
    pieces: PieceOptions = field(default_factory=PieceOptions)
    boxes_format: BoxesFormat | None = None
    seconds: float | None = None
    again: bool = False

    def __post_init__(self) -> None:
        Sampling(self.every)  # refuses what is no number of seconds
        if self.seconds is not None and not (isinstance(self.seconds, int | float) and self.seconds > 0):
            raise UsageError(f"seconds {self.seconds!r} is no time to end at: give seconds above 0", argument="seconds")
        if not isinstance(self.pieces, PieceOptions):
            raise UsageError(f"pieces {self.pieces!r} are no PieceOptions: pass them", argument="pieces")
        if self.keep not in ("crops", "vectors", "nothing"):
            raise UsageError(f"keep {self.keep!r}: choose crops, vectors or nothing", argument="keep")
        if not isinstance(self.again, bool):
            raise UsageError(f"again {self.again!r} is neither True nor False: pass one of them", argument="again")


@dataclass(eq=False)
class Tracked:
    """What became of videos.

    Attributes:
        folder: DIR.
        records: Videos that are finished, also by an earlier run.
        reused: Names of those that an earlier run had finished.
        failed: Videos that could not be read, each with the reason.
        speed: CPU seconds by stage, and how many frames (for ReID: crops) went through it.
        seconds: How long it took.
    """

    folder: Path
    records: list[Record] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    speed: dict[str, tuple[float, int]] = field(default_factory=dict)
    seconds: float = 0.0

    def add_speed(self, used: Mapping[str, Sequence[float]]) -> None:
        """Count the CPU seconds and frames of one more video."""
        for stage, (seconds, count) in used.items():
            before = self.speed.get(stage, (0.0, 0))
            self.speed[stage] = (before[0] + seconds, before[1] + int(count))

    @property
    def remarks(self) -> list[tuple[str, str]]:
        """What was wrong with videos that were read, by their names."""
        return [(record.video, remark) for record in self.records for remark in record.remarks]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        from dataclasses import asdict

        speed = {
            stage: {"cpu_seconds": round(used, 3), "items": count, "per_cpu_second": _rate(used, count)}
            for stage, (used, count) in self.speed.items()
        }
        return {
            "folder": str(self.folder),
            "videos": [asdict(record) for record in self.records],
            "reused": self.reused,
            "failed": [{"video": video, "why": why} for video, why in self.failed],
            "speed": speed,
            "seconds": round(self.seconds, 3),
        }


def track(  # noqa: PLR0913 (what a call is about; how it is done is in `options`)
    videos: Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    detector: Detector | str | PathLike[str] | None = None,
    boxes: Sequence[BoxFile | str | PathLike[str]] = (),
    model: Encoder | None = None,
    gallery: Gallery | Callable[[], Gallery] | None = None,
    cameras: Sequence[str] | Mapping[str, str] = (),
    starts: Sequence[datetime | str] | Mapping[str, datetime | str] = (),
    options: TrackOptions | None = None,
    progress: OnProgress | None = None,
) -> Tracked:
    """Find the people in videos, frame by frame, and write them as pieces into DIR and a gallery.

    The same call goes on where it was stopped: videos that are finished are not read again. A video that cannot be
    read, or whose boxes cannot, is listed, and the others go on.

    Args:
        videos: Files, folders in the form of MOT, or the address of a camera; a .csv with the columns video, camera and
            start names several.
        out: DIR, with a folder for each video (`reidkit.video.piece`).
        detector: What finds people: a file (`FileDetector`), or an object of one's own.
        boxes: Instead of it, files of boxes, one for each video, or a folder with a VIDEO.txt for each. Ids in them
            are the pieces.
        model: What embeds crops; None: pieces have no features.
        gallery: Where pieces go, too: one row for each piece that has a feature (`gallery_row`). What opens it will do,
            and is called when there is something to be tracked, so that none is made for nothing.
        cameras: What the cameras are called, in the order of the videos or by their names.
        starts: Clock times of the beginnings of the videos, likewise. Where none is given, the creation time in the
            file counts, and where there is none, times are not known.
        options: How it is done.
        progress: Called as `progress(video, frames, total)`; the total is 0 where it is not known.

    Raises:
        UsageError: arguments that do not go together.
        ReidkitError: the detector or the gallery cannot be used; the disk is full. Videos that are finished stay so.
    """
    began = time.monotonic()
    if not isinstance(options, TrackOptions | None):
        raise UsageError(f"the options are a {type(options).__name__}: pass TrackOptions", argument="options")
    if not (gallery is None or callable(gallery) or hasattr(gallery, "info")):
        raise UsageError(
            f"the gallery is a {type(gallery).__name__}: pass what open_gallery returns", argument="gallery"
        )
    folder, how = check_path(out, "the folder for the tracks", "out"), options or TrackOptions()
    refuse_address(folder)
    boxes = [boxes] if isinstance(boxes, str | PathLike | BoxFile) else list(boxes or ())
    given = given_videos(videos, cameras, starts)
    finders = _finders(given, detector, boxes)
    encoder = as_image_encoder(model) if model is not None and how.keep != "nothing" else None
    if gallery is not None and encoder is None:
        raise UsageError(
            "a gallery is filled with features: give a model, and keep crops or vectors", argument="gallery"
        )
    result = Tracked(folder)
    found: list[_Found] = []
    for video, finder in zip(given, finders, strict=True):
        with _failures_of(video, result):
            source = video.source(folder)
            boxes_of = read_boxes(finder, how.boxes_format) if isinstance(finder, str | PathLike) else finder
            found.append(_Found(video, source, boxes_of))
    _refuse_same(found)
    if found:
        opened = gallery() if callable(gallery) else gallery
        common = Common(
            folder=folder,
            options=how.pieces,
            encoder=encoder,
            gallery=opened,
            gallery_id=opened.info().uuid if opened is not None else "",
            progress=progress,
        )
        _Job(how, common, result).take_all(found)
    result.seconds = time.monotonic() - began
    return result


class _Found(NamedTuple):
    """A video that is there, and what finds people in it."""

    video: GivenVideo
    source: Source
    finder: Boxes


def _refuse_same(found: Sequence[_Found]) -> None:
    """Refuse one source that is given under two names.

    Raises:
        UsageError: there is one.
    """
    seen: dict[str, str] = {}
    for video, source, _ in found:
        if (before := seen.setdefault(source.digest, video.shown)) != video.shown:
            raise UsageError(f"{before} and {video.shown} are the same video: name it once", argument="videos")


@contextlib.contextmanager
def _failures_of(video: GivenVideo, result: Tracked) -> Iterator[None]:
    """List a video that cannot be read, and go on; what would fail for each next one, too, ends the call."""
    try:
        yield
    except (UsageError, GalleryError, NoRoomError):
        raise
    except ReidkitError as error:
        result.failed.append((harmless(video.shown), str(error)))


def _finders(
    given: Sequence[GivenVideo],
    detector: Detector | str | PathLike[str] | None,
    boxes: Sequence[BoxFile | str | PathLike[str]],
) -> Sequence[Boxes | str | PathLike[str]]:
    """Return what finds people in each video; files of boxes that are not read yet by their paths.

    Raises:
        UsageError: neither a detector nor a file for each video is given, or both.
    """
    from reidkit.video.detectors.file_detector import FileDetector, check_detector

    if (detector is None) == (not boxes):
        raise UsageError("give either a detector or files of boxes, one for each video", argument="detector")
    if detector is not None:
        file = detector if isinstance(detector, str | PathLike) else None
        require_packages([each.given for each in given], [file])
        one = FileDetector(detector) if isinstance(detector, str | PathLike) else detector
        check_detector(one)
        return [one] * len(given)
    boxes = _of_folder(boxes, given)
    if len(boxes) != len(given):
        files, videos = counted(len(boxes), "file"), counted(len(given), "video")
        raise UsageError(f"{files} of boxes for {videos}: give one for each", argument="boxes")
    return boxes


def _of_folder(
    boxes: Sequence[BoxFile | str | PathLike[str]], given: Sequence[GivenVideo]
) -> Sequence[BoxFile | str | PathLike[str]]:
    """Return the VIDEO.txt of each video, where one folder is given that holds them."""
    if len(boxes) == 1 and isinstance(boxes[0], str | PathLike):
        return boxes_in(Path(boxes[0]), given) or boxes
    return boxes


class _Job:
    """What all videos of a call have in common, and what became of them."""

    def __init__(self, options: TrackOptions, common: Common, result: Tracked) -> None:
        self.options, self.common, self.result = options, common, result

    def take_all(self, found: Sequence[_Found]) -> None:
        """Track the videos, each under a name of its own."""
        gallery = self.common.gallery
        try:  # what fails for each video is said once
            self.common.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise not_written(self.common.folder, error, "another folder") from None
        names = choose_names(
            [(video, source) for video, source, _ in found],
            self.common.folder,
            lambda name, digest: gallery is not None and is_of_another_video(gallery, name, digest),
        )
        for (video, source, finder), name in zip(found, names, strict=True):
            with _failures_of(video, self.result):
                self.take(video, source, finder, name)

    def take(self, video: GivenVideo, source: Source, finder: Boxes, name: str) -> None:
        """Track one video, or take it over from an earlier run."""
        place, settings = self.common.folder / name, self._settings(video, finder)
        done = read_record(place) if (place / RECORD).is_file() else None
        with _alone(self.common.folder, name):
            if done and done.finished and not self.options.again and done.settings != settings:
                raise DataError(
                    f"{place} was made with other settings ({_difference(done.settings, settings)}): give another "
                    "folder, or read it anew (--again, in Python again=True)",
                    argument="again",
                )
            if done and done.finished and done.settings == settings:
                self.result.reused.append(name)
                record = self._into_gallery(place, done)
            else:
                record = self._track(video, source, finder, (name, settings))
        self.result.records.append(record)

    def _settings(self, video: GivenVideo, finder: Boxes) -> Settings:
        """Return what a video is tracked by; another run by the same need not read it again."""
        how = self.options
        given = isinstance(finder, BoxFile) and finder.tracks
        rules = how.pieces.tracker
        name = "given" if given else build_tracker(rules).name
        return Settings(
            camera=video.camera,
            start=video.start.isoformat() if video.start else "",
            every=how.every,
            boxes=finder.description,
            tracker=name if given else f"{name} sure {rules.sure:g} overlap {rules.overlap:g} lost {rules.lost:g} s",
            choice=how.pieces.described(),
            model=self.common.encoder.fingerprint if self.common.encoder else "",
            keep=how.keep,
        )

    def _into_gallery(self, place: Path, record: Record) -> Record:
        """Add a video that was finished before to a gallery that does not have it yet."""
        gallery, gallery_id = self.common.gallery, self.common.gallery_id
        if gallery is None or gallery_id in record.galleries:
            return record
        add_from_folder(gallery, place, record)
        changed = replace(record, galleries=(*record.galleries, gallery_id))
        write_record(place, changed)
        return changed

    def _track(self, video: GivenVideo, source: Source, finder: Boxes, named: tuple[str, Settings]) -> Record:
        """Read a video from its beginning, and return its record."""
        name, settings = named
        frames = video.open(self.options.every, self.options.seconds)
        try:
            start, start_from = _start(video, frames)
            record = Record(
                video=name,
                source=source,
                settings=settings,
                rate=frames.about.rate,
                start=start.isoformat() if start else "",
                start_from=start_from,
            )
            run = VideoRun(self.common, record, finder, start)
            try:
                run.read(frames)
            finally:
                run.writer.close()
            made = run.finish(frames)
        finally:
            frames.close()
        self.result.add_speed(run.used)
        return made


def _start(video: GivenVideo, frames: Frames) -> tuple[datetime | None, str]:
    """Return the clock time of second 0, and who says so."""
    if video.start:
        return video.start, "given"
    if began := getattr(frames, "began", None):
        return began, "clock"
    if created := frames.about.created:
        note = f"it begins at {created.isoformat()}, as its creation time says: give its start if that is wrong"
        frames.about.notes.append(note)
        return created, "creation time"
    return None, ""


@contextlib.contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """Hold the folder of a video in DIR; the lock lies beside it.

    Raises:
        DataError: another process is writing it, or DIR cannot be written.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(hold(folder / f".{name}.lock", wait=False))
        except BlockingIOError:
            raise DataError(
                f"{folder / name} is being written by another process: wait, or give another folder"
            ) from None
        except OSError as error:
            raise not_written(folder, error, "another folder") from None
        yield


def _difference(before: Settings, now: Settings) -> str:
    """Return the names of the settings that differ."""
    return ", ".join(name for name, value in vars(before).items() if value != getattr(now, name))


def _rate(used: float, count: int) -> float | None:
    return round(count / used, 2) if used > 0 and count else None
