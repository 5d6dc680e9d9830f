from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from reidkit.train.checkpoint import Interrupt, Progress
from reidkit.workers import SIGNALS


def test_the_first_signal_is_a_request() -> None:
    with Interrupt("again") as interrupt:
        assert not interrupt.requested
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.requested


def test_a_signal_is_answered_at_once() -> None:
    said: list[str] = []
    with Interrupt("again", said.append):
        os.kill(os.getpid(), signal.SIGINT)
        assert said == ["stopping after this step; again to quit now"]


def test_an_answer_that_breaks_into_a_line_is_left_out() -> None:
    def busy(line: str) -> None:
        raise RuntimeError("reentrant call inside <_io.BufferedWriter>")

    with Interrupt("again", busy) as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.requested


def test_the_second_one_ends_the_process_as_ever() -> None:
    with Interrupt("again") as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert interrupt.requested


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interrupt("again"):
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """`nohup reidkit train ...` must outlive its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt("again") as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupt.requested
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_handler_that_is_not_pythons_stays() -> None:
    """As of a program that Python is embedded in: Python cannot put it back, and took the default in its place."""
    words = """
import ctypes, os, signal
from reidkit.train.checkpoint import Interrupt
from reidkit.workers import SIGNALS

heard = []
handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(heard.append)
libc = ctypes.CDLL(None)
libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
libc.signal(signal.SIGTERM, ctypes.cast(handler, ctypes.c_void_p))
# What Python says of a handler that stood there before it began.
signal.getsignal = lambda number, ask=signal.getsignal: None if number == signal.SIGTERM else ask(number)
with Interrupt("again") as interrupt:
    os.kill(os.getpid(), signal.SIGTERM)
os.kill(os.getpid(), signal.SIGTERM)
assert heard == [signal.SIGTERM] * 2 and not interrupt.requested, heard
"""
    subprocess.run([sys.executable, "-c", words], check=True)


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (Progress(), "step 0 of epoch 1"),
        (Progress(2, 3, 9), "step 9 of epoch 2"),
        (Progress(3, 0, 12), "step 12 of epoch 2"),
    ],
)
def test_the_last_step_in_words(progress: Progress, words: str) -> None:
    assert progress.words() == words


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_error_says_how_to_go_on(number: signal.Signals, status: int) -> None:
    with Interrupt("reidkit train x --resume") as interrupt:
        os.kill(os.getpid(), number)
    error = interrupt.stopped(Progress(epoch=2, batch=3, step=9))
    assert str(error) == "stopped and saved at step 9 of epoch 2; go on with: reidkit train x --resume"
    assert error.status == status


def test_a_run_in_another_thread_hears_none() -> None:
    """`signal.signal` raises there: a notebook's worker or a server may train all the same."""
    before = [signal.getsignal(number) for number in SIGNALS]

    def enter() -> bool:
        with Interrupt("again") as interrupt:
            return interrupt.requested

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(enter).result() is False
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_where_there_is_no_sighup_the_modules_are_there() -> None:
    """As on Windows."""
    words = "import signal; del signal.SIGHUP; import reidkit.train.checkpoint; from reidkit.workers import SIGNALS"
    subprocess.run([sys.executable, "-c", f"{words}; assert SIGNALS == (2, 15), SIGNALS"], check=True)
