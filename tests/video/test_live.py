"""Live input: what is read, connected to again and saved, and that passwords are told to nobody."""

from __future__ import annotations

import signal
import threading
import time
from datetime import UTC, datetime
from fractions import Fraction
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import av
import pytest

from reidkit.encoder import as_image_encoder
from reidkit.errors import DataError
from reidkit.video import TrackOptions, read_pieces, track
from reidkit.video import live as live_module
from reidkit.video.live import LiveInput, is_live, shown_address
from reidkit.video.piece_maker import PieceOptions
from reidkit.video.record import Record, Settings, Source
from reidkit.video.trackers import TrackerOptions
from reidkit.video.video_run import Common, VideoRun
from tests.gallery.made import Colours
from tests.video.drawn import write_video
from tests.video.walkers import ByColour, draw

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("rtsp://admin:p%40ss@10.0.0.5:554/hall?token=abc#x", "rtsp://10.0.0.5:554/hall"),
        ("RTSP://admin:secret@cam/", "rtsp://cam"),
        ("http://user@[::1]:80/a", "http://[::1]:80/a"),
        ("http://a:b@c:port/x", "http://..."),
        ("rtsp://admin:12/34@10.0.0.5/hall", "rtsp://..."),  # a password that should have been written as 12%2F34
        ("rtsp://admin:12#34@10.0.0.5/hall", "rtsp://..."),
        ("rtsp://cam:554/user=admin&password=secret&channel=1&stream=0.sdp?", "rtsp://cam:554"),
        ("rtsp://cam/live/user=admin_password=secret/1", "rtsp://cam/live"),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_addresses_are_shown_without_what_may_be_secret(given: str, shown: str) -> None:
    assert is_live(given)
    assert shown_address(given) == shown


@pytest.mark.parametrize(
    "given",
    ["hall.mp4", "rtsp.mp4", "a/http:/b", "file:///etc/passwd", "concat:a|b", "/dev/shm/v.mp4"],  # noqa: S108
)
def test_files_are_no_live_input(given: str) -> None:
    assert not is_live(given)


class Connection:
    """A container of `count` frames, `apart` milliseconds, that then breaks off; they wait until they are taken."""

    def __init__(self, count: int, taken: threading.Semaphore, apart: int = 1) -> None:
        self._count, self._taken, self._apart, self.closed = count, taken, apart, False

    def demux(self, _: object) -> Iterator[Any]:
        for number in range(self._count):
            self._taken.acquire()
            frame = av.VideoFrame.from_ndarray(draw(number), format="rgb24")
            frame.pts, frame.time_base = number * self._apart, Fraction(1, 1000)
            yield Packet(frame)

    def close(self) -> None:
        self.closed = True


class Packet:
    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def decode(self) -> list[Any]:
        return [self._frame]


def test_what_breaks_off_is_connected_to_again_and_frames_go_on() -> None:
    taken, attempts = threading.Semaphore(0), []

    def connect(source: str) -> tuple[Any, Any]:
        attempts.append(source)
        if len(attempts) == 2:
            raise DataError("the camera is off")
        return Connection(2, taken), None

    live = LiveInput("rtsp://cam/1", connect=connect, pauses=(0.001, 0.002))
    frames = iter(live)
    got = []
    for _ in range(5):
        taken.release()
        got.append(next(frames))
    taken.release(10)
    live.close()
    assert len(attempts) >= 4  # two frames, one failure, two frames, and one of the third connection
    assert [frame.number for frame in got] == [1, 2, 3, 4, 5]
    seconds = [frame.second for frame in got]
    assert seconds == sorted(seconds)
    assert len(set(seconds)) == 5


def seconds_of(live: LiveInput, taken: threading.Semaphore, count: int) -> list[float]:
    """Take so many frames, one after the other, and close the input."""
    frames, seconds = iter(live), []
    for _ in range(count):
        taken.release()
        seconds.append(next(frames).second)
    taken.release(10)
    live.close()
    return seconds


@pytest.mark.parametrize("apart", [5000, -20])
def test_seconds_rise_where_the_times_of_a_stream_run_ahead_or_back(apart: int) -> None:
    """A camera may send what it has kept at once, and break off; or set its clock."""
    taken = threading.Semaphore(0)
    live = LiveInput("rtsp://cam/1", connect=lambda _: (Connection(3, taken, apart), None), pauses=(0.001,))
    seconds = seconds_of(live, taken, 7)
    assert all(before < after for before, after in pairwise(seconds))


def test_a_time_ahead_of_the_clock_does_not_move_those_that_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    """One frame a second, of which one says that it is eight seconds later: all that followed were late by as much."""
    taken, now = threading.Semaphore(0), [0.0]
    monkeypatch.setattr(live_module, "time", SimpleNamespace(monotonic=lambda: now[0]))

    class Ahead(Connection):
        def demux(self, stream: object) -> Iterator[Any]:
            for number, packet in enumerate(super().demux(stream)):
                packet.decode()[0].pts += 8000 * (number == 2)
                yield packet

    live = LiveInput("rtsp://cam/1", connect=lambda _: (Ahead(20, taken, 1000), None))
    frames, seconds = iter(live), []
    for number in range(14):
        now[0] = float(number)
        taken.release()
        seconds.append(next(frames).second)
    taken.release(20)
    live.close()
    assert seconds == pytest.approx([0, 1, 10, *(10 + each / 1000 for each in range(1, 9)), 11, 12, 13])


