"""The training loop: what a step does, how often the network is evaluated and saved, and how a run stops.

`fit` reads top to bottom. What it calls stands below it, or in `optimizer` (groups of parameters, the learning rate),
`parallel` (several processes, micro-batches), `checkpoint` (the state on disk, signals) and `log` (`log.jsonl`,
callbacks).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import autocast
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from reidkit import recipe as recipes
from reidkit.data.loaders import eval_batches
from reidkit.data.sampler import HardIdSampler
from reidkit.distributed import ALONE
from reidkit.encoder import embed
from reidkit.errors import DataError, DivergedError, PeerError, RunError
from reidkit.hardware import choose_batch
from reidkit.model.chance import reseed
from reidkit.train.checkpoint import Checkpoint, Progress, last_good
from reidkit.train.optimizer import Freezing, build_optimizer, build_schedule, set_learning_rate
from reidkit.train.parallel import MicroBatches, share_gradients, share_statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from reidkit.data.loaders import TrainBatches
    from reidkit.distributed import Group
    from reidkit.errors import ReidkitError
    from reidkit.losses.objective import Objective
    from reidkit.model.own_network import AnyNetwork
    from reidkit.recipe import Recipe
    from reidkit.train.checkpoint import Interrupt, Stateful
    from reidkit.train.log import Log


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """What a run needs that its result does not depend on.

    `state` is the file of its checkpoint, written each `save_every` epochs and at the end. `evaluate` gives the scores
    of a network; it is called each `evaluate_every` epochs, or as often as the recipe asks for, and never if it is
    None. Every process of a `group` runs the loop; the first one writes.
    """

    device: torch.device
    precision: torch.dtype
    state: Path
    log: Log
    interrupt: Interrupt
    save_every: int = 5
    evaluate_every: int = 0
    evaluate: Callable[[AnyNetwork], dict[str, float]] | None = None
    group: Group = ALONE


def fit(
    network: AnyNetwork, objective: Objective, batches: TrainBatches, recipe: Recipe, options: LoopOptions
) -> FinalWeights:
    """Train `network` in place, from the checkpoint where there is one.

    Returns:
        The weights to save: their `finish` gives the network.

    Raises:
        RunError: a loss is not finite, the disk is full, or the run was interrupted; its state is saved where possible.
        DataError: an image cannot be read any more; the state is saved.
    """
    optim, group, log = recipe.optim, options.group, options.log
    network.to(options.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    objective.to(options.device)
    optimizer = build_optimizer(network, objective, optim)
    schedule = build_schedule(optim)
    final = FinalWeights(network, average=optim.average, best=optim.best_every > 0)
    # The network, run in micro-batches here and in every process of the group: f_t and f_i of the whole batch.
    batched_network = MicroBatches(network, recipe.batch, group)
    freezing = Freezing(network, objective, optim.freeze)

    # The names are those of the file, which older versions have written too.
    parts: dict[str, Stateful] = {"network": network, "objective": objective, "optimizer": optimizer, "journal": log}
    parts |= parts_of_some(final, batches)
    checkpoint = Checkpoint(
        options.state, recipes.digest(recipe), parts, networks=(network, final.network), group=group
    )
    progress = checkpoint.load()
    log.rewind(progress)
    group.wait()  # the first process must not write a newer state before the last one has read this one
    if progress == Progress():
        evaluate_if_due(Progress(epoch=0), recipe, final, options)

    # ------------------------------------------------------------------------------------------------------------------
    try:
        for epoch in range(progress.epoch, optim.epochs + 1):
            lr = set_learning_rate(optimizer, schedule, progress)
            log.start_epoch(progress, batches.wait_seconds)
            network.train()
            start_epoch(network, progress)
            start_epoch(objective, progress)
            renew_hard_ids(batches, network, progress, options)

            for images, labels in batches.epoch(epoch, start=progress.batch):
                stop_if_asked(options)
                lr = set_learning_rate(optimizer, schedule, progress)
                reseed(network, batches.seed, progress.step)
                freezing.set_for(progress.step)
                objective.mark_styled(batches.styled(epoch, progress.batch))
                cameras = batches.cameras(epoch, progress.batch) if network.takes_cameras else None
                terms = training_step(
                    batched_network, objective, optimizer, images, labels, options.precision, group, cameras=cameras
                )
                final.update()
                progress = progress.next_batch()
                log.step(progress, lr, len(labels), terms)
                log.position(progress, batches.count(epoch))

            stop_if_asked(options)
            log.end_epoch(progress, lr, batches.wait_seconds)
            evaluate_if_due(progress, recipe, final, options)
            progress = progress.next_epoch()
            if epoch % options.save_every == 0 or epoch == optim.epochs:
                checkpoint.save(progress)
            stop_if_asked(options)
    except (StopAskedError, DataError) as error:
        raise stopped(error, progress, checkpoint, options) from None
    # ------------------------------------------------------------------------------------------------------------------
    return final


def parts_of_some(final: FinalWeights, batches: TrainBatches) -> dict[str, Stateful]:
    """Return what only some runs have to save: averaged or best weights, the pools of a sampler of hard ids."""
    parts: dict[str, Stateful] = {"kept": final} if final.has_state else {}
    return parts | {"sampler": batches.sampler} if isinstance(batches.sampler, HardIdSampler) else parts


def renew_hard_ids(batches: TrainBatches, network: AnyNetwork, progress: Progress, options: LoopOptions) -> None:
    """Let a sampler of hard ids choose by the features of all training images, before each epoch but the first.

    In the middle of one, after a stop, it has what the checkpoint holds.
    """
    sampler = batches.sampler
    if not isinstance(sampler, HardIdSampler):
        return
    if progress.epoch > 1 and progress.batch == 0:
        share_statistics(options.group, network)
        source, part = batches.source, options.group.slice_of(len(batches.source))
        images = eval_batches(source, choose_batch(options.device), options.device, part=part, masks=batches.masks)
        vectors = torch.from_numpy(embed(network, images, options.precision))
        sampler.renew_pools(options.group.gather_rows(vectors).numpy())
    batches.forget_order()


def training_step(  # noqa: PLR0913, PLR0917  (what a step is made of)
    network: nn.Module,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    precision: torch.dtype = torch.float32,
    group: Group = ALONE,
    *,
    cameras: Tensor | None = None,
) -> dict[str, Tensor]:
    """Take one step at the learning rate that the optimiser has.

    Args:
        network: Images to `Features`: a network, or `MicroBatches` of one.
        objective: Features and labels to the terms of the loss.
        optimizer: Of the parameters of both.
        images: Normalised images of this process, float32 [B/n, 3, H, W], on the device.
        labels: The number of the id of every image of the batch, int64 [B], 0 <= label < num_ids.
        precision: What the network computes in; the losses always compute in float32.
        group: The processes that share the batch.
        cameras: The camera of each image of this process, int64 [B/n], for a network that takes them.

    Returns:
        The weighted terms of the loss by their names, scalars on the device.
    """
    with autocast(images.device.type, dtype=precision, enabled=precision != torch.float32):
        features = network(images) if cameras is None else network(images, cameras)
    f_t, f_i, aside = (None if side is None else side.float() for side in features)
    terms: dict[str, Tensor] = objective(f_t, f_i, labels, aside)
    loss = torch.stack(list(terms.values())).sum()
    optimizer.zero_grad()
    loss.backward()
    share_gradients(network, objective, group)
    optimizer.step()
    objective.step(optimizer.param_groups[-1]["lr"])
    return terms


def start_epoch(network: nn.Module, progress: Progress) -> None:
    """Let modules of the network, or losses, that do something at the start of an epoch do it (`start_epoch`)."""
    for module in network.modules():
        if callable(getattr(module, "start_epoch", None)):
            module.start_epoch(progress.epoch, fresh=progress.batch == 0)  # type: ignore[operator]


# Which weights of a run are evaluated and saved.


class FinalWeights:
    """The last weights, their moving average (EMA), or the best that were evaluated.

    With an `average` a, it is w' <- a w' + (1-a) w after each step, starting with the weights after the first one; the
    statistics of the batch norms are averaged alike. With `best`, the weights with the highest mAP are put back at the
    end; of equal ones the first.
    """

    def __init__(self, network: AnyNetwork, *, average: float = 0.0, best: bool = False) -> None:
        self._network = network
        self._by_score = best
        self._average: AveragedModel | None = None
        if average:
            self._average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(average), use_buffers=True)
        self._best: dict[str, Tensor] = {}
        self.score = -math.inf
        self.epoch = 0
        """The epoch that the best weights come from; 0 while there are none."""

    @property
    def has_state(self) -> bool:
        """Whether there is anything beside the network's own weights to be saved in a checkpoint."""
        return self._average is not None or self._by_score

    @property
    def network(self) -> AnyNetwork:
        """The network to evaluate now."""
        return self._average.module if self._average is not None else self._network  # type: ignore[return-value]

    def update(self) -> None:
        """Move the average, after each step."""
        if self._average is not None:
            self._average.update_parameters(self._network)

    def evaluated(self, epoch: int, scores: Mapping[str, Any]) -> None:
        """Keep a copy of the weights if they are the best so far; those from before the first epoch do not count."""
        if self._by_score and epoch and scores["map"] > self.score:
            self.score, self.epoch = float(scores["map"]), epoch
            self._best = {name: tensor.cpu().clone() for name, tensor in self.network.state_dict().items()}

    def finish(self) -> AnyNetwork:
        """Return the network to save, with its final weights."""
        network = self.network
        if self._best:
            network.load_state_dict(self._best)
        return network

    def state_dict(self) -> dict[str, Any]:
        """Return the average, and the best weights with their score."""
        average = self._average.state_dict() if self._average is not None else {}
        return {"average": average, "best": self._best, "score": self.score, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with them.

        Raises:
            ValueError: they are those of another network.
        """
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        own = self.network.state_dict()
        if state["best"] and {n: t.shape for n, t in state["best"].items()} != {n: t.shape for n, t in own.items()}:
            raise ValueError("the best weights are those of another network")
        self._best = {name: tensor.clone() for name, tensor in state["best"].items()}
        self.score, self.epoch = float(state["score"]), int(state["epoch"])


def evaluate_if_due(progress: Progress, recipe: Recipe, final: FinalWeights, options: LoopOptions) -> None:
    """Score the final weights as they are now, in the epochs in which that is asked for, and log the scores.

    Raises:
        DataError: an image of the query or gallery cannot be read.
        RunError: the network gives features that are not finite; or, in a group, an image cannot be read.
    """
    epoch, every = progress.epoch, recipe.optim.best_every or options.evaluate_every
    if options.evaluate is None or not every or (epoch % every and epoch != recipe.optim.epochs):
        return
    share_statistics(options.group, final.network)
    try:
        scores = options.evaluate(final.network)
    except DivergedError as error:
        raise RunError(f"after epoch {epoch} {error}; {last_good(options.state)}") from None
    except DataError as error:
        if options.group.size == 1:
            raise
        # The others wait for the features of this process, so that there is no state to save together.
        raise RunError(str(error)) from None
    options.log.scores(progress, scores)
    final.evaluated(epoch, scores)


# Where a run can end before its time, so that it can go on from there: between two steps.


class StopAskedError(Exception):
    """A process of this run was asked to stop, or cannot read an image: all of them stop here."""


def stop_if_asked(options: LoopOptions) -> None:
    """Raise `StopAskedError` in every process of the group if one of them has to stop.

    A process that cannot read an image calls this function's counterpart in `stopped`, so that the others do not begin
    a step that it takes no part in.
    """
    if options.group.any(options.interrupt.requested):
        raise StopAskedError


def stopped(
    error: StopAskedError | DataError, progress: Progress, checkpoint: Checkpoint, options: LoopOptions
) -> ReidkitError:
    """Save the state at `progress`, and return the error that says why the run ends and how it goes on.

    Of several processes the one that cannot read an image says so. Where the state cannot be saved on top of that, both
    are said: the last checkpoint stays.

    Raises:
        RunError: a stop was asked for, and the state cannot be saved.
    """
    group, interrupt = options.group, options.interrupt
    trouble = error if isinstance(error, DataError) else None
    if trouble:
        group.any(True)  # the others are in `stop_if_asked`
    if not group.any(trouble is not None):
        checkpoint.save(progress)
        return interrupt.stopped(progress)
    remedy, argument = f"saved at {progress.words()}, go on with: {interrupt.resume}", ""
    try:
        checkpoint.save(progress)
    except RunError as failure:
        remedy, argument = f"nor could the run be saved: {failure}", failure.argument
    if trouble is None:
        return PeerError(f"another process of this run cannot read an image; {remedy}", argument=argument)
    return DataError(f"{trouble}; {remedy}", argument=argument)
