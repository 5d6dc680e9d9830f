"""One command as several processes: `reidkit train --processes N`, where torchrun is not at hand.

Each process is the same command with torchrun's variables in its environment. The first one writes to the terminal;
the messages of the others go to a file, which is read when one of them is the first to fail.

`torch.distributed.run` starts processes too, but it ends in a traceback with status 1 for every failure: the one line
of the process that failed, 2 for wrong usage and 130 for Ctrl-C would be lost, and so would the five seconds in which
the others save their state. It also takes 1.9 CPU seconds and 219 MB in the parent, where this module takes 0.2 s and
25 MB with all of the command line.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import IO, TYPE_CHECKING

from reidkit.errors import PeerError, RunError, UsageError
from reidkit.workers import threads_here

if TYPE_CHECKING:
    from types import FrameType

POLL = 0.1
GRACE = 5.0
"""Seconds that the others get to end by themselves, after one has ended badly, before they are killed."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PARENT_DEATH = 1  # PR_SET_PDEATHSIG of Linux
_CHILD = "REIDKIT_PROCESS"


def shared(count: int) -> bool:
    """Return whether `run_as` is to be called: several are asked for, and nobody has started them yet.

    Raises:
        UsageError: another number of them has been started.
    """
    started = os.environ.get("WORLD_SIZE", "").strip()
    if count > 1 and started and started != str(count):
        raise UsageError(
            f"--processes {count}, but WORLD_SIZE is {started[:40]!a} in the environment: leave --processes out "
            "under torchrun, or unset WORLD_SIZE"
        )
    return count > 1 and not started


def run_as(count: int, resume: str) -> int:
    """Run this command as `count` processes, and return the exit status of the first one.

    Raises:
        RunError: a process has ended without a word of its own; `resume` is the command to go on with.
    """
    with tempfile.TemporaryFile() as quiet:
        port = _free_port()
        crew = _Crew([_start(rank, count, port, quiet) for rank in range(count)])
        with crew:
            failed = crew.wait()
        if failed is None:
            return 0
        status = crew.processes[failed].returncode
        if failed == 0 and status > 0:
            return status
        raise RunError(_reason(failed, count, status, _last_line(quiet), resume))


def is_child() -> bool:
    """Return whether `run_as` has started this process."""
    return _CHILD in os.environ


def as_child() -> None:
    """In a process of `run_as`: end when whoever started it is gone, as after a signal, with the state saved."""
    if is_child() and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGTERM)


class _Crew:
    """The processes, while somebody watches over them: signals are passed on to each, once."""

    def __init__(self, processes: list[subprocess.Popen[bytes]]) -> None:
        self.processes = processes
        self._before = {number: signal.getsignal(number) for number in SIGNALS}

    def __enter__(self) -> _Crew:
        for number, handler in self._before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._pass_on)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait(self) -> int | None:
        """Wait for the end of all. The number of the process to blame, or None where all went well.

        One that was only left alone by another is not to blame.
        """
        ended_badly: list[int] = []
        until = float("inf")
        while any(process.poll() is None for process in self.processes) and time.monotonic() < until:
            bad = [i for i, process in enumerate(self.processes) if process.poll()]
            if bad and not ended_badly:
                until = time.monotonic() + GRACE
            ended_badly += [i for i in bad if i not in ended_badly]
            time.sleep(POLL)
        ended_badly += [i for i, process in enumerate(self.processes) if process.poll() and i not in ended_badly]
        alone = [i for i in ended_badly if self.processes[i].returncode == PeerError.status]
        blamed = [i for i in ended_badly if i not in alone] or alone
        return min(blamed, key=lambda i: (self.processes[i].returncode > 0 and i > 0, i)) if blamed else None

    def _pass_on(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)


def _start(rank: int, count: int, port: int, quiet: IO[bytes]) -> subprocess.Popen[bytes]:
    environment = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": str(max(1, threads_here() // count)),
        _CHILD: "1",
    }
    silent = rank > 0
    return subprocess.Popen(  # noqa: S603  # this very command again
        [sys.executable, "-m", "reidkit", *sys.argv[1:]],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL if silent else None,
        stderr=quiet if silent else None,
        start_new_session=True,  # Ctrl-C reaches the parent alone, who passes it on
    )


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _last_line(quiet: IO[bytes]) -> str:
    quiet.seek(0)
    lines = quiet.read().decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("reidkit: ") if lines else ""


def _reason(rank: int, count: int, status: int, last: str, resume: str) -> str:
    if status > 0 and last:
        return last
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    return f"process {rank} of {count} {how}, and the others were ended; go on with: {resume}"
