"""A training run from folders to a run folder: `reidkit train`."""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from reidkit.data import overlap
from reidkit.data.detect import merge, open_benchmark
from reidkit.data.loaders import TrainBatches, eval_batches
from reidkit.data.passed_over import worth_a_line
from reidkit.data.shards.samples import ShardSamples, pids_of
from reidkit.data.windows import epoch_batches
from reidkit.distributed import ALONE
from reidkit.embed import choose_device, choose_precision, embed, refuse_diverged
from reidkit.evaluate.copies import find_copies
from reidkit.judge import Protocol, Reading, judge, require_judgeable
from reidkit.losses.objective import Objective
from reidkit.model.network import build
from reidkit.model.weights import Model, fingerprint, load_backbone, read, save_model, stride_placement
from reidkit.train import folder
from reidkit.train.device import compile_network, prepare
from reidkit.train.images import digest, open_for, open_training
from reidkit.train.interrupt import Interrupt
from reidkit.train.journal import Journal
from reidkit.train.loop import Loop, fit
from reidkit.train.parts import parts_here
from reidkit.train.remarks import describe, machine, warn_of_best, warn_of_schedule, warn_of_torn
from reidkit.types import DataError, DivergedError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from reidkit.data.sources import ImageSource
    from reidkit.distributed import Group
    from reidkit.evaluate.labels import Cameras
    from reidkit.judge import Judgement
    from reidkit.model.network import Network
    from reidkit.recipe import Recipe
    from reidkit.train.checkpoint import Place
    from reidkit.train.journal import Row
    from reidkit.types import Benchmark


def _silent(*_: object) -> None:
    """Say nothing."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """The options of `reidkit train`: everything but the recipe that a run needs."""

    out: Path
    data: tuple[Path, ...]
    format: str | None = None
    val_data: Path | None = None
    weights: Path | None = None
    seed: int = 0
    resume: bool = False
    device: str = "auto"
    precision: str = "auto"
    compile: bool | None = None
    save_every: int = 5
    judge_every: int = 0
    cameras: Cameras = "cross"
    cache_dir: Path | None = None
    skip_broken: bool = False
    stream: bool | None = None
    resume_command: str = "the same command with --resume"
    watchers: tuple[Callable[[Row], None], ...] = ()
    say: Callable[[str], None] = _silent
    tell: Callable[[str, int, int], None] = _silent
    position: Callable[[Place, int], None] = _silent


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished run: the network, what it was judged on, and its scores (None where there was nothing to judge on)."""

    model: Model
    judged: Benchmark | None
    judgement: Judgement | None
    description: str
    protocol: Protocol = field(default_factory=Protocol)
    warnings: tuple[str, ...] = ()
    """What a reader of the scores has to know."""


def run(recipe: Recipe, job: Job, group: Group = ALONE) -> Outcome:
    """Train by `recipe`, save the network and judge it.

    In a `group` every process calls this with the same recipe and job, and gets the same outcome; the first one writes.

    Raises:
        ReidkitError: anything that keeps the run from starting or going on, in one sentence.
    """
    parts_here(recipe.batch, group.size)  # a batch that cannot be shared is said at once
    device = choose_device(job.device)
    precision = choose_precision(job.precision, device)
    prepare(device)
    recipe = settle_stride(recipe, job.weights)
    benchmark = merge([open_benchmark(path, job.format) for path in job.data])
    if left := worth_a_line(benchmark.passed_over):
        job.say(left)
    if not benchmark.train:
        raise DataError(f"{benchmark.name} has no training images: give a data set that has")
    reading = Reading(
        cache_dir=job.cache_dir,
        skip_broken=job.skip_broken,
        device=device,
        precision=precision,
        tell=job.tell,
        group=group,
    )
    judged = _open_judged(benchmark, recipe, job)
    source, remembered = open_training(benchmark.train, recipe, job)
    pids, labels = np.unique(pids_of(source.samples), return_inverse=True)
    epoch_batches(source, labels, recipe.batch, job.seed, epoch=1)  # too few people is said before anything is written
    network, objective = _build(recipe, len(pids), job, group)
    compiled = compile_network(network, device, job.compile, recipe.optim.epochs * len(source))
    facts = {"seed": job.seed, "precision": str(precision).removeprefix("torch."), "people": len(pids)}
    facts |= {"training_set": digest(source), "weights": _weights_name(job.weights), **remembered}

    with _opened(recipe, job, facts, group):
        start = f"weights from {job.weights.name}" if job.weights else "weights from scratch (--weights FILE is better)"
        job.say(
            f"{recipe.name}: {len(source)} images of {len(pids)} people, {start}, "
            f"{machine(device, precision, group)}{', compiled' if compiled else ''}"
        )
        warnings = _tell_of_training(benchmark, judged, job) if group.first else ()
        if recipe.optim.best_every:
            warn_of_best(judged, job.val_data is not None, job.say)

        def scores_now(current: Network) -> dict[str, float]:
            found = _judge(Model(current, recipe, ""), judged, job, reading)
            return found.scores.as_json() if found else {}

        warn_of_torn(source, labels, recipe, job.say)
        batches = TrainBatches(source, labels.astype(np.int64), recipe, job.seed, device, group)
        batches.replaced = job.say if job.skip_broken else None
        warnings += warn_of_schedule(recipe.optim, batches.count(1), job.say)
        with Interrupt(job.resume_command, job.say) as interrupt:
            loop = Loop(
                device=device,
                precision=precision,
                state=job.out / "state.pt",
                journal=Journal(job.out / "log.jsonl", job.watchers, writes=group.first),
                interrupt=interrupt,
                save_every=job.save_every,
                judge_every=job.judge_every if judged else 0,
                judge=scores_now,
                position=job.position if group.first else _silent,
                group=group,
            )
            kept = fit(network, objective, batches, recipe, loop)
        network = kept.finish()
        if kept.epoch:
            job.say(f"kept the weights of epoch {kept.epoch}, mAP {100 * kept.score:.1f}")
        file = job.out / "model.safetensors"
        with _never_diverged(file):
            _probe(network, source, reading)
            name = save_model(file, network, recipe) if group.first else ""
            model = Model(network.eval(), recipe, name)
            judgement = _judge(model, judged, job, reading)
    return Outcome(
        model=model,
        judged=judged,
        judgement=judgement,
        description=describe(benchmark, source),
        protocol=protocol_of(job),
        warnings=(*warnings, *_tell_of_copies(judgement, job)),
    )


