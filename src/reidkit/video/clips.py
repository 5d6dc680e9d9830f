"""Clips of visits: the frames of a video from when to when somebody is seen, with a box around them."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from reidkit.atomic import not_written
from reidkit.errors import DataError, MissingFileError
from reidkit.video.clock import FALLBACK_RATE
from reidkit.video.encode import write_video
from reidkit.video.frames import (
    VideoFile,
    decoded_frames,
    import_av,
    open_container,
    upright,
    video_stream,
)
from reidkit.video.piece import pieces_of_video
from reidkit.video.record import is_name, read_record
from reidkit.video.visit_words import visit_chance

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from reidkit.video.piece import Piece
    from reidkit.video.record import Record
    from reidkit.video.visits import Visit, Visits

    Moments = Generator[tuple[float, Callable[[], NDArray[np.uint8]]], None, None]
    """The second of each frame, and what makes its pixels."""

MARGIN = 1.0
"""Seconds that a clip shows before and after a visit."""

STEP_BACK = 4.0
"""Seconds before a place at which an earlier key frame is looked for first, and then twice as many."""

RGB = (255, 176, 0)
LARGEST_SIDE = 1280


class Marked(NamedTuple):
    """A track to be marked in frames, and what is written above its box."""

    piece: Piece
    words: str


@dataclass(frozen=True)
class Clips:
    """The files that were written, and what could not be: a sentence each."""

    files: tuple[Path, ...]
    problems: tuple[str, ...]


class TrackedVideo(NamedTuple):
    """A tracked video: what is known of it, and its file."""

    record: Record
    place: Path
    file: Path

    @property
    def rate(self) -> float:
        """Frames a second of its clips."""
        return self.record.rate or FALLBACK_RATE

    def frames(self, first: float, last: float) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        """Yield the frames from one second to another, as they were counted when it was tracked."""
        return _frames(self.file, first, last, seek=not self.record.moved)


def tracked_video(folder: Path, video: str) -> TrackedVideo:
    """Return what is known of a video by its name in DIR, the folder that `reidkit video track` has made.

    Raises:
        MissingFileError: it is not there, or its file is not.
        DataError: it was live or is a folder of images; its record is damaged.
    """
    place = folder / video
    if not is_name(video) or not place.is_dir():
        raise MissingFileError(f"{video} is not in {folder}: name the folder that reidkit video track has made")
    record = read_record(place)
    if record.source.live or not record.source.path:
        raise DataError(f"{video} was live input, of which no video is kept")
    file = folder / record.source.path
    if file.is_dir():
        raise DataError(f"{video} is a folder of images, of which no clips are made")
    if not file.is_file():
        raise MissingFileError(f"{video}: its file {file} is not there: bring it back, or track it where it is now")
    return TrackedVideo(record, place, file)


def write_clips(
    visits: Visits | Sequence[Visit],
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    margin: float = MARGIN,
) -> Clips:
    """Write a clip of each visit into the folder `out`, with a box around the person.

    A visit whose video is not there is named, and the rest goes on.

    Args:
        visits: What `find_visits` found.
        folder: DIR, the folder that `reidkit video track` has made.
        out: The folder for the clips, which are called RANK-CAMERA-VIDEO-SECOND.mp4.
        overwrite: Replace files of these names.
        margin: Seconds that are shown before and after each visit.

    Raises:
        DataError: a file is there already; `out` cannot be written.
    """
    folder, out = Path(folder), Path(out)
    names = {visit.rank: out / _clip_name(visit) for visit in visits if visit.video is not None}
    _refuse_existing(names.values(), overwrite)
    files, problems = [], []
    for visit in visits:
        try:
            files.append(_write_clip(visit, folder, names.get(visit.rank), margin))
        except (DataError, MissingFileError) as error:
            problems.append(str(error))
    return Clips(tuple(files), tuple(dict.fromkeys(problems)))


def write_marked(
    visits: Visits | Sequence[Visit],
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> Clips:
    """Write each video in which there is a visit into the folder `out`, whole, with boxes around the person.

    Args:
        visits: What `find_visits` found.
        folder: DIR, the folder that `reidkit video track` has made.
        out: The folder for the videos.
        overwrite: Replace files of these names.

    Raises:
        DataError: a file is there already; `out` cannot be written.
    """
    folder, out = Path(folder), Path(out)
    by_video: dict[str, list[Visit]] = {}
    for visit in visits:
        if visit.video is not None:
            by_video.setdefault(visit.video, []).append(visit)
    names = {video: out / f"{video}-marked.mp4" for video in by_video if is_name(video)}
    _refuse_existing(names.values(), overwrite)
    files, problems = [], []
    for video, some in by_video.items():
        try:
            found = tracked_video(folder, video)
            marks = [mark for visit in some for mark in _marks(visit, found)]
            _make(out)
            write_video(names[video], _marked(found.frames(-1.0, math.inf), marks), rate=found.rate)
            files.append(names[video])
        except (DataError, MissingFileError) as error:
            problems.append(str(error))
    return Clips(tuple(files), tuple(dict.fromkeys(problems)))


def clip_bytes(
    folder: Path,
    video: str,
    track: str,
    *,
    seen: tuple[float, float] | None = None,
    margin: float = 2.0,
    longest: float = 20.0,
) -> bytes:
    """Return an MP4 file that shows one track of a tracked video with its box.

    Args:
        folder: DIR, the folder that `reidkit video track` has made.
        video: The name of the video in it.
        track: The name of the track, as `Piece.key`.
        seen: From which second to which it lasts, as a gallery says; another track of its name is refused then.
        margin: Seconds before and after it.
        longest: Of a longer track, so many seconds around its best crop are shown.

    Raises:
        DataError: there is no such track; the video cannot be read.
        MissingFileError: the video is not there.
    """
    import tempfile

    found = tracked_video(folder, video)
    piece = _pieces(found, {track}).get(track)
    if piece is None or (seen and not np.allclose(piece.seconds[[0, -1]], seen, rtol=0, atol=1e-3)):
        raise DataError(f"{video} has no track {track}: it was tracked anew since the gallery was filled")
    first, last = float(piece.seconds[0]) - margin, float(piece.seconds[-1]) + margin
    if last - first > longest:
        best = float(piece.seconds[piece.best[0] if piece.best else 0])
        first = min(max(first, best - longest / 2), last - longest)
        last = first + longest
    with tempfile.TemporaryDirectory(prefix="reidkit-clip-") as temporary:
        path = Path(temporary) / "clip.mp4"
        frames = _marked(found.frames(first, last), [Marked(piece, "")])
        write_video(path, frames, rate=found.rate)
        return path.read_bytes()


def _write_clip(visit: Visit, folder: Path, path: Path | None, margin: float) -> Path:
    if path is None or visit.video is None or visit.first is None or visit.last is None:
        raise DataError(f"{visit.best.key} is from no video: there is no clip of it")
    found = tracked_video(folder, visit.video)
    _make(path.parent)
    frames = _marked(found.frames(visit.first - margin, visit.last + margin), _marks(visit, found))
    write_video(path, frames, rate=found.rate)
    return path


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(folder, error, "another folder") from None


def _marks(visit: Visit, found: TrackedVideo) -> list[Marked]:
    keys = {hit.track or hit.key for hit in visit.hits}
    return [Marked(piece, f"{visit.rank}: {visit_chance(visit)}") for piece in _pieces(found, keys).values()]


def _pieces(found: TrackedVideo, keys: set[str]) -> dict[str, Piece]:
    return {piece.key: piece for piece in pieces_of_video(found.place, found.record) if piece.key in keys}


def _frames(file: Path, first: float, last: float, *, seek: bool = True) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Yield the frames between two seconds of a video, as `VideoFile` counts them, beginning near the first one.

    Where `seek` is not set, the file is read from its beginning, as its own times do not lead to these seconds.
    """
    with closing(_from_before(file, first) if seek else _from_begin(file)) as frames:
        for second, image in frames:
            if second > last + 1e-6:
                return
            if second >= first - 1e-6:
                yield second, image()


