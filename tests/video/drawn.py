"""Videos that are drawn for tests."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SIZE = (160, 120)


def plain(number: int) -> NDArray[np.uint8]:
    """A dark frame whose top is white and whose left is red, and which grows lighter."""
    image = np.full((SIZE[1], SIZE[0], 3), number * 4 % 256, np.uint8)
    image[:, :40] = (220, 0, 0)
    image[:30] = 255
    return image


def write_video(
    path: Path,
    count: int = 40,
    *,
    draw: Callable[[int], NDArray[np.uint8]] = plain,
    times: Sequence[float] | None = None,
    codec: str = "mpeg4",
    metadata: Mapping[str, str] | None = None,
    sound: float = 0.0,
    end: float | None = None,
) -> Path:
    """Write frames 0 to `count`, at `times` in seconds or ten a second, with so many seconds of silence.

    The last frame is shown until `end`.
    """
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata or {})
        stream: Any = container.add_stream(codec, rate=10)
        stream.height, stream.width = draw(0).shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.bit_rate = 2_000_000
        stream.codec_context.time_base = Fraction(1, 1000)
        silence: Any = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        packets = []
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(draw(number), format="rgb24")
            frame.pts = round(1000 * (times[number] if times else number / 10))
            frame.time_base = Fraction(1, 1000)
            packets += stream.encode(frame)
        packets += stream.encode()
        if end is not None:
            last = max(packets, key=lambda packet: packet.pts)
            last.duration = round(1000 * end) - last.pts
        container.mux(packets)
        if sound:
            container.mux([packet for some in _silent(sound) for packet in silence.encode(some)] + silence.encode())
    return path


def _silent(seconds: float) -> Iterator[av.AudioFrame]:
    """Pieces of silence, 1,024 samples each."""
    for at in range(0, round(8000 * seconds), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, at, Fraction(1, 8000)
        yield frame


def turned(source: Path, path: Path, matrix: tuple[int, int, int, int] = (0, 1, -1, 0)) -> Path:
    """Write an MP4 as a telephone does that is held upright: its matrix says to turn it clockwise by a quarter.

    Another matrix (a, b, c, d) shows what lies at x, y at ax + cy, bx + dy.
    """
    content = bytearray(source.read_bytes())
    at = content.index(b"tkhd") + 4
    at += 4 + (32 if content[at] else 20) + 16
    a, b, c, d = (each << 16 for each in matrix)
    shift = [-min(0, x * SIZE[0]) - min(0, y * SIZE[1]) for x, y in ((a, c), (b, d))]
    values = (a, b, 0, c, d, 0, *shift, 1 << 30)
    content[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
    path.write_bytes(content)
    return path


def write_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=8000, layout="mono")
        container.mux([packet for frame in _silent(0.1) for packet in stream.encode(frame)] + stream.encode())
    return path
