"""The run, top to bottom."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from torch import autocast

from reidkit import recipe as recipes
from reidkit.distributed import ALONE
from reidkit.errors import DivergedError, RunError
from reidkit.train import checkpoint
from reidkit.train.checkpoint import Progress
from reidkit.train.device import give_way_if_short
from reidkit.train.ema import FinalWeights
from reidkit.train.parallel import MicroBatches, share_gradients, share_statistics
from reidkit.train.schedule import learning_rate
from reidkit.train.stop import or_stop, stopped, until_stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from reidkit.data.loaders import TrainBatches
    from reidkit.distributed import Group
    from reidkit.errors import DataError, ReidkitError
    from reidkit.losses.objective import Objective
    from reidkit.model.network import Network
    from reidkit.recipe import Recipe
    from reidkit.train.checkpoint import Stateful
    from reidkit.train.log import Log
    from reidkit.train.stop import Interrupt


def _silent(*_: object) -> None:
    """Say nothing."""


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What a run needs that its result does not depend on.

    `state` is the checkpoint, written each `save_every` epochs and at the end; `judge`, if any, scores the network
    each `evaluate_every` epochs, or as often as the recipe asks for. Of a `group` of processes every one runs the loop;
    the first one writes. `position` is told after each step where the run is, and how many batches this epoch has.
    """

    device: torch.device
    precision: torch.dtype
    state: Path
    journal: Log
    interrupt: Interrupt
    save_every: int = 5
    evaluate_every: int = 0
    judge: Callable[[Network], dict[str, float]] | None = None
    position: Callable[[Progress, int], None] = _silent
    group: Group = ALONE


def fit(network: Network, objective: Objective, batches: TrainBatches, recipe: Recipe, run: Loop) -> FinalWeights:
    """Train `network` in place, from the checkpoint where there is one.

    Returns:
        What of the run is kept: its `finish` gives the network to save.

    Raises:
        RunError: a loss is no number, the disk is full, or the run was interrupted; its state is saved where it can be.
        DataError: an image cannot be read any more; its state is saved.
    """
    network.to(run.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    objective.to(run.device)
    optimizer = build_optimizer(network, objective, recipe.optim)
    kept = FinalWeights(network, recipe.optim)
    forward = MicroBatches(network, recipe.batch, run.group)
    parts: dict[str, Stateful] = {
        "network": network,
        "objective": objective,
        "optimizer": optimizer,
        "journal": run.journal,
    }
    if recipe.optim.average or recipe.optim.best_every:
        parts["kept"] = kept
    judge = partial(_judge, run, recipe, kept)
    save = partial(_save, run, recipes.digest(recipe), parts)
    place = _begin(run, recipes.digest(recipe), parts)
    if place == Progress():
        judge(Progress(epoch=0))

    def stop(error: DataError | None) -> ReidkitError:
        return stopped(run, save, place, error)

    for epoch in range(place.epoch, recipe.optim.epochs + 1):
        lr = learning_rate(recipe.optim, epoch, place.step)
        place = Progress(epoch, place.batch if epoch == place.epoch else 0, place.step)
        run.journal.start_epoch(place.batch)
        waited = batches.wait_seconds
        network.train()

        for images, labels in until_stopped(batches.epoch(epoch, start=place.batch), run, stop):
            lr = learning_rate(recipe.optim, epoch, place.step)
            _set_rate(optimizer, lr)
            with autocast(run.device.type, dtype=run.precision, enabled=run.precision != torch.float32):
                f_t, f_i = forward(images)
            terms = objective(f_t.float(), f_i.float(), labels)
            loss = torch.stack(list(terms.values())).sum()
            optimizer.zero_grad()
            loss.backward()
            share_gradients(network, objective, run.group)
            optimizer.step()
            objective.step(lr)
            kept.follow()
            place = Progress(epoch, place.batch + 1, place.step + 1)
            run.journal.add(place, lr, len(labels), terms)
            run.position(place, batches.count(epoch))
            give_way_if_short(place.step)

        run.journal.end_epoch(place, lr, batches.wait_seconds - waited)
        with or_stop(run, stop):
            judge(place)
        stopping = run.group.any(run.interrupt.requested)
        if stopping or epoch % run.save_every == 0 or epoch == recipe.optim.epochs:
            save(Progress(epoch + 1, 0, place.step))
        if stopping:
            raise run.interrupt.stopped(place)
    return kept


def build_optimizer(network: Network, objective: Objective, optim: recipes.Optim) -> torch.optim.Optimizer:
    """Adam with coupled weight decay on every parameter, norms and biases too, as the authors' code does."""
    learned = [p for module in (network, objective) for p in module.parameters() if p.requires_grad]
    return torch.optim.Adam(learned, lr=optim.lr, weight_decay=optim.weight_decay, fused=True)


def _set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def _begin(run: Loop, digest: str, parts: Mapping[str, Stateful]) -> Progress:
    """Where the run goes on, with its parts and its log as they were there."""
    place = checkpoint.load(run.state, digest, **parts) if run.state.is_file() else Progress()
    run.journal.cut(place)
    run.group.wait()  # the first process must not write a newer state before the last one has read this one
    return place


def _judge(run: Loop, recipe: Recipe, kept: FinalWeights, place: Progress) -> None:
    """Score what would be kept, in the epochs in which somebody wants to know."""
    every = recipe.optim.best_every or run.evaluate_every
    if run.judge is None or not every or (place.epoch % every and place.epoch != recipe.optim.epochs):
        return
    share_statistics(run.group, kept.network)
    try:
        scores = run.judge(kept.network)
    except DivergedError as error:
        raise RunError(f"after epoch {place.epoch} {error}; {_last_good(run.state)}") from None
    run.journal.scores(place, scores)
    kept.evaluated(place.epoch, scores)


def _save(run: Loop, digest: str, parts: Mapping[str, Stateful], place: Progress) -> None:
    """Write the checkpoint, unless the last step has broken it; every row of the log is on the disk before."""
    run.journal.settle()
    cast("Objective", parts["objective"]).collect()
    share_statistics(run.group, cast("Network", parts["network"]))
    if "kept" in parts:
        share_statistics(run.group, cast("FinalWeights", parts["kept"]).network)
    refuse_broken_weights(parts, run.state, place)
    if run.group.first:
        checkpoint.save(run.state, place, digest, **parts)


def refuse_broken_weights(parts: Mapping[str, Stateful], state: Path, place: Progress) -> None:
    """A last step can break the weights without its loss showing it: such a state must not become the good one.

    Raises:
        RunError: a weight is not finite, be it of the network, of its average or of the best so far.
    """
    for part, stateful in parts.items():
        broken = checkpoint.not_finite(stateful.state_dict()) if part != "optimizer" else None
        if broken:
            raise RunError(
                f"{broken} of the {part} holds NaN or infinity after step {place.step}; {_last_good(state)}: "
                "try a lower optim.lr",
                argument="optim.lr",
            )


def _last_good(state: Path) -> str:
    return f"the last good checkpoint is {state}" if state.is_file() else "no checkpoint was written yet"