@pytest.fixture
def on_any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the times of a stream, however long the frames take on a slow machine."""
    monkeypatch.setattr("reidkit.video.live.PATIENCE", 600.0)


@pytest.mark.usefixtures("on_any_machine")
def test_what_was_sent_while_a_connection_was_opened_was_seen_then() -> None:
    """FFmpeg looks at some seconds of a stream before it gives the first frame, and then gives all at once."""
    taken, asked = threading.Semaphore(0), list[datetime]()

    def connect(_: str) -> tuple[Any, Any]:
        asked.append(datetime.now(UTC))
        time.sleep(0.5)
        return Connection(5, taken, 100), None

    live = LiveInput("rtsp://cam/1", connect=connect, pauses=(0.001,))
    assert seconds_of(live, taken, 5) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert live.began <= asked[0]


def test_a_connection_from_which_nothing_was_received_is_closed() -> None:
    connection = Connection(1, threading.Semaphore(0))
    LiveInput("rtsp://cam/1", connect=lambda _: (connection, None)).close()
    assert connection.closed


def test_a_file_behind_an_address_is_no_camera(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        address = f"http://admin:secret@127.0.0.1:{server.server_port}/v.mp4"
        done = track([address], tmp_path / "out", detector=ByColour(), options=TrackOptions(seconds=0.3))
        server.shutdown()
        thread.join()
    shown = address.replace("admin:secret@", "")
    assert done.failed == [(shown, f"{shown} is a file of 4.0 s, and no camera: download it, and give the file")]


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Be silent."""


def test_the_first_failure_to_connect_is_an_error() -> None:
    with pytest.raises(DataError, match=r"rtsp://127.0.0.1:1/x cannot be read as a video .*: check address") as caught:
        LiveInput("rtsp://user:secret@127.0.0.1:1/x?key=hidden")
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A camera that sends 40 frames and breaks off, to each who asks; its address, and who asked."""
    content = write_video(tmp_path / "v.ts", draw=draw, codec="libx264").read_bytes()
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "Authorization" not in self.headers:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                self.end_headers()
                return
            asked.append(self.headers["Authorization"])
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Be silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://admin:secret@127.0.0.1:{server.server_port}/hall.ts?key=hidden", asked
        server.shutdown()
        thread.join()


def test_a_camera_over_http_until_it_is_stopped_with_all_saved(
    camera: tuple[str, list[str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    address, asked = camera

    class Stopped(ByColour):
        """Ctrl-C after a while."""

        def detect(self, images: Any) -> Any:
            if self.seen >= 4:
                raise KeyboardInterrupt
            return super().detect(images)

    done = track([address], tmp_path / "out", detector=Stopped(), model=Colours(), options=TrackOptions())
    (record,) = done.records
    assert asked[0].startswith("Basic ")  # the password is used
    assert (record.finished, record.source.live, record.start_from) == (True, True, "clock")
    assert record.source.name.endswith("/hall.ts")
    assert record.camera == "hall.ts"
    assert record.video.startswith("hall.ts-2")
    assert record.counts.looked_at == 4
    read_pieces(tmp_path / "out")
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".ts")
    assert b"secret" not in written
    assert b"hidden" not in written
    assert "secret" not in "".join(capfd.readouterr())


def test_live_input_ends_when_its_time_is_over(camera: tuple[str, list[str]], tmp_path: Path) -> None:
    done = track([camera[0]], tmp_path / "out", detector=ByColour(), options=TrackOptions(seconds=0.3))
    assert done.failed == []
    assert done.records[0].finished


@pytest.mark.usefixtures("on_any_machine")
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_pieces_are_embedded_loses_none_of_them(times: int, tmp_path: Path) -> None:
    """The second one is not waited for: what is embedded at that time is lost, and all that was written stays.

    Pieces of live input are embedded when they end, and not when there are enough of them.
    """
    taken = threading.Semaphore(1)

    class NextFrame(ByColour):
        def detect(self, images: Any) -> Any:
            taken.release()
            return super().detect(images)

    class Stopped(Colours):
        def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
            signal.raise_signal(signal.SIGINT)
            if times == 2:
                taken.release(100)  # so that the thread that receives can end
                signal.raise_signal(signal.SIGINT)
            return super().encode(images)

    live = LiveInput("rtsp://cam/1", connect=lambda _: (Connection(30, taken, 100), None))
    source, settings = Source(name="cam", digest="0" * 16, live=True), Settings(camera="cam")
    options = PieceOptions(longest=1.0, tracker=TrackerOptions(tracker="iou"))
    common = Common(folder=tmp_path, options=options, encoder=as_image_encoder(Stopped()))
    run = VideoRun(common, Record(video="cam", source=source, settings=settings), NextFrame(), None)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run.read(live)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    record = run.finish(live)
    taken.release(100)
    live.close()
    pieces = read_pieces(tmp_path)
    assert len(pieces) == record.counts.pieces == (2 if times == 1 else 0)
    assert all(piece.feature is not None and len(piece) == 11 for piece in pieces)