def _from_before(file: Path, first: float) -> Moments:
    """Yield frames from a second on, or from shortly before it.

    A seek in a file without an index, as MPEG-TS has none, may lead behind the place that was asked for, and a bare
    stream knows none: then an earlier place is tried, and at last the beginning.
    """
    back = 0.0
    while back < first:
        with closing(_from_key_frame(file, first - back)) as frames:
            begin = next(frames, None)
            if begin is not None and begin[0] <= first + 1e-6:
                yield begin
                yield from frames
                return
        back = 2 * back or STEP_BACK
    yield from _from_begin(file)


def _from_begin(file: Path) -> Moments:
    with closing(VideoFile(file)) as source:
        for frame in source:
            yield frame.second, partial(np.asarray, frame.image)


def _from_key_frame(file: Path, first: float) -> Moments:
    """Yield frames from the last key frame before a second on; seconds count from the first frame of the video.

    That is the first one that can be decoded: a recording may begin between two key frames, where its stream begins
    earlier. There are none where the file cannot be sought in. Packets that cannot be decoded are passed over, as they
    were when the video was tracked.
    """
    with closing(open_container(f"file:{file.absolute()}", str(file), {"protocol_whitelist": "file"})) as container:
        stream = video_stream(container, str(file))
        zero = next((float(each.time) for each in decoded_frames(container, stream, []) if each.time is not None), 0.0)
        try:
            container.seek(int((first + zero) / stream.time_base), stream=stream)
        except (import_av().error.FFmpegError, OSError):
            return
        for decoded in decoded_frames(container, stream, []):
            if decoded.time is not None:
                yield float(decoded.time) - zero, partial(upright, decoded, str(file))


