"""Frames of a video file, upright, with the second at which each is shown.

Times are those of the file (`pts * time_base`), so that a variable frame rate and dropped frames are right. All frames
are decoded, as each builds on others, and only those that are looked at are converted.
"""

from __future__ import annotations

import math
import os
import re
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from reidkit.errors import DataError, MissingFileError, UsageError
from reidkit.extras import import_extra
from reidkit.terminal import counted
from reidkit.video.clock import FALLBACK_RATE, Clock
from reidkit.workers import threads_here

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

MOST_PIXELS = 1 << 26
"""Largest frame that is converted: 67 million pixels, twice those of 8K."""

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,h264,hevc,av1,obu,ivf,m4v,flv,asf,ogg,mjpeg,"
    "mpjpeg,mxf,nut,rm,dv,gif,wtv,vc1,yuv4mpegpipe,dhav"
)
"""Kinds of files that are opened: none of them is a list of other files or addresses, as playlists are."""

EARLIEST = 1990
"""Creation times before this year are what clocks show that were never set."""

WHOLE = "play it to see whether it is whole"


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame: its number from 1, the second at which it is shown, and its pixels, RGB uint8 [H, W, 3], upright."""

    number: int
    second: float
    image: NDArray[np.uint8]


@dataclass
class About:
    """What a video says of itself before it is read.

    Attributes:
        rate: Frames a second on average; 0: not known.
        seconds: How long it is; 0: not known.
        frames: How many frames it should have; 0: not known.
        last: The number of its last frame, where numbers may be left out; 0: that of the frames that were read.
        created: When its recording began, where it says so.
        moved: Frames whose seconds are not those of the file, known at the end.
        remarks: What was wrong with it, a sentence each; complete when all frames were read.
        notes: What is not wrong, and worth to know.
    """

    rate: float = 0.0
    seconds: float = 0.0
    frames: int = 0
    last: int = 0
    created: datetime | None = None
    moved: int = 0
    remarks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Frames(Protocol):
    """Frames in their order; `read` counts all that were decoded, also those that were not looked at."""

    about: About
    read: int

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Let go of the file."""


class Sampling:
    """Which frames are looked at: the first one in each `every` seconds; all of them for 0."""

    def __init__(self, every: float) -> None:
        if not (isinstance(every, int | float | np.number) and math.isfinite(every) and every >= 0):
            raise UsageError(
                f"every {every!r} is no number of seconds: give 0 for all frames, or 0.2", argument="every"
            )
        self.every, self._next = every, -math.inf

    def takes(self, second: float) -> bool:
        """Return whether a frame is looked at; asked once for each, in their order."""
        if second < self._next - 1e-6:
            return False
        if self.every:
            self._next = (math.floor(second / self.every + 1e-6) + 1) * self.every
        return True


