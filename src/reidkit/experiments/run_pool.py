"""Several runs at once, each in a process of its own with its share of the threads (see `reidkit.workers`)."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reidkit import recipe as recipes
from reidkit.errors import ReidkitError
from reidkit.experiments.measure import RunOptions, measure
from reidkit.experiments.plan import PlannedRun
from reidkit.recipes.paper_table import Search
from reidkit.terminal import harmless
from reidkit.train.checkpoint import Interrupt, StoppedError
from reidkit.workers import Worker, receive_job, threads_here

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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

    Args:
        runs: what is to be done.
        folders: the folder of each data set, by its name.
        options: how runs are made; `say` gets the lines of all of them.
        processes: how many at once.
        finished: called at the end of each run, with the reason if it failed, else "".

    Raises:
        StoppedError: stopped from outside; the workers have saved what they had.
    """
    waiting, working = list(runs), list[tuple[PlannedRun, Worker]]()
    threads = max(1, threads_here() // processes)
    with Interrupt(options.command) as interrupt:
        try:
            while (waiting or working) and not interrupt.requested:
                while waiting and len(working) < processes:
                    working.append(_start(waiting.pop(0), folders, options, threads))
                for run, worker in [one for one in working if one[1].ended]:
                    working.remove((run, worker))
                    finished(run, worker.reason())
                time.sleep(POLL)
        finally:
            for _, worker in working:
                worker.stop()
        if interrupt.requested:
            raise StoppedError(f"stopped, every run is saved; go on with: {options.command}")


def _start(
    run: PlannedRun, folders: Mapping[str, Path], options: RunOptions, threads: int
) -> tuple[PlannedRun, Worker]:
    def say(line: str) -> None:
        options.say(f"{run.recipe.name}, seed {run.seed}: {line}")

    return run, Worker("reidkit.experiments.run_pool", to_json(run, folders, options), threads, say)


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
    """Make the run that comes on standard input; lines go to standard error, and the last one says what failed."""
    run, folders, options = from_json(receive_job())
    try:
        measure(run, folders, dataclasses.replace(options, say=_say))
    except ReidkitError as error:
        _say(" ".join(str(error).split()))
        return error.status
    return 0


def _say(line: str) -> None:
    sys.stderr.write(harmless(line) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