def _marked(
    frames: Iterator[tuple[float, NDArray[np.uint8]]], marks: Sequence[Marked]
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Yield frames with boxes, as large as a player needs them, from second 0 on."""
    zero: float | None = None
    for second, pixels in frames:
        zero = second if zero is None else zero
        boxes = [(box, mark.words) for mark in marks if (box := _box_at(mark.piece, second)) is not None]
        scale = min(1.0, LARGEST_SIDE / max(pixels.shape[:2]))
        yield second - zero, draw_boxes(pixels, boxes, scale)


def _box_at(piece: Piece, second: float) -> tuple[float, float, float, float] | None:
    """Return the box of a track at a second, between two of its frames by proportion; None before and after it."""
    if not piece.seconds[0] - 1e-3 <= second <= piece.seconds[-1] + 1e-3:
        return None
    x1, y1, x2, y2 = (float(np.interp(second, piece.seconds, piece.boxes[:, side])) for side in range(4))
    return x1, y1, x2, y2


def draw_boxes(
    pixels: NDArray[np.uint8], boxes: Sequence[tuple[tuple[float, float, float, float], str]], scale: float = 1.0
) -> NDArray[np.uint8]:
    """Draw boxes (x1, y1, x2, y2) with a few words above each into a frame [H, W, 3], scaled before; a new array."""
    image = Image.fromarray(pixels)
    if scale < 1:
        size = max(2, round(image.width * scale)), max(2, round(image.height * scale))
        image = image.resize(size, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(max(12, image.height // 22))
    for box, words in boxes:
        x1, y1, x2, y2 = (side * scale for side in box)
        draw.rectangle((x1 - 3, y1 - 3, x2 + 3, y2 + 3), outline=(0, 0, 0), width=1)
        draw.rectangle((x1 - 2, y1 - 2, x2 + 2, y2 + 2), outline=RGB, width=2)
        if words:
            left, top, right, bottom = draw.textbbox((0, 0), words, font=font)
            at = (min(max(0.0, x1 - 2), image.width - (right - left) - 6), max(0.0, y1 - (bottom - top) - 10))
            draw.rectangle((*at, at[0] + right - left + 6, at[1] + bottom - top + 6), fill=RGB)
            draw.text((at[0] + 3 - left, at[1] + 3 - top), words, fill=(0, 0, 0), font=font)
    return np.asarray(image)


def _clip_name(visit: Visit) -> str:
    parts = (f"{visit.rank:02d}", visit.camera or "", visit.video or "", f"{visit.first or 0.0:.0f}s")
    safe = ["".join(c if c.isalnum() or c in "-_." else "_" for c in part).strip(".")[:60] for part in parts]
    return "-".join(dict.fromkeys(part for part in safe if part)) + ".mp4"


def _refuse_existing(paths: Iterable[Path], overwrite: bool) -> None:
    for path in paths:
        if not overwrite and path.exists():
            raise DataError(f"{path} is there already: name another folder, or pass overwrite", argument="overwrite")
