"""Video files out of frames, by PyAV: H.264 where its FFmpeg has an encoder for it, else MPEG-4."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from reidkit.atomic import not_written
from reidkit.errors import DataError
from reidkit.video.clock import FALLBACK_RATE
from reidkit.video.frames import import_av

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

CODECS = {
    # With macroblock trees the same frames make other bytes now and then.
    "libx264": {"crf": "23", "preset": "veryfast", "mbtree": "0"},
    "libopenh264": {},
    "h264_videotoolbox": {},
    "mpeg4": {},
}
"""Encoders by preference, with their options. All but the last one make what browsers play."""

TICKS = 90_000
"""Ticks of a second: frames keep their times, also where these are not evenly spaced."""


def write_video(
    path: Path,
    frames: Iterable[tuple[float, NDArray[np.uint8]]],
    *,
    rate: float = FALLBACK_RATE,
    about: Mapping[str, str] | None = None,
    called: Path | None = None,
) -> int:
    """Write an MP4 file of frames; how many there were.

    The same frames make the same bytes with the same FFmpeg: one thread encodes. An unfinished file is removed.

    Args:
        path: The file, which is overwritten.
        frames: For each its time in seconds, rising, the first at 0 or later, and its pixels uint8 [H, W, 3], all of
            one size; the last row or column is cut off where there is an odd number of them.
        rate: Frames of a second, about, for players that ask.
        about: Metadata of the file, as `creation_time` and `title`.
        called: The file's name in errors, where its folder gets its own name later; None: `path`.

    Raises:
        DataError: no frame, or the file cannot be written.
        UsageError: PyAV is not installed.
    """
    count = 0
    with _writing(path, called or path) as container:
        container.metadata.update(about or {})
        stream, last = None, -1
        for seconds, pixels in frames:
            even = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
            stream = stream or _add_stream(container, even.shape, rate)
            last = max(last + 1, round(seconds * TICKS))
            container.mux(stream.encode(_frame(even, last)))
            count += 1
        if stream is None:
            raise DataError(f"{path} would be a video without a frame: give at least one")
        container.mux(stream.encode(None))
    return count


@contextmanager
def _writing(path: Path, called: Path) -> Iterator[Any]:
    av = import_av()
    try:
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            yield container
    except BaseException as error:
        with suppress(OSError):
            path.unlink()
        if isinstance(error, OSError) and not isinstance(error, DataError):
            raise not_written(called, error, "a file in a folder you can write to") from None
        raise


def _add_stream(container: Any, shape: tuple[int, ...], rate: float) -> Any:
    av = import_av()
    name = next(each for each in CODECS if each in av.codecs_available)
    stream = container.add_stream(name, rate=Fraction(rate).limit_denominator(1001), options=dict(CODECS[name]))
    stream.height, stream.width, stream.pix_fmt = shape[0], shape[1], "yuv420p"
    stream.codec_context.thread_count = 1
    # MPEG-4 has no more than 65,535 ticks a second.
    stream.codec_context.time_base = Fraction(1, TICKS if name != "mpeg4" else 60_000)
    return stream


def _frame(pixels: NDArray[np.uint8], ticks: int) -> Any:
    import numpy as np

    frame = import_av().VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    frame.pts, frame.time_base = ticks, Fraction(1, TICKS)
    return frame
