"""Frames of a camera as they come: an address (rtsp, http) or a device, connected to again when it breaks off.

Whoever looks at the frames may be slower than the camera: a thread decodes all of them and keeps the newest one, so
that what is looked at is never old and memory does not grow.
"""

from __future__ import annotations

import logging
import re
import signal
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from reidkit.errors import DataError
from reidkit.video.frames import About, Frame, Sampling, decoded_frames, open_container, upright, video_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

log = logging.getLogger(__name__)

SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "srt", "udp", "rtp")
PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds to wait before the next attempt to connect: each longer than the one before, the last one again and again."""

PATIENCE = 10.0
"""Seconds without data after which a connection counts as broken off."""

_ADDRESS = re.compile(rf"(?:{'|'.join(SCHEMES)})://", re.IGNORECASE)


def is_live(source: str) -> bool:
    """Return whether a source is an address or a device, and no file; /dev/shm holds files."""
    device = source.startswith("/dev/") and not source.startswith("/dev/shm/")  # noqa: S108 (which is not written to)
    return device or bool(_ADDRESS.match(source))


def shown_address(source: str) -> str:
    """Return an address without what may be secret: user, password, query and fragment, and a path with values.

    >>> shown_address("rtsp://admin:secret@10.0.0.5:554/hall?token=abc")
    'rtsp://10.0.0.5:554/hall'
    """
    if not _ADDRESS.match(source):
        return source
    nothing = f"{source.partition('://')[0]}://..."
    try:
        parts = urlsplit(source)
        host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    except ValueError:
        return nothing
    if "@" in parts.path + parts.query + parts.fragment:  # a password with a /, ? or # that was not written as %2F
        return nothing
    path = re.split("/[^/]*=", parts.path)[0].rstrip("/")  # some recorders take /user=admin&password=secret
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{path}"


class LiveInput:
    """The frames of a camera, until `seconds` are over or the program is stopped.

    The second of a frame counts from when the first connection was asked for, on the machine's own clock and, within a
    connection, by the times of the stream; breaks are gaps in it.

    Args:
        source: An address or a device.
        every: The least seconds from one frame that is looked at to the next.
        seconds: When to end; None: never.
        connect: Opens a source: a container and its stream. For tests, and for readers of one's own.
        pauses: Seconds before each attempt to connect again.

    Raises:
        DataError: the first attempt to connect fails. Later ones are made again and again.
    """

    def __init__(
        self,
        source: str,
        every: float = 0.0,
        *,
        seconds: float | None = None,
        connect: Callable[[str], tuple[Any, Any]] | None = None,
        pauses: tuple[float, ...] = PAUSES,
    ) -> None:
        self.about, self.read, self.shown = About(), 0, shown_address(source)
        self._source, self._seconds, self._pauses = source, seconds, pauses
        self._sampling = Sampling(every)
        self._connect = connect or connect_to
        self.began, self._zero = datetime.now(UTC), time.monotonic()
        self._opened: tuple[Any, Any] | None = self._connect(source)
        self._newest: tuple[int, float, Any] | None = None
        self._last = -1.0
        self._changed, self._ended = threading.Condition(), threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._receive, name="camera", daemon=True)

    def __iter__(self) -> Iterator[Frame]:
        self._thread.start()
        while (newest := self._take()) is not None:
            number, second, decoded = newest
            yield Frame(number, second, upright(decoded, self.shown))

    def end(self) -> None:
        """Give no more frames; may be called at any time, by a signal too."""
        self._ended.set()

    def close(self) -> None:
        """Stop receiving."""
        self.end()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=2 * PATIENCE)
        elif self._opened:  # nothing was received
            self._opened[0].close()

    def _take(self) -> tuple[int, float, Any] | None:
        """Wait for a frame that was not taken yet; None at the end."""
        with self._changed:
            while self._newest is None and not self._over():
                self._changed.wait(timeout=0.2)
            newest, self._newest = self._newest, None
        if self._failure and newest is None:
            raise self._failure
        return None if self._over() and newest is None else newest

    def _over(self) -> bool:
        return self._ended.is_set() or (self._seconds is not None and time.monotonic() - self._zero >= self._seconds)

    def _receive(self) -> None:
        """Decode, and connect again after breaks, until the end."""
        attempt, asked = 0, 0.0
        while not self._over():
            try:
                container, stream = self._opened or self._connect(self._source)
                self._opened = None
                if self._receive_from(container, stream, asked):
                    attempt = 0
            except DataError as error:
                log.info("%s", error)
            except Exception as error:  # of the thread, for the one that reads
                self._failure = error
                self._ended.set()
                return
            if self._over():
                return
            pause = self._pauses[min(attempt, len(self._pauses) - 1)]
            attempt += 1
            log.warning("%s broke off: connecting again in %g s", self.shown, pause)
            self._ended.wait(pause)
            asked = time.monotonic() - self._zero

    def _receive_from(self, container: Any, stream: Any, asked: float) -> int:
        """Keep the newest frame of a connection until it breaks off; how many came.

        The first one was sent soon after the second at which the connection was asked for: FFmpeg keeps what comes
        while it looks at a stream, for seconds, and gives it out at once. It would be too late by so much.
        """
        came, offset = 0, 0.0
        try:
            for decoded in decoded_frames(container, stream, []):
                now = time.monotonic() - self._zero
                stamp = decoded.time
                if stamp is not None and not came:
                    offset = asked - stamp
                second = now if stamp is None else stamp + offset
                # The stream's own times are even; they are trusted while they rise, and keep up with the clock.
                if second <= self._last or abs(second - now) > PATIENCE:
                    offset = now - (stamp or 0.0)  # and of the next ones, whatever has to be added to this one
                    second = max(now, self._last + 0.001)
                self._last, came, self.read = second, came + 1, self.read + 1
                if self._sampling.takes(second):
                    with self._changed:
                        self._newest = (self.read, second, decoded)
                        self._changed.notify_all()
                if self._over():
                    break
        finally:
            container.close()
        return came


@contextmanager
def ended_by_signals(live: LiveInput) -> Iterator[None]:
    """While entered, what would raise KeyboardInterrupt ends the input instead, as the end of its time would.

    So whatever is done with the last frame is done to its end. A second signal acts as it did before. Beside the main
    thread nothing changes.
    """
    before: dict[int, Any] = {}

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def end(number: int, frame: FrameType | None) -> None:
        put_back()
        try:
            before[number](number, frame)
        except KeyboardInterrupt:
            live.end()

    if threading.current_thread() is threading.main_thread():
        numbers = (signal.SIGINT, signal.SIGTERM)
        before |= {number: signal.getsignal(number) for number in numbers if callable(signal.getsignal(number))}
        for number in before:
            signal.signal(number, end)
    try:
        yield
    finally:
        put_back()


def connect_to(source: str) -> tuple[Any, Any]:
    """Connect to a camera.

    Raises:
        DataError: it does not answer, sends no video, or is a file. The address is named without its password.
        UsageError: PyAV is not installed.
    """
    shown = shown_address(source)
    if source.startswith("/dev/"):
        remedy = "give its address, or check that this PyAV was built with devices"
        container = open_container(source, shown, {}, remedy=remedy, format="v4l2")
    else:
        # What a server sends may name other addresses, and no files of this machine.
        options = {"rtsp_transport": "tcp", "protocol_whitelist": "http,https,tcp,tls,rtp,rtsp,rtmp,srt,udp,crypto"}
        remedy = "check address, user and password, and that the camera is on"
        container = open_container(source, shown, options, remedy=remedy, timeout=(PATIENCE, PATIENCE))
    try:
        if source.lower().startswith("http"):
            _refuse_file(container, shown)
        return container, video_stream(container, shown)
    except BaseException:
        container.close()
        raise


def _refuse_file(container: Any, shown: str) -> None:
    """Refuse what has an end: it comes as fast as the network is, so that frames are skipped, and then comes again.

    Raises:
        DataError: it says how long it is.
    """
    if container.duration:
        seconds = container.duration / 1e6
        raise DataError(f"{shown} is a file of {seconds:.1f} s, and no camera: download it, and give the file")