@contextmanager
def _opened(recipe: Recipe, job: Job, facts: dict[str, Any], group: Group) -> Iterator[None]:
    """The run's folder, begun or gone on with, for the first process; the others wait until it is."""
    with folder.locked(job.out) if group.first else nullcontext():
        if group.first:
            folder.begin(job.out, recipe, facts, resume=job.resume)
        group.wait()
        yield


def settle_stride(recipe: Recipe, weights: Path | None) -> Recipe:
    """Put the placement of the stride that the weights were trained with in the place of `auto`."""
    if recipe.network.stride_in != "auto":
        return recipe
    place: Any = stride_placement(weights) if weights else "3x3"
    return dataclasses.replace(recipe, network=dataclasses.replace(recipe.network, stride_in=place))


def _open_judged(benchmark: Benchmark, recipe: Recipe, job: Job) -> Benchmark | None:
    """What to judge on, or None. What is wrong with it is said now, and not after hours of training."""
    judged = open_benchmark(job.val_data, job.format) if job.val_data else benchmark
    if job.val_data and (left := worth_a_line(judged.passed_over)):
        job.say(left)
    try:
        require_judgeable(judged, protocol_of(job))
    except DataError as error:
        if job.val_data:
            raise
        job.say(f"no scores from this data: {error}")
        return None
    for samples in (judged.query, judged.gallery):
        open_for(samples, recipe, job)
    return judged


def _tell_of_training(benchmark: Benchmark, judged: Benchmark | None, job: Job) -> tuple[str, ...]:
    """Write down what the run is trained on, and say what of it is in the query and gallery as well."""
    known = overlap.read_record(job.out)
    if known is None and not isinstance(benchmark.train, ShardSamples):
        before = overlap.read_record(job.weights) if job.weights else None
        known = overlap.digests(benchmark.train) | (before or frozenset())
        overlap.write_record(job.out, benchmark.name, known, len(np.unique(pids_of(benchmark.train))))
    if judged is None:
        return ()
    shared = overlap.find_trained(known or frozenset(), judged)
    warnings = shared.warnings()
    for warning in warnings:
        job.say(f"warning: {warning}")
    return warnings


def _tell_of_copies(judgement: Judgement | None, job: Job) -> tuple[str, ...]:
    """Say whether queries find themselves in the gallery."""
    if judgement is None:
        return ()
    warnings = find_copies(judgement.query, judgement.gallery, cameras=job.cameras).warnings()
    for warning in warnings:
        job.say(f"warning: {warning}")
    return warnings


def protocol_of(job: Job) -> Protocol:
    """How a run is evaluated: by the official protocol, but for what the job says of cameras."""
    return Protocol(cameras=job.cameras)


def _judge(model: Model, judged: Benchmark | None, job: Job, reading: Reading) -> Judgement | None:
    return judge(model, judged, protocol_of(job), reading) if judged else None


@contextmanager
def _never_diverged(file: Path) -> Iterator[None]:
    """See to it that no model is left behind whose features are no numbers.

    Raises:
        RunError: in the place of a DivergedError.
    """
    try:
        yield
    except DivergedError as error:
        file.unlink(missing_ok=True)
        raise RunError(f"no model is saved: {error}, in another --out") from None


def _probe(network: Network, source: ImageSource, reading: Reading) -> None:
    """Run the trained network on a few training images: where there is nothing to judge on, nobody else does.

    Raises:
        DivergedError: its features are no numbers.
    """
    few = slice(0, min(len(source), 8))
    with suppress(DataError):  # images that cannot be read any more: the run has ended all the same
        batches = eval_batches(source, few.stop, reading.device, share=few)
        refuse_diverged(embed(network.eval(), batches, reading.precision))


def _build(recipe: Recipe, people: int, job: Job, group: Group) -> tuple[Network, Objective]:
    """Network and objective as they are before the first step: a function of the recipe, the seed and the weights."""
    torch.manual_seed(job.seed)
    network = build(recipe.network)
    if job.weights:
        remark = load_backbone(network, job.weights)
        if remark and group.first:
            job.say(remark)
    return network, Objective(recipe, network.channels, people, group)


def _weights_name(path: Path | None) -> str:
    return fingerprint(read(path)[0]) if path else "none"
