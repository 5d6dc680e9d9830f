"""A Milvus server of its own for tests and measurements, in a network namespace: `python -m benchmarks.milvus_server`.

The PyPI package `milvus` (2.3.5) listens on all interfaces, whatever its settings say. Here it runs where there is no
interface but the loopback, and a relay lets in what connects to one port of 127.0.0.1 outside. That needs Linux and the
right to make a namespace (root, or user namespaces), and a Python in whose environment the package is installed:

    python -m venv milvus && milvus/bin/pip install milvus==2.3.5
    python -m benchmarks.milvus_server --python milvus/bin/python --folder data

The address is printed when the server answers. It is killed with this program, and its folder must then not be used
again within a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000
INSIDE = 19530
PATIENCE = 180.0
"""Seconds in which the server must answer; it takes twenty on an idle machine."""

SETTINGS = ("log.level=error", "common.retentionDuration=0")


def reason_not_to() -> str:
    """Return why no namespace can be made here; "" where one can."""
    if sys.platform != "linux":
        return "network namespaces are of Linux"
    trial = subprocess.run(
        [sys.executable, "-c", "from benchmarks.milvus_server import isolate; isolate()"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if trial.returncode == 0 else f"no network namespace can be made here: {trial.stderr.strip()[-100:]}"


def isolate() -> None:
    """Move this process into a network namespace of its own, with a loopback.

    Raises:
        OSError: it has not the right to.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NETWORK if os.geteuid() == 0 else NEW_NETWORK | NEW_USER):
        raise OSError(ctypes.get_errno(), "no new network namespace")
    with socket.socket() as handle:  # the loopback is down at first: set IFF_UP
        fcntl.ioctl(handle, 0x8914, struct.pack("16sh14x", b"lo", 1))


@contextlib.contextmanager
def serving(python: str, folder: Path, settings: Sequence[str] = ()) -> Iterator[str]:
    """Run a server over an empty folder; yield its address outside, as `127.0.0.1:40123`.

    `settings` are NAME=VALUE of the server's configuration.

    Everything of it is killed at the end.

    Raises:
        RuntimeError: it does not answer.
    """
    outside = socket.create_server(("127.0.0.1", 0))  # stays in the namespace in which it was made
    isolate()
    folder.mkdir(parents=True, exist_ok=True)
    _share_binaries(python, folder)
    command = [str(Path(python).parent / "milvus-server"), "--data", str(folder), "--proxy-port", str(INSIDE)]
    command += [word for setting in (*SETTINGS, *settings) for word in ("--extra-config", setting)]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    # Killed as this program was, too: whoever holds the other end of a pipe is gone then.
    words = f"import os, sys; sys.stdin.read(); os.killpg({server.pid}, 9)"
    watch = subprocess.Popen([sys.executable, "-c", words], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        _wait(server)
        Relay(outside, ("127.0.0.1", INSIDE))
        yield f"127.0.0.1:{outside.getsockname()[1]}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # after SIGTERM it may hold its ports for a quarter of an hour
        server.wait()
        watch.kill()
        watch.communicate()
        outside.close()


def _share_binaries(python: str, folder: Path) -> None:
    """Unpack the server once for an environment, and not for each folder."""
    unpacked = Path(python).parent.parent / "milvus-unpacked"
    unpacked.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (folder / "bin").symlink_to(unpacked.resolve())


def _wait(server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < until:
        if _answers():
            return
        time.sleep(0.2)
    raise RuntimeError(f"Milvus did not answer within {PATIENCE:.0f} s: see server.log in its folder")


def _answers() -> bool:
    try:
        with urllib.request.urlopen("http://127.0.0.1:9091/healthz", timeout=5) as answer:
            return b"OK" in answer.read()
    except OSError:
        return False


class Relay:
    """Connects whoever comes to a listening socket with a server."""

    def __init__(self, outside: socket.socket, target: tuple[str, int]) -> None:
        self._outside, self._target = outside, target
        self._ends: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End all connections, and take no more."""
        for end in (self._outside, *tuple(self._ends)):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._outside.close()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._outside.accept()
                inside = socket.create_connection(self._target)
            except OSError:
                return
            self._ends |= {caller, inside}
            for one, other in ((caller, inside), (inside, caller)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pump, args=[one, other], daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 18):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            self._ends.discard(end)  # the pump of the other direction ends both, too
            end.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="the Python in whose environment milvus is installed")
    parser.add_argument("--folder", required=True, type=Path, help="an empty folder for the server's data")
    parser.add_argument("--while-locked", type=Path, help="end when nobody holds a shared lock on this file any more")
    parser.add_argument("--forget", type=Path, help="remove this folder at the end")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the server")
    given = parser.parse_args()
    with serving(given.python, given.folder, given.set) as address:
        print(address, flush=True)
        while not (given.while_locked and _is_free(given.while_locked)):
            time.sleep(0.5)
    if given.forget:
        shutil.rmtree(given.forget, ignore_errors=True)


def _is_free(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


if __name__ == "__main__":
    main()
