"""Make a table: its runs one after another or several at once, its files written anew after each of them."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit import recipe as recipes
from reidkit.atomic import write_bytes_atomic
from reidkit.data.formats.detect import load_dataset
from reidkit.errors import DataError, ReidkitError
from reidkit.experiments.measure import DatasetDigest, RunOptions, is_trained, measure, scores_of, with_starts
from reidkit.experiments.plan import PlannedRun, plan_runs
from reidkit.experiments.render import all_formats
from reidkit.experiments.results import collect_results
from reidkit.recipes.paper_table import Search
from reidkit.terminal import harmless
from reidkit.train.checkpoint import Interrupt, StoppedError
from reidkit.workers import Worker, receive_job, threads_here

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reidkit.experiments.plan import Experiment
    from reidkit.experiments.results import ResultTable
    from reidkit.types import Dataset

    Finished = Callable[[PlannedRun, str], None]


def make_table(experiment: Experiment, options: RunOptions | None = None, processes: int = 1) -> ResultTable:
    """Train and evaluate everything a table needs that is not there yet, and write the table beside the runs.

    A run that fails is reported and left out, and the others go on: `failures` of the result has the reasons.

    Args:
        experiment: the table, its data sets and what is changed in its recipes.
        options: how runs are made; None is the defaults.
        processes: how many runs are made at once; they share the threads.

    Raises:
        ReidkitError: rows, data sets or settings that no run can be made with; the files cannot be written.
        StoppedError: the table was stopped; the runs are saved, and the sentence says how to go on.
    """
    options = options or RunOptions()
    datasets = {name: load_dataset(folder, options.format) for name, folder in experiment.data.items()}
    digests = {name: DatasetDigest.of(name, dataset) for name, dataset in datasets.items()}
    _require_ids(experiment, datasets)
    failures: dict[Path, str] = {}

    def write() -> ResultTable:
        for run in runs:  # another process may have made what failed here because it had the run's folder
            if run.folder in failures and _is_done(run, digests):
                del failures[run.folder]
        table = collect_results(experiment, digests, failures, options.shown_command)
        write_table(table, experiment.out)
        return table

    def finished(run: PlannedRun, reason: str) -> None:
        if reason:
            failures[run.folder] = reason
        options.say(f"{run} failed: {reason}" if reason else f"{run} done")
        write()

    try:
        experiment = with_starts(experiment, options)
        runs = plan_runs(experiment)
        write()
        waiting = [run for run in runs if not _is_done(run, digests)]
        count = f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}, {len(runs) - len(waiting)} done already"
        options.say(f"{experiment.name}: {count}")
        if processes > 1 and len(waiting) > 1:
            measure_all(waiting, experiment.data, options, processes, finished)
        else:
            _one_by_one(waiting, experiment, options, finished)
    except KeyboardInterrupt:
        raise StoppedError(f"stopped; go on with: {options.command}") from None
    return write()


def _require_ids(experiment: Experiment, datasets: Mapping[str, Dataset]) -> None:
    """Refuse a data set with fewer ids than a batch of any row takes, where minutes would be spent on a start first.

    Raises:
        DataError: it is one.
    """
    twin = experiment.table.twins.get(experiment.size)
    if twin is None or twin.start is None or "" in experiment.weights:
        return
    rows = [recipe for row in experiment.selected_rows() if (recipe := experiment.recipe(row))]
    wanted = min((recipe.batch.ids for recipe in rows), default=0)
    for name, dataset in datasets.items():
        ids = len(np.unique(dataset.train.pids))
        if ids < wanted:
            raise DataError(
                f"{name} has {ids} ids to train on, and a batch takes {wanted}: take at most {ids} ids in a batch",
                argument="batch.ids",
            )


def write_table(table: ResultTable, out: Path) -> list[Path]:
    """Write a table in every format into a folder, each file whole or not at all; their paths.

    Raises:
        DataError: the folder cannot be written.
    """
    files = {out / f"{table.name}.{ending}": content for ending, content in all_formats(table).items()}
    for path, content in files.items():
        write_bytes_atomic(path, content.encode("utf-8", "replace"))
    return list(files)


def _one_by_one(runs: list[PlannedRun], experiment: Experiment, options: RunOptions, finished: Finished) -> None:
    for number, run in enumerate(runs, start=1):
        options.say(f"run {number} of {len(runs)}: {run}, in {run.folder}")
        try:
            measure(run, experiment.data, options)
        except StoppedError:
            raise
        except Exception as error:  # an unexpected error in one row must not end the others
            reason = str(error) if isinstance(error, ReidkitError) else f"{type(error).__name__}: {error}"
            finished(run, " ".join(reason.split()))
        else:
            finished(run, "")


def _is_done(run: PlannedRun, digests: dict[str, DatasetDigest]) -> bool:
    if not is_trained(run.folder):
        return False
    scores = scores_of(run.folder, digests[run.data].trained)
    return all(digests[name].key(search) in scores for name, searches in run.searches.items() for search in searches)


# Several runs at once, each in a process of its own with its part of the threads (see `reidkit.workers`).


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
            for _, worker in working:  # all of them at once: none trains on while another one saves
                worker.ask_to_stop()
            for _, worker in working:
                worker.stop()
        if interrupt.requested:
            raise StoppedError(f"stopped, every run is saved; go on with: {options.command}")


def _start(
    run: PlannedRun, folders: Mapping[str, Path], options: RunOptions, threads: int
) -> tuple[PlannedRun, Worker]:
    def say(line: str) -> None:
        options.say(f"{run.recipe.name}, seed {run.seed}: {line}")

    return run, Worker("reidkit.experiments.grid", to_json(run, folders, options), threads, say)


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
            "compile": options.compile,
            "cache_dir": str(options.cache_dir) if options.cache_dir else None,
            "skip_unreadable": options.skip_unreadable,
            "format": options.format,
            "masks": str(options.masks) if options.masks else None,
        },
    }


def from_json(value: dict[str, Any]) -> tuple[PlannedRun, dict[str, Path], RunOptions]:
    """Return what `to_json` was given."""
    paths = {name: path and Path(path) for name in ("cache_dir", "masks") for path in (value["options"][name],)}
    options = RunOptions(**{**value["options"], **paths})
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
