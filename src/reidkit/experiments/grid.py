"""A table from start to end: its runs one after another or several at once, its files anew after each of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reidkit.atomic import write_text_atomic
from reidkit.data.formats.detect import load_dataset
from reidkit.errors import ReidkitError
from reidkit.experiments import formats, table_page, workers
from reidkit.experiments.measure import Known, is_trained, measure, scores_of, with_starts
from reidkit.experiments.plan import plan
from reidkit.experiments.table import build
from reidkit.train.stop import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reidkit.experiments.measure import Machine, Watch
    from reidkit.experiments.plan import Order, Training
    from reidkit.experiments.table import Sheet


@dataclass(frozen=True, kw_only=True)
class Result:
    """A table and what failed on the way to it: folders of runs, and why."""

    sheet: Sheet
    failures: dict[Path, str] = field(default_factory=dict)


def make(order: Order, machine: Machine, watch: Watch, processes: int = 1) -> Result:
    """Train and search everything a table needs that is not there yet, and write the table beside the runs.

    A run that fails is told and left out, and the others go on.

    Raises:
        ReidkitError: rows, data sets or settings that no run can be made with; the files cannot be written.
        StoppedError: the table was stopped; the runs are saved, and the sentence says how to go on.
    """
    known = {name: Known.of(name, load_dataset(folder)) for name, folder in order.data.items()}
    try:
        order = with_starts(order, machine, watch)
    except KeyboardInterrupt:
        raise StoppedError(f"stopped; go on with: {machine.command}") from None
    trainings = plan(order)
    failures: dict[Path, str] = {}
    write(order, build(order, known, failures, machine.shown_command))
    waiting = [one for one in trainings if not _is_done(one, known)]
    done = len(trainings) - len(waiting)
    watch.say(f"{order.stem}: {len(trainings)} {'run' if len(trainings) == 1 else 'runs'}, {done} done already")

    def finished(training: Training, reason: str) -> None:
        if reason:
            failures[training.folder] = reason
            watch.say(f"{_words(training)} failed: {reason}")
        else:
            watch.say(f"{_words(training)} done")
        write(order, build(order, known, failures, machine.shown_command))

    try:
        if processes > 1 and len(waiting) > 1:
            workers.run_all(waiting, order.data, machine, workers.Crew(processes, watch.say, finished))
        else:
            _one_by_one(waiting, order, machine, watch, finished)
    except KeyboardInterrupt:
        raise StoppedError(f"stopped; go on with: {machine.command}") from None
    return Result(sheet=build(order, known, failures, machine.shown_command), failures=failures)


def write(order: Order, sheet: Sheet) -> list[Path]:
    """Write a table in every form beside its runs, each file whole or not at all.

    Raises:
        DataError: the folder cannot be written.
    """
    files = {
        "txt": formats.text(sheet),
        "json": json.dumps(sheet.as_json(), indent=2) + "\n",
        "csv": formats.comma_separated(sheet),
        "md": formats.markdown(sheet),
        "tex": formats.latex(sheet),
        "html": table_page.render(sheet),
    }
    paths = [order.out / f"{order.stem}.{ending}" for ending in files]
    for path, content in zip(paths, files.values(), strict=True):
        write_text_atomic(path, content.encode("utf-8", "replace"))
    return paths


def _one_by_one(
    trainings: list[Training], order: Order, machine: Machine, watch: Watch, finished: Callable[[Training, str], None]
) -> None:
    for number, training in enumerate(trainings):
        watch.say(f"run {number + 1} of {len(trainings)}: {_words(training)}, in {training.folder}")
        try:
            measure(training, order.data, machine, watch)
        except StoppedError:
            raise
        except Exception as error:  # a night's work must not end because one row meets what nobody foresaw
            reason = str(error) if isinstance(error, ReidkitError) else f"{type(error).__name__}: {error}"
            finished(training, " ".join(reason.split()))
        else:
            finished(training, "")


def _is_done(training: Training, known: dict[str, Known]) -> bool:
    if not is_trained(training.folder):
        return False
    scores = scores_of(training.folder, known[training.data].trained)
    return all(known[name].key(search) in scores for name, searches in training.searches.items() for search in searches)


def _words(training: Training) -> str:
    return f"{training.recipe.name} ({'; '.join(training.titles)}) on {training.data}, seed {training.seed}"
