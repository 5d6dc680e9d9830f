"""Worker processes that end with the process that started them, also after Ctrl-C or a kill.

`map_in_processes` is for many small jobs. A `Worker` is for one long job in a process of its own, which is told to stop
and then saves what it has. `run_as` runs a whole command several times, as torchrun does.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, connection, get_context, parent_process
from typing import IO, TYPE_CHECKING, Any, TypeVar

from reidkit.errors import PeerError, RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from types import FrameType


Job = TypeVar("Job")
Result = TypeVar("Result")

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def map_in_processes(work: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Generator[Result, None, None]:
    """Yield the result of each job, in order; one worker is this process. Closing it waits for the jobs under way.

    Raises:
        BrokenProcessPool: a worker died.
    """
    if workers == 1:
        yield from map(work, jobs)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent)
    try:
        with _interrupts_held_back():
            results = pool.map(work, jobs)
        yield from results
    except BrokenProcessPool:
        # The pool ends the workers that it has, and waits for all: one that was just being started would wait, too.
        for child in active_children():
            child.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


class Worker:
    """A process with one job, and a thread that passes its lines on.

    It runs `python -m module`, which takes its job by `receive_job` and writes its lines to standard error; where it
    fails, the last line says why.
    """

    def __init__(self, module: str, job: Any, threads: int, line: Callable[[str], None]) -> None:
        """Start the process; `job` is sent as JSON, and `line` is called with each line, in a thread."""
        self._line, self._last = line, ""
        self._process = subprocess.Popen(  # noqa: S603 (a module of this Python)
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            env={**os.environ, **dict.fromkeys(THREADS, str(threads))},
            start_new_session=True,  # Ctrl-C reaches the parent alone, which then stops each worker once
        )
        _pipe(self._process.stdin).write(json.dumps(job) + "\n")
        _pipe(self._process.stdin).flush()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def ask_to_stop(self) -> None:
        """Let it save what it has and end; it is not waited for."""
        _pipe(self._process.stdin).close()

    def stop(self) -> None:
        """Let it save what it has, and wait for that."""
        self.ask_to_stop()
        self._process.wait()
        self._reader.join()

    def reason(self) -> str:
        """Why it failed, or "", once it has ended."""
        self._reader.join()
        _pipe(self._process.stdin).close()
        if self._process.returncode == 0:
            return ""
        if self._process.returncode < 0:  # it had no time for a last word
            return f"killed ({signal.strsignal(-self._process.returncode)}), perhaps for want of memory: run it again"
        return self._last or f"the process ended with status {self._process.returncode}"

    def _read(self) -> None:
        with _pipe(self._process.stderr) as lines:
            for line in lines:
                self._last = line.strip() or self._last
                self._line(line.rstrip())


def receive_job() -> Any:
    """Give the job of this process, whose parent started it as a `Worker`, and stop it when the parent goes away.

    It is stopped by SIGTERM, as by Ctrl-C: nothing more is ever written to a worker, so that a read returns when the
    parent has closed the pipe or has ended, however that happened.
    """
    job = json.loads(sys.stdin.readline())

    def watch() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    return job


def threads_here() -> int:
    """Return the threads that this process would use by itself."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdigit() and int(told):
        return int(told)
    return cores_here()


def cores_here() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes started in here never see Ctrl-C: the parent tells them to stop."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    parent = parent_process()

    def watch(sentinel: int) -> None:
        connection.wait([sentinel])
        os._exit(1)

    if parent:
        threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()


def _pipe(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise RuntimeError("the worker was started without a pipe")
    return stream


# One command as several processes: `reidkit train --processes N`, where torchrun is not at hand. Each process is the
# same command with torchrun's variables in its environment. The first one writes to the terminal; the messages of the
# others go to a file, which is read when one of them is the first to fail.
#
# `torch.distributed.run` starts processes too, but it ends in a traceback with status 1 for every failure: the one line
# of the process that failed, 2 for wrong usage and 130 for Ctrl-C would be lost, and so would the five seconds in which
# the others save their state. It also takes 1.9 CPU seconds and 219 MB in the parent, where this module takes 0.2 s and
# 25 MB with all of the command line.


POLL = 0.1
GRACE = 5.0
"""Seconds that the others get to end by themselves, after one has ended badly, before they are killed."""

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What asks a run to stop; Windows has no SIGHUP."""

_PARENT_DEATH = 1  # PR_SET_PDEATHSIG of Linux
_CHILD = "REIDKIT_PROCESS"


def shared(count: int) -> bool:
    """Return whether to call `run_as`: several processes are asked for, and they are not started yet.

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
        group = _ProcessGroup([_start_process(rank, count, port, quiet) for rank in range(count)])
        with group:
            failed = group.wait()
        if failed is None:
            return 0
        status = group.processes[failed].returncode
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


class _ProcessGroup:
    """The processes of `run_as`; while entered, signals are passed on to each, once."""

    def __init__(self, processes: list[subprocess.Popen[bytes]]) -> None:
        self.processes = processes
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        # One that was not set by Python (None) could not be put back.
        self._before = {
            number: old for number, old in handlers.items() if old is not None and old is not signal.SIG_IGN
        }

    def __enter__(self) -> _ProcessGroup:
        for number in self._before:
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
        """Wait for the end of all; return the number of the process that failed first, or None where all went well.

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


def _start_process(rank: int, count: int, port: int, quiet: IO[bytes]) -> subprocess.Popen[bytes]:
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
        start_new_session=True,  # Ctrl-C reaches the parent alone, which passes it on
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
