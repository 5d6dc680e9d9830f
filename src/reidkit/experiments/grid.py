"""A table from start to end: its runs one after another or several at once, its files anew after each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reidkit.atomic import write_text_atomic
from reidkit.data.formats.detect import load_dataset
from reidkit.errors import ReidkitError
from reidkit.experiments import run_pool
from reidkit.experiments.measure import DatasetDigest, RunOptions, is_trained, measure, scores_of, with_starts
from reidkit.experiments.plan import plan_runs
from reidkit.experiments.render import all_formats
from reidkit.experiments.results import collect_results
from reidkit.train.checkpoint import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reidkit.experiments.plan import Experiment, PlannedRun
    from reidkit.experiments.results import ResultTable

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
    digests = {name: DatasetDigest.of(name, load_dataset(folder)) for name, folder in experiment.data.items()}
    failures: dict[Path, str] = {}

    def write() -> ResultTable:
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
            run_pool.measure_all(waiting, experiment.data, options, processes, finished)
        else:
            _one_by_one(waiting, experiment, options, finished)
    except KeyboardInterrupt:
        raise StoppedError(f"stopped; go on with: {options.command}") from None
    return write()


def write_table(table: ResultTable, out: Path) -> list[Path]:
    """Write a table in every format into a folder, each file whole or not at all; their paths.

    Raises:
        DataError: the folder cannot be written.
    """
    files = {out / f"{table.name}.{ending}": content for ending, content in all_formats(table).items()}
    for path, content in files.items():
        write_text_atomic(path, content.encode("utf-8", "replace"))
    return list(files)


def _one_by_one(runs: list[PlannedRun], experiment: Experiment, options: RunOptions, finished: Finished) -> None:
    for number, run in enumerate(runs, start=1):
        options.say(f"run {number} of {len(runs)}: {run}, in {run.folder}")
        try:
            measure(run, experiment.data, options)
        except StoppedError:
            raise
        except Exception as error:  # a night's work must not end because one row meets what nobody foresaw
            reason = str(error) if isinstance(error, ReidkitError) else f"{type(error).__name__}: {error}"
            finished(run, " ".join(reason.split()))
        else:
            finished(run, "")


def _is_done(run: PlannedRun, digests: dict[str, DatasetDigest]) -> bool:
    if not is_trained(run.folder):
        return False
    scores = scores_of(run.folder, digests[run.data].trained)
    return all(digests[name].key(search) in scores for name, searches in run.searches.items() for search in searches)
