"""Work in several processes that end with the one that started them, Ctrl-C and sudden death included.

`map_in_processes` is for many small jobs. A `Worker` is for one long job in a process of its own, which is told to stop
and then saves what it has.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, connection, get_context, parent_process
from typing import IO, TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

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

    def stop(self) -> None:
        """Let it save what it has, and wait for that."""
        _pipe(self._process.stdin).close()
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
