"""`reidkit train`."""

from __future__ import annotations

import sys
import time
from collections import deque
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reidkit import recipe as recipe_file
from reidkit.cli import options
from reidkit.cli.command import option_of
from reidkit.cli.output import command, join, print_json, print_line, progress, remark, shown_command
from reidkit.errors import UsageError
from reidkit.recipe.effect import without_effect
from reidkit.recipes import get_recipe, named
from reidkit.recipes.luo2019.interpretations import interpret
from reidkit.terminal import duration, percent
from reidkit.train.log import Callback, log_lines
from reidkit.train.run_folder import begun_as, default_folder, holds_run, refuse_run
from reidkit.workers import as_child, run_as, shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from reidkit.cli.output import Tell
    from reidkit.distributed import Group
    from reidkit.train.checkpoint import Progress
    from reidkit.train.log import Row
    from reidkit.train.run import Run


def train(
    context: typer.Context,
    recipe: options.RecipeName,
    data: Annotated[list[Path], typer.Option(help="A data set; several are trained on together.")],
    val_data: Annotated[Path | None, typer.Option(help="Evaluate on this data set instead.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Start from these: .safetensors, torchvision's .pth, or imagenet.")
    ] = None,
    network: options.NetworkOption = None,
    teacher: Annotated[Path | None, typer.Option(help="Learn from this model, too (distil.* of the recipe).")] = None,
    input_spec: options.InputSpecOption = None,
    masks: options.Masks = None,
    missing_masks: options.MissingMasks = "refuse",
    settings: options.Settings = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Order, augmentation and first weights.")] = 0,
    interpretation: options.As = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder.  [default: runs/NAME-seedS, NAME by recipe and --set]")
    ] = None,
    resume: options.Resume = False,
    *,
    running: options.Running,
    evaluate_every: Annotated[int, typer.Option(min=0, help="Epochs between evaluations; 0: only one at the end.")] = 0,
    processes: options.Processes = 1,
    save_classifier: Annotated[
        bool, typer.Option("--save-classifier", help="Write the classifier of the ids beside the model.")
    ] = False,
    stream: options.Stream = None,
    as_json: options.Json = False,
) -> int:
    """Train a network by a recipe, evaluate it, and write a run folder with weights, log and report."""
    if input_spec is not None and teacher is None:
        raise UsageError("--input-spec is for a teacher in a foreign .onnx or .xml: leave it out")
    found = get_recipe(recipe)
    changed = recipe_file.override(interpret(found, interpretation) if interpretation else found, settings or [])
    chosen = named(changed, found)
    folder = out or default_folder(chosen, seed)
    if resume:
        folder, chosen = _begun(folder, None if out else default_folder(changed, seed), chosen)
    if not resume:
        refuse_run(folder, by_default=out is None)
    if shared(processes):
        return run_as(processes, resume_command())

    from reidkit.train import train as run_training

    with open_console(context) as (group, tell):
        if group.first:
            _warn_of_effect(chosen, settings or [], taught=teacher is not None)
        run = run_training(
            chosen,
            data,
            out=folder,
            weights=weights,
            seed=seed,
            resume=resume,
            network=options.import_network(network),
            teacher=options.open_model(teacher, None, input_spec) if teacher else None,
            masks=masks,
            evaluate_on=val_data,
            options=running.for_library(
                evaluate_every,
                resume_command(),
                save_classifier=save_classifier,
                stream=stream,
                missing_masks=missing_masks,
            ),
            callbacks=running.callbacks(Console(chosen, tell), folder),
        )
    if group.first:
        print_run(run, as_json=as_json)  # first, as the page may find no room
        run.write_report(repeat_command(run, processes), found)
    return 0


def _warn_of_effect(recipe: recipe_file.Recipe, settings: Sequence[str], *, taught: bool) -> None:
    """Say which settings change nothing: a score that stays the same would be taken for their result."""
    found = without_effect(recipe)
    for key in dict.fromkeys(setting.partition("=")[0].strip() for setting in settings):
        section = key.partition(".")[0]
        away = {"adapt": "in a training", "distil": "" if taught else "without a teacher"}.get(section, "")
        if why := away or (f"with {found[key]}" if key in found else ""):
            remark(f"warning: {key} has no effect {why}")


def _begun(folder: Path, before: Path | None, recipe: recipe_file.Recipe) -> tuple[Path, recipe_file.Recipe]:
    """Return where a run goes on, and its recipe by the name it was begun with.

    Without --out, a run that was begun when changes were in no name lies in the folder `before`.
    """
    for one in (folder,) if before is None or holds_run(folder) else (folder, before):
        if known := begun_as(one, recipe):
            return one, known
    return folder, recipe


