"""Several runs at once, each in a process of its own with its share of the threads.

A worker reads its run as one line of JSON and then waits, in a thread, for the end of its input: when whoever started
it goes away, however that happens, it stops as after Ctrl-C, with its state saved.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from reidkit import recipe as recipes
from reidkit.errors import ReidkitError
from reidkit.experiments.measure import RunOptions, measure
from reidkit.experiments.plan import PlannedRun
from reidkit.recipes.paper_table import Search
from reidkit.terminal import harmless
from reidkit.train.stop import Interrupt, StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
POLL = 0.2
"""Seconds between two looks at the workers."""


def measure_all(
    runs: list[PlannedRun],
    folders: Mapping[str, Path],
    options: RunOptions,
    processes: int,
    finished: Callable[[PlannedRun, str], None],
) -> None:
    """Train and evaluate all runs, `processes` at a time.

    Arguments:
        runs: what is to be done.
        folders: the folder of each data set, by its name.
        options: how runs are made; `say` gets the lines of all of them.
        processes: how many at once.
        finished: called at the end of each run, with the reason if it failed, else "".

    Raises:
        StoppedError: stopped from outside; the workers have saved what they had.
    """
    waiting, working = list(runs), list[_Worker]()
    with Interrupt(options.command) as interrupt:
        try:
            while (waiting or working) and not interrupt.requested:
                while waiting and len(working) < processes:
                    working.append(_Worker(waiting.pop(0), folders, options, max(1, threads() // processes)))
                for worker in [one for one in working if one.process.poll() is not None]:
                    working.remove(worker)
                    finished(worker.run, worker.reason())
                time.sleep(POLL)
        finally:
            for worker in working:
                worker.stop()
        if interrupt.requested:
            raise StoppedError(f"stopped, every run is saved; go on with: {options.command}")


class _Worker:
    """A process that makes one run, and a thread that passes its lines on."""

    def __init__(self, run: PlannedRun, folders: Mapping[str, Path], options: RunOptions, threads: int) -> None:
        self.run = run
        self._say = options.say
        self._last = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "reidkit.experiments.run_pool"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            env={**os.environ, **dict.fromkeys(THREADS, str(threads))},
            start_new_session=True,  # Ctrl-C reaches the parent alone, who then stops each worker once
        )
        _pipe(self.process.stdin).write(json.dumps(to_json(run, folders, options)) + "\n")
        _pipe(self.process.stdin).flush()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def stop(self) -> None:
        """Let it save what it has, and wait for that."""
        _pipe(self.process.stdin).close()
        self.process.wait()
        self._reader.join()

    def reason(self) -> str:
        """Why it failed, or ""."""
        self._reader.join()
        _pipe(self.process.stdin).close()
        if self.process.returncode == 0:
            return ""
        if self.process.returncode < 0:  # it had no time for a last word
            return f"killed ({signal.strsignal(-self.process.returncode)}), perhaps for want of memory: run it again"
        return self._last or f"the process ended with status {self.process.returncode}"

    def _read(self) -> None:
        with _pipe(self.process.stderr) as lines:
            for line in lines:
                self._last = line.strip() or self._last
                self._say(f"{self.run.recipe.name}, seed {self.run.seed}: {line.rstrip()}")


def threads() -> int:
    """The threads that this process would use by itself."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdigit() and int(told):
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def to_json(run: PlannedRun, folders: Mapping[str, Path], options: RunOptions) -> dict[str, Any]:
    """Return a run as JSON, for another process."""
    return {
        "recipe": recipes.to_json(run.recipe),
        "data": run.data,
        "seed": run.seed,
        "folder": str(run.folder),
        "weights": str(run.weights) if run.weights else None,
        "searches": {name: [dataclasses.asdict(way) for way in ways] for name, ways in run.searches.items()},
        "folders": {name: str(folders[name]) for name in {run.data, *run.searches}},
        "options": {
            "command": options.command,
            "shown_command": options.shown_command,
            "device": options.device,
            "precision": options.precision,
            "cache_dir": str(options.cache_dir) if options.cache_dir else None,
            "skip_unreadable": options.skip_unreadable,
        },
    }


def from_json(value: dict[str, Any]) -> tuple[PlannedRun, dict[str, Path], RunOptions]:
    """Return what `to_json` was given."""
    cache = value["options"]["cache_dir"]
    options = RunOptions(**{**value["options"], "cache_dir": Path(cache) if cache else None})
    run = PlannedRun(
        recipe=recipes.from_json(value["recipe"]),
        data=value["data"],
        seed=value["seed"],
        folder=Path(value["folder"]),
        weights=Path(value["weights"]) if value["weights"] else None,
        searches={name: tuple(Search(**way) for way in ways) for name, ways in value["searches"].items()},
        titles=(),
    )
    return run, {name: Path(folder) for name, folder in value["folders"].items()}, options


def main() -> int:
    """The worker: its run comes on standard input, its lines go to standard error, the last one says what failed."""
    run, folders, options = from_json(json.loads(sys.stdin.readline()))
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        measure(run, folders, dataclasses.replace(options, say=_say))
    except ReidkitError as error:
        _say(" ".join(str(error).split()))
        return error.status
    return 0


def _stop_with_parent() -> None:
    """Nothing more is ever written to a worker, so that a read returns when nobody is left who could."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _say(line: str) -> None:
    sys.stderr.write(harmless(line) + "\n")
    sys.stderr.flush()


def _pipe(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise RuntimeError("the worker was started without a pipe")
    return stream


if __name__ == "__main__":
    sys.exit(main())
