"""Processes that end with their parent: tests/synth and tests/experiments kill the parents of theirs."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from reidkit.workers import Worker, map_in_processes, threads_here

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import os, signal, sys, time
from reidkit.workers import receive_job
job = receive_job()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("saved", file=sys.stderr) or 0))
print(job["word"], os.environ["OMP_NUM_THREADS"], file=sys.stderr, flush=True)
time.sleep(job["seconds"])
if "last" in job:
    sys.exit(job["last"])
"""


def double(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_jobs(workers: int) -> None:
    assert list(map_in_processes(double, range(5), workers)) == [0, 2, 4, 6, 8]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "the_work.py").write_text(SCRIPT)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    return "the_work"


def ended(worker: Worker) -> str:
    """The reason, once it has ended by itself."""
    while not worker.ended:
        time.sleep(0.02)
    return worker.reason()


def test_a_worker_passes_its_lines_on_and_says_why_it_failed(module: str) -> None:
    lines: list[str] = []
    assert ended(Worker(module, {"word": "good", "seconds": 0}, 3, lines.append)) == ""
    assert ended(Worker(module, {"word": "bad", "seconds": 0, "last": "no room"}, 1, lines.append)) == "no room"
    assert lines == ["good 3", "bad 1", "no room"]


def test_a_worker_that_is_stopped_saves_what_it_has(module: str) -> None:
    lines: list[str] = []
    worker = Worker(module, {"word": "long", "seconds": 600}, 1, lines.append)
    while not lines:
        time.sleep(0.02)
    worker.stop()
    assert lines == ["long 1", "saved"]
    assert worker.ended


def test_threads_are_those_that_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert threads_here() == 7
    monkeypatch.setenv("OMP_NUM_THREADS", "none")
    assert threads_here() >= 1