@contextmanager
def open_console(context: typer.Context) -> Iterator[tuple[Group, Tell]]:
    """Join the processes of a run; yield their group, and how progress is shown.

    The first process alone shows progress and the run's messages; these name the options of the command.
    """
    option = partial(option_of, params=context.command.params)
    as_child()
    with join() as group, progress(group.first) as tell, log_lines(remark if group.first else _drop, option):
        yield group, tell


def _drop(line: str) -> None:
    """Show nothing."""


class Console(Callback):
    """A line for each epoch and its scores, and a bar for the steps in it where there is a terminal.

    `clock` gives seconds.
    """

    def __init__(self, recipe: recipe_file.Recipe, tell: Tell, clock: Callable[[], float] = time.perf_counter) -> None:
        self.epochs = recipe.optim.epochs
        self.images = recipe.batch.ids * recipe.batch.images
        self.tell = tell
        self.clock = clock
        self._epoch = 0
        self._recent: deque[float] = deque(maxlen=50)
        self._first: tuple[float, int] | None = None
        self._left = ""

    def on_progress(self, what: str, done: int, total: int) -> None:
        """Show the bar of some other work."""
        self.tell(what, done, total)

    def on_position(self, progress: Progress, batches: int) -> None:
        """Show the bar of an epoch of so many batches, with the rate of the last steps and the time left of the run.

        The time is counted from the end of the first step, which may compile, and with all that was done between
        epochs.
        """
        now = self.clock()
        if progress.epoch != self._epoch:
            self._epoch = progress.epoch
            self._recent.clear()
        self._recent.append(now)
        self._first = self._first or (now, progress.step)
        rate = ""
        if len(self._recent) > 1:
            rate = f"{(len(self._recent) - 1) * self.images / max(now - self._recent[0], 1e-9):.0f} images/s"
        steps = progress.step - self._first[1]
        to_come = batches - progress.batch + (self.epochs - progress.epoch) * batches
        self._left = f"{duration((now - self._first[0]) / steps * to_come)} left" if steps else ""
        self.tell(f"epoch {progress.epoch}/{self.epochs}", progress.batch, batches, rate, self._left)

    def on_epoch(self, row: Row) -> None:
        """Write the line of an epoch."""
        known = {"kind", "epoch", "step", "lr", "images", "seconds", "images_per_s", "wait_share", "memory_mb"}
        terms = "  ".join(f"{name} {value:.3f}" for name, value in row.items() if name not in known)
        after = f", {self._left}" if self._left and row["epoch"] < self.epochs else ""
        rate = f"lr {row['lr']:.3g}  {row['images_per_s']} images/s"
        remark(f"epoch {row['epoch']}/{self.epochs}  {terms}  {rate}{after}")

    def on_clusters(self, row: Row) -> None:
        """Write the line of the clusters that an epoch of an adaptation begins with."""
        remark(
            f"epoch {row['epoch']}/{self.epochs}  {row['clusters']:,} clusters, "
            f"{row['outliers']:,} of {row['images']:,} images outliers"
        )

    def on_scores(self, row: Row) -> None:
        """Write the line of its scores."""
        remark(f"epoch {row['epoch']}/{self.epochs}  rank-1 {percent(row['rank1'])}  mAP {percent(row['map'])}")


def print_run(run: Run, *, as_json: bool) -> None:
    """Print the scores of a run, of an adaptation also those before it, and where its model lies."""
    evaluation = run.evaluation
    scores = evaluation.scores.as_json() if evaluation else {}
    if as_json:
        seconds = {"seconds": evaluation.seconds} if evaluation else {}
        warnings = list(run.warnings)
        before = {"before": run.before.as_json()} if run.before else {}
        found = {"run": str(run.folder), "model": run.model.fingerprint, **scores, **before}
        print_json({**found, "warnings": warnings, **seconds})
        return
    if evaluation is None or run.evaluated is None:
        print_line(f"{run.folder}/model.safetensors  (not evaluated: give --val-data)")
        return
    if run.before:
        print_line(f"{run.evaluated.name} before: rank-1 {percent(run.before.rank1)}  mAP {percent(run.before.map)}")
    print_line(
        f"{run.evaluated.name}: rank-1 {percent(scores['rank1'])}  mAP {percent(scores['map'])}  "
        f"mINP {percent(scores['minp'])}  ({scores['queries']} queries, gallery {scores['gallery']})"
    )
    print_line(f"{run.folder}/model.safetensors  {run.folder}/report.html")


def repeat_command(run: Run, processes: int) -> str:
    """Return the command that repeats the run, for its page; on a CPU the number of threads changes the result."""
    import torch

    alone = processes == 1 and next(run.model.network.parameters()).device.type == "cpu"
    return f"OMP_NUM_THREADS={torch.get_num_threads()} {shown_command()}" if alone else shown_command()


def resume_command() -> str:
    """Return the command that goes on with this run."""
    return command() if "--resume" in sys.argv else f"{command()} --resume"
