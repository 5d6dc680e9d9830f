"""`reidkit video`: people in videos."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reidkit.cli import options
from reidkit.cli.command import Command, commands
from reidkit.cli.gallery_options import parse_duration
from reidkit.cli.output import print_json, print_line, print_table, progress, remark
from reidkit.errors import UsageError
from reidkit.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reidkit.encoder import ImageEncoder
    from reidkit.gallery import Gallery
    from reidkit.video.detectors.file_detector import FileDetector
    from reidkit.video.tracking import Tracked, TrackOptions

video = commands(
    "People in videos: short tracks with their best crops, in a folder and in a gallery.",
    """
    reidkit video track hall.mp4 --detector yolox.onnx --model M --out tracks
    reidkit video crops hall.mp4 --detector yolox.onnx --out tracks
    """,
)

Videos = Annotated[
    list[str],
    typer.Argument(metavar="VIDEO", help="Videos, folders of MOT, a camera's address, or a .csv: video,camera,start."),
]
Out = Annotated[Path, typer.Option("--out", help="DIR: the same command goes on in it after a kill.")]


def _detector_formats() -> Sequence[str]:
    from reidkit.video.detectors.formats import FORMATS

    return tuple(FORMATS)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """How people are found and followed."""

    detector: Annotated[Path | None, typer.Option("--detector", help="What finds people: an .onnx, or an .xml.")] = None
    detector_format: Annotated[
        str | None,
        typer.Option(
            "--detector-format",
            autocompletion=options.starting_with(_detector_formats),
            help="Its format, if its outputs do not tell: yolox, yolov8, detr, ...",
        ),
    ] = None
    person: Annotated[int | None, typer.Option("--person", min=0, help="The class of people, if not the usual.")] = None
    min_score: Annotated[
        float | None,
        typer.Option("--min-score", help="Leave out boxes of the detector of lower scores.  [default: 0.1]"),
    ] = None
    boxes: Annotated[
        list[Path] | None,
        typer.Option("--boxes", help="Instead of --detector: boxes of each video, or a folder of VIDEO.txt."),
    ] = None
    boxes_format: Annotated[
        Literal["mot", "xyxy", "yolo", "coco"] | None,
        typer.Option("--boxes-format", help="Their format.  [default: by the name]"),
    ] = None
    every: Annotated[float, typer.Option("--every", help="Look at a frame in so many seconds; 0: all.")] = 0.0
    tracker: Annotated[Literal["auto", "edgefirst", "iou"], typer.Option("--tracker", help="What follows boxes.")] = (
        "auto"
    )
    camera: Annotated[
        list[str] | None, typer.Option("--camera", metavar="[VIDEO=]NAME", help="Cameras, in the order of the videos.")
    ] = None
    start: Annotated[
        list[str] | None, typer.Option("--start", metavar="[VIDEO=]TIME", help="Clock times at which they begin.")
    ] = None
    crops: Annotated[int, typer.Option("--crops", min=1, help="The best crops of each track.")] = 5
    min_height: Annotated[int, typer.Option("--min-height", min=1, help="Pixels of a crop, at least.")] = 32
    for_: Annotated[str | None, typer.Option("--for", metavar="TIME", help="When live input ends: 90s, 10m, 8h.")] = (
        None
    )
    again: Annotated[bool, typer.Option("--again", help="Read anew what was finished with other settings.")] = False

    def open_detector(self, device: str) -> FileDetector | None:
        """Return the detector; None where there are boxes instead."""
        from reidkit.hardware import choose_device
        from reidkit.video.detectors.file_detector import FileDetector

        if (self.detector is None) == (not self.boxes):
            raise UsageError("say what finds people: --detector FILE, or --boxes FILE for each video")
        of_detectors = {
            "--detector-format": self.detector_format,
            "--person": self.person,
            "--min-score": self.min_score,
        }
        idle = {"--boxes-format": self.boxes_format} if self.detector else of_detectors
        if said := next((name for name, value in idle.items() if value is not None), None):
            raise UsageError(f"{said} does nothing with {'--detector' if self.detector else '--boxes'}: leave it out")
        if self.detector is None:
            return None
        detector = FileDetector(
            self.detector,
            format=self.detector_format,
            min_score=0.1 if self.min_score is None else self.min_score,
            person=self.person,
            device=choose_device(device).type,
        )
        remark(f"people by {detector.path.name}: format {detector.format}, {detector.size[1]} x {detector.size[0]}")
        return detector

    def for_library(self, keep: Literal["crops", "vectors", "nothing"]) -> TrackOptions:
        """Return these options as the library takes them."""
        from reidkit.video import CropOptions, PieceOptions, TrackerOptions, TrackOptions

        pieces = PieceOptions(
            tracker=TrackerOptions(tracker=self.tracker),
            crops=CropOptions(crops=self.crops, min_height=self.min_height),
        )
        seconds = None if self.for_ is None else parse_duration(self.for_, "--for")
        return TrackOptions(
            every=self.every,
            keep=keep,
            pieces=pieces,
            boxes_format=self.boxes_format,
            seconds=seconds,
            again=self.again,
        )


@video.command(
    cls=Command,
    epilog="""
    reidkit video track a.mp4 b.mp4 --detector yolox.onnx --model M --out tracks
    reidkit video track MOT17-02 --boxes det.txt --model runs/small --out tracks
    """,
)
@options.spread
def track(
    videos: Videos,
    out: Out,
    finding: Finding,
    model: Annotated[
        Path | None, typer.Option("--model", help="What embeds crops: a run's folder, a .safetensors, .onnx or .xml.")
    ] = None,
    network: options.NetworkOption = None,
    input_spec: options.InputSpecOption = None,
    gallery: Annotated[str | None, typer.Option("--gallery", help="Put the tracks into a gallery, too.")] = None,
    keep: Annotated[
        Literal["crops", "vectors", "nothing"],
        typer.Option("--keep", help="Beside boxes: crops and vectors, vectors, or nothing that shows people."),
    ] = "crops",
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> int:
    """Find the people in videos: boxes, tracks, the best crops of each track and their features.

    A track is one person without a break. Where --boxes has ids, these are the tracks. Several videos are read one
    after the other; one that cannot be read is named, the others go on, and the exit status is 1. A person must check
    every match that is made of this.
    """
    if model is None and keep != "nothing":
        raise UsageError("name the --model that embeds crops, or --keep nothing; video crops needs none")
    of_models = {"--model": model, "--network": network, "--input-spec": input_spec}
    if keep == "nothing" and (said := next((name for name, value in of_models.items() if value is not None), None)):
        raise UsageError(f"--keep nothing embeds no crops, and {said} does nothing with it: leave one of them out")
    if gallery is not None and keep == "nothing":
        raise UsageError("--keep nothing makes no features for a --gallery: leave one of them out")
    return _run(videos, out, finding, (model, network, input_spec), (gallery, keep, device), as_json=as_json)


@video.command(cls=Command, epilog="reidkit video crops hall.mp4 --detector yolox.onnx --out tracks")
@options.spread
def crops(
    videos: Videos, out: Out, finding: Finding, device: options.Device = "auto", as_json: options.Json = False
) -> int:
    """Find the people in videos as `video track` does, without a model: boxes, tracks and crops.

    DIR/VIDEO/crops.csv is a table that `reidkit gallery add` takes.
    """
    return _run(videos, out, finding, (None, None, None), (None, "crops", device), as_json=as_json)


def _run(
    videos: list[str],
    out: Path,
    finding: Finding,
    model: tuple[Path | None, str | None, str | None],
    where: tuple[str | None, Literal["crops", "vectors", "nothing"], str],
    *,
    as_json: bool,
) -> int:
    from reidkit.video import track as track_videos
    from reidkit.video.live import is_live
    from reidkit.video.named_videos import require_packages
    from reidkit.video.video_table import is_table

    gallery, keep, device = where
    how, cameras, starts = finding.for_library(keep), _named(finding.camera, videos), _named(finding.start, videos)
    if finding.for_ is not None and not any(is_live(video) or is_table(video) for video in videos):
        raise UsageError(
            "--for says when live input ends, and these are files, which are read to their end: leave it out"
        )
    require_packages(videos, [finding.detector, model[0]])
    detector = finding.open_detector(device)
    encoder: ImageEncoder | None = None
    if model[0] is not None and keep != "nothing":
        encoder = options.open_model(model[0], model[1], model[2])
    if any(map(is_live, videos)):
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: all is saved
    with ExitStack() as stack:
        tell = stack.enter_context(progress())
        done = track_videos(
            videos,
            out,
            detector=detector,
            boxes=finding.boxes or (),
            model=encoder,
            gallery=None if gallery is None else partial(_opened, stack, gallery, encoder),
            cameras=cameras,
            starts=starts,
            options=how,
            progress=lambda name, count, total: tell(name, count, total or count + 1),
        )
    return _print(done, as_json=as_json)


def _opened(stack: ExitStack, uri: str, encoder: ImageEncoder | None) -> Gallery:
    """Open a gallery until the stack ends; where there is none, make it."""
    from reidkit.gallery import open_gallery

    return stack.enter_context(open_gallery(uri, encoder))


def _print(done: Tracked, *, as_json: bool) -> int:
    for record in done.records:
        for line in (*record.notes, *record.remarks):
            remark(f"{record.video}: {line}")
    for name, why in done.failed:
        remark(f"left out: {why if name in why else f'{name}: {why}'}")
    if as_json:
        print_json(done.as_json())
    else:
        _print_table(done)
    return int(bool(done.failed or done.remarks))


def _print_table(done: Tracked) -> None:
    rows = [
        [
            record.video,
            record.camera,
            record.start[:19].replace("T", " ") or "-",
            f"{record.seconds:.1f}",
            f"{record.counts.looked_at:,}",
            f"{record.counts.boxes:,}",
            f"{record.counts.pieces:,}",
            f"{record.counts.crops:,}",
        ]
        for record in done.records
    ]
    if rows:
        print_table(["video", "camera", "start (UTC)", "seconds", "frames", "boxes", "tracks", "crops"], rows, left=3)
    speed = [
        [stage, f"{used:.1f}", f"{count / used:,.0f} {'crops' if stage == 'ReID' else 'frames'}/s" if count else "-"]
        for stage, (used, count) in done.speed.items()
        if used > 0
    ]
    if speed:
        print_line()
        print_table(["part", "CPU seconds", "a core"], speed)
    again = f", {len(done.reused)} of them by a run before" if done.reused else ""
    print_line(f"{done.folder}: {counted(len(done.records), 'video')}{again}, {done.seconds:.1f} s")


def _named(given: list[str] | None, videos: list[str]) -> list[str] | dict[str, str]:
    """Return values of `--camera` or `--start` by video, where they name one, or in the order of the videos.

    Raises:
        UsageError: some name a video, and some do not; or one names a video that is not there.
    """
    from reidkit.video.named_videos import names_of

    names = names_of(videos)
    pairs = [each.partition("=") for each in given or ()]
    known = [equals == "=" and name in names for name, equals, _ in pairs]
    for each, (_, equals, _), right in zip(given or (), pairs, known, strict=True):
        if equals and not right:
            raise UsageError(
                f"{each} names none of the videos: write VIDEO=VALUE with the name of one, or values in their order"
            )
        if any(known) and not right:
            raise UsageError(f"{each} names no video as the others do: write VIDEO=VALUE for each, or for none")
    return {name: value for name, _, value in pairs} if any(known) else list(given or ())