class VideoFile:
    """The frames of a video file.

    Args:
        path: The file. Nothing beside it is opened, whatever it names.
        every: The least seconds from one frame that is looked at to the next; 0: every frame.

    Raises:
        MissingFileError: there is no file.
        DataError: it cannot be read, or has no video, or none that is shown; frames of more than `MOST_PIXELS`.
        UsageError: PyAV is not installed.
    """

    def __init__(self, path: Path, every: float = 0.0) -> None:
        self.path, self.read = path, 0
        self._sampling = Sampling(every)
        self._container = open_container(
            _regular(path), str(path), {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
        )
        try:
            self._stream = video_stream(self._container, str(path))
            self.about = _about(self._container, self._stream)
        except BaseException:
            self._container.close()
            raise

    def __iter__(self) -> Iterator[Frame]:
        clock, shown_until = Clock(self.about.rate), 0.0
        for decoded, second in clock.timed(decoded_frames(self._container, self._stream, self.about.remarks)):
            self.read += 1
            shown_until = second + float((decoded.duration or 0) * (decoded.time_base or 0))
            if self._sampling.takes(second):
                yield Frame(self.read, second, upright(decoded, str(self.path)))
        self._look_back(clock, shown_until)

    def _look_back(self, clock: Clock, shown_until: float) -> None:
        """Remark on a file that is shorter than it says, or without frames."""
        if not self.read:
            self.about.remarks.append("it has no frames")
        elif clock.trusted and self.about.seconds - shown_until > max(1.0, 2 / (self.about.rate or FALLBACK_RATE)):
            self.about.remarks.append(f"it is cut: it ends at {clock.last:.1f} s of {self.about.seconds:.1f} s")
        self.about.moved = clock.moved
        self.about.notes += clock.notes()

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()


def import_av() -> Any:
    """Return PyAV.

    Raises:
        UsageError: it is not installed.
    """
    return import_extra("av", "videos are read and written by PyAV, which is not installed")


def open_container(where: str, shown: str, options: dict[str, str], *, remedy: str = WHOLE, **how: Any) -> Any:
    """Open a file or an address by PyAV; `shown` is what it is called in errors, `remedy` what may help.

    Raises:
        UsageError: PyAV is not installed.
        DataError: it cannot be opened.
    """
    av = import_av()
    try:
        return av.open(where, metadata_errors="replace", container_options=options, **how)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise DataError(f"{shown} cannot be read as a video ({_why(error)}): {remedy}") from None


def video_stream(container: Any, shown: str) -> Any:
    """Return the first stream of pictures that move.

    Raises:
        DataError: there is none; its frames are too large; or nothing can decode it.
    """
    import av

    streams = [each for each in container.streams.video if not each.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        others = ", ".join(sorted({each.type for each in container.streams})) or "nothing"
        raise DataError(f"{shown} has no video stream, but {others}: give a video")
    stream = streams[0]
    if stream.codec_context is None:
        raise DataError(f"{shown} is coded in a way that this PyAV cannot decode: convert it to H.264")
    _check_size(stream.codec_context.width, stream.codec_context.height, shown)
    stream.codec_context.thread_count = threads_here()
    return stream


def decoded_frames(container: Any, stream: Any, remarks: list[str]) -> Iterator[Any]:
    """Yield PyAV's frames; packets that cannot be decoded are passed over, and counted in a remark at the end."""
    import av

    bad, packets = 0, container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, OSError) as error:
            remarks.append(f"it cannot be read to its end ({_why(error)})")
            packet = None
        if packet is None:
            break
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            bad += 1
    if bad:
        remarks.append(f"{counted(bad, 'damaged packet')} passed over")


def upright(decoded: Any, shown: str) -> NDArray[np.uint8]:
    """Return the pixels RGB uint8 [H, W, 3] of a frame of PyAV, turned and mirrored as its metadata say.

    Raises:
        DataError: it is too large.
    """
    _check_size(decoded.width, decoded.height, shown)
    image: NDArray[np.uint8] = decoded.to_ndarray(format="rgb24")
    matrix = decoded.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image
    # What lies at x, y is shown at ax + cy, bx + dy. Its angle alone would turn what is to be mirrored upside down.
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):  # rows are shown as columns
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _about(container: Any, stream: Any) -> About:
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    rate = rate if 0 < rate <= 300 else 0.0  # AVI without one has 1000
    seconds = _seconds(container, stream)
    return About(
        rate=rate,
        seconds=seconds,
        frames=max(stream.frames if rate else 0, round(seconds * rate)),
        created=_created(container.metadata) or _created(stream.metadata),
    )


def _seconds(container: Any, stream: Any) -> float:
    """Return how long the pictures last, or else all of the file, which may have a longer sound; 0: not known."""
    if stream.duration and stream.time_base:
        return max(float(stream.duration * stream.time_base), 0.0)
    told = re.fullmatch(r"(\d+):(\d\d):(\d\d\.?\d*)", str(stream.metadata.get("DURATION", "")), re.ASCII)  # Matroska
    if told:
        return int(told[1]) * 3600 + int(told[2]) * 60 + float(told[3])
    return max((container.duration or 0) / 1e6, 0.0)


def _created(metadata: Any) -> datetime | None:
    """Return the creation time that a file gives, if it can be one."""
    try:
        found = datetime.fromisoformat(str(metadata.get("creation_time", "")).strip())
    except ValueError:
        return None
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return found if found.year >= EARLIEST else None


def _regular(path: Path) -> str:
    """Return what names a file to FFmpeg, so that no part of the name means an address.

    Raises:
        MissingFileError: there is nothing.
        DataError: it is a folder, a pipe or a device, or empty.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise MissingFileError(f"{path} cannot be read ({error.strerror}): give a video") from None
    if not stat.S_ISREG(found.st_mode):
        raise DataError(
            f"{path} is no file: give a video, or a folder of images in the form of MOT (img1, seqinfo.ini)"
        )
    if not found.st_size:
        raise DataError(f"{path} is empty: copy it again")
    return f"file:{os.path.abspath(path)}"  # noqa: PTH100 (what is linked to keeps its name)


def _check_size(width: int, height: int, shown: str) -> None:
    if width * height > MOST_PIXELS:
        raise DataError(
            f"{shown} has frames of {width} x {height} pixels, above the limit of {MOST_PIXELS:,}: scale it down"
        )


def _why(error: BaseException) -> str:
    """Return what FFmpeg says in general, without the address that it adds."""
    return str(getattr(error, "strerror", None) or type(error).__name__)
