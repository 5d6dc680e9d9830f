"""A training run from folders to a run folder: `reidkit train`."""

from __future__ import annotations

import dataclasses
import json
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from reidkit.data import overlap
from reidkit.data.formats.detect import load_dataset, merge_datasets
from reidkit.data.formats.passed_over import worth_a_line
from reidkit.data.images import open_images
from reidkit.data.loaders import TrainBatches, eval_batches
from reidkit.data.sampler import build_sampler, scattered_share
from reidkit.data.sources import Streamed, WithReplacements
from reidkit.data.transforms import build_augmentation
from reidkit.distributed import ALONE
from reidkit.encoder import InferenceOptions, Model, choose_device, choose_precision, embed, refuse_diverged
from reidkit.errors import DataError, DivergedError, RunError, UsageError
from reidkit.evaluation import EvaluationProtocol, evaluate, require_evaluable
from reidkit.losses.objective import Objective, build_objective
from reidkit.metrics.matching import find_copies
from reidkit.model.network import build_network
from reidkit.model.weights import fingerprint, load_backbone, read, save_model, stride_placement
from reidkit.train import run_folder
from reidkit.train.device import compile_network, prepare
from reidkit.train.log import Log
from reidkit.train.loop import Loop, fit
from reidkit.train.parallel import micro_batches_here
from reidkit.train.stop import Interrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.data.sources import ImageSource
    from reidkit.distributed import Group
    from reidkit.evaluation import Evaluation
    from reidkit.model.network import Network
    from reidkit.recipe import Optim, Recipe
    from reidkit.train.checkpoint import Progress
    from reidkit.train.log import Row
    from reidkit.types import Cameras, Dataset, Sample, Samples


# The images of a run: opened, told apart from other sets, and the same to its end.


def open_for(samples: Sequence[Sample], recipe: Recipe, job: TrainOptions) -> ImageSource:
    """The images of `samples`, as the job wants them read."""
    return open_images(
        samples,
        recipe.images.size,
        resize=recipe.images.resize,
        cache_dir=job.cache_dir,
        skip_unreadable=job.skip_unreadable,
        progress=lambda done, total: job.tell("reading images", done, total),
        stream=job.stream,
    )


def open_training(samples: Samples, recipe: Recipe, job: TrainOptions) -> tuple[ImageSource, dict[str, list[int]]]:
    """The images to train with, and what `run.json` is to remember of those left out: their places in the list.

    A run that goes on keeps the list that it was begun with.
    """
    source = open_for(samples, recipe, job)
    if not job.skip_unreadable or source.samples.shards:
        return source, {}
    left_out = np.setdiff1d(np.arange(len(samples)), source.kept).tolist()
    if job.resume and run_folder.holds_run(job.out):
        before = run_folder.left_out(job.out)
        if before != left_out:
            source = WithReplacements(source, samples, before)
            if len(source.lost):
                names = ", ".join(samples[i].path.name for i in source.lost[:3].tolist())
                more = ", ..." if len(source.lost) > 3 else ""
                job.say(f"others of the same people stand in for images that cannot be read any more: {names}{more}")
        left_out = before
    return source, {run_folder.LEFT_OUT: left_out} if left_out else {}


def digest(source: ImageSource) -> str:
    """Names and ids of the training images; their order too, as it decides which ones make up a batch."""
    return source.samples.digest() + (run_folder.STREAMED if isinstance(source, Streamed) else "")


# What a run says of itself, before it begins and on its page.


def machine(device: torch.device, precision: torch.dtype, group: Group) -> str:
    """What a run computes on, and in what."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    several = f"{group.size} processes of " if group.size > 1 else ""
    return f"{several}{name}, {str(precision).removeprefix('torch.')}"


def describe(benchmark: Dataset, source: ImageSource) -> str:
    """What a run learns from, for its page."""
    people, cameras = (len(np.unique(of)) for of in (source.samples.pids, source.samples.camids))
    return f"{benchmark.name}: {len(source)} training images of {people} people from {cameras} cameras"


def warn_of_best(evaluated: Dataset | None, apart: bool, say: Callable[[str], None]) -> None:
    """Choosing by scores needs something to score, and images that are chosen by say too much good of themselves.

    `apart`: the images to choose by are not those of the data set itself.

    Raises:
        UsageError: there is nothing to choose by.
    """
    if evaluated is None:
        raise UsageError(
            "optim.best_every chooses by scores, and there is nothing to evaluate on: pass evaluate_on",
            argument="evaluate_on",
        )
    if not apart:
        say(
            f"the best of the epochs is chosen on {evaluated.name}'s own query and gallery, so that their scores will "
            "flatter: evaluate on another data set to choose by other images"
        )


def warn_of_schedule(optim: Optim, batches: int, say: Callable[[str], None]) -> tuple[str, ...]:
    """Warn of what a learning rate's schedule has beyond the end of a run, and return the warnings.

    An epoch has so many `batches`. The epoch of a drop is the last one before it, so that one at the last epoch comes
    to nothing, too.
    """
    epochs, found = optim.epochs, []
    if late := [str(drop) for drop in optim.drops if drop >= epochs]:
        fitting = sorted({drop for drop in (round(epochs / 3), round(epochs * 7 / 12)) if 0 < drop < epochs})
        found.append(
            f"optim.drops lowers the learning rate after epoch {' and '.join(late)}, and the run ends with {epochs}: "
            f"optim.drops={json.dumps(fitting, separators=(',', ':'))} has the paper's proportions"
        )
    if optim.warmup_epochs > epochs:
        found.append(
            f"the warm-up takes {optim.warmup_epochs} epochs and the run {epochs}, so that the learning rate never "
            f"reaches optim.lr: optim.warmup_epochs={round(epochs / 12)} has the paper's proportions"
        )
    if optim.warmup_steps > epochs * batches:
        found.append(
            f"the warm-up takes {optim.warmup_steps} steps and the run about {epochs * batches}, so that the learning "
            f"rate never reaches optim.lr: optim.warmup_steps={round(epochs * batches / 12)} has the paper's "
            "proportions"
        )
    for warning in found:
        say(f"warning: {warning}")
    return tuple(found)


def warn_of_torn(source: ImageSource, labels: NDArray[np.int64], recipe: Recipe, say: Callable[[str], None]) -> None:
    """A window of an epoch can only draw from the images that it holds (see `data.windows`)."""
    share = scattered_share(labels, source.groups, recipe.batch.images) if isinstance(source, Streamed) else 0.0
    if share > 0.1:
        say(
            f"{share:.0%} of the images lie apart from the others of their person, which batches then repeat: "
            "`reidkit shard` puts them together"
        )


def _silent(*_: object) -> None:
    """Say nothing."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
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
    evaluate_every: int = 0
    cameras: Cameras = "cross"
    cache_dir: Path | None = None
    skip_unreadable: bool = False
    stream: bool | None = None
    resume_command: str = "the same training with resume=True"
    watchers: tuple[Callable[[Row], None], ...] = ()
    say: Callable[[str], None] = _silent
    tell: Callable[[str, int, int], None] = _silent
    position: Callable[[Progress, int], None] = _silent


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A finished run: the network, what it was judged on, and its scores (None where there was nothing to judge on)."""

    model: Model
    evaluated: Dataset | None
    evaluation: Evaluation | None
    description: str
    protocol: EvaluationProtocol = field(default_factory=EvaluationProtocol)
    warnings: tuple[str, ...] = ()
    """What a reader of the scores has to know."""


def run(recipe: Recipe, job: TrainOptions, group: Group = ALONE) -> TrainResult:
    """Train by `recipe`, save the network and judge it.

    In a `group` every process calls this with the same recipe and job, and gets the same outcome; the first one writes.

    Raises:
        ReidkitError: anything that keeps the run from starting or going on, in one sentence.
    """
    micro_batches_here(recipe.batch, group.size)  # a batch that cannot be shared is said at once
    device = choose_device(job.device)
    precision = choose_precision(job.precision, device)
    prepare(device)
    recipe = settle_stride(recipe, job.weights)
    benchmark = merge_datasets([load_dataset(path, job.format) for path in job.data])
    if left := worth_a_line(benchmark.passed_over):
        job.say(left)
    if not benchmark.train:
        raise DataError(f"{benchmark.name} has no training images: give a data set that has")
    reading = InferenceOptions(
        cache_dir=job.cache_dir,
        skip_unreadable=job.skip_unreadable,
        device=device,
        precision=precision,
        progress=job.tell,
        group=group,
    )
    evaluated = _open_judged(benchmark, recipe, job)
    source, remembered = open_training(benchmark.train, recipe, job)
    pids, labels = np.unique(source.samples.pids, return_inverse=True)
    sampler = build_sampler(source, labels, recipe.batch, job.seed)
    sampler.epoch(1)  # too few ids is said before anything is written
    network, objective = _build(recipe, len(pids), job, group)
    compiled = compile_network(network, device, job.compile, recipe.optim.epochs * len(source))
    facts = {"seed": job.seed, "precision": str(precision).removeprefix("torch."), "people": len(pids)}
    facts |= {"training_set": digest(source), "weights": _weights_name(job.weights), **remembered}

    with _opened(recipe, job, facts, group):
        start = (
            f"weights from {job.weights.name}"
            if job.weights
            else "weights from scratch (pretrained weights are better)"
        )
        job.say(
            f"{recipe.name}: {len(source)} images of {len(pids)} people, {start}, "
            f"{machine(device, precision, group)}{', compiled' if compiled else ''}"
        )
        warnings = _tell_of_training(benchmark, evaluated, job) if group.first else ()
        if recipe.optim.best_every:
            warn_of_best(evaluated, job.val_data is not None, job.say)

        def scores_now(current: Network) -> dict[str, float]:
            found = _judge(Model(current, recipe, ""), evaluated, job, reading)
            return found.scores.as_json() if found else {}

        warn_of_torn(source, labels, recipe, job.say)
        augmentation = build_augmentation(recipe.images, recipe.erasing)
        batches = TrainBatches(source, labels.astype(np.int64), sampler, augmentation, job.seed, device, group)
        batches.replaced = job.say if job.skip_unreadable else None
        warnings += warn_of_schedule(recipe.optim, batches.count(1), job.say)
        with Interrupt(job.resume_command, job.say) as interrupt:
            loop = Loop(
                device=device,
                precision=precision,
                state=job.out / "state.pt",
                journal=Log(job.out / "log.jsonl", job.watchers, writes=group.first),
                interrupt=interrupt,
                save_every=job.save_every,
                evaluate_every=job.evaluate_every if evaluated else 0,
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
            evaluation = _judge(model, evaluated, job, reading)
    return TrainResult(
        model=model,
        evaluated=evaluated,
        evaluation=evaluation,
        description=describe(benchmark, source),
        protocol=protocol_of(job),
        warnings=(*warnings, *_tell_of_copies(evaluation, job)),
    )


@contextmanager
def _opened(recipe: Recipe, job: TrainOptions, facts: dict[str, Any], group: Group) -> Iterator[None]:
    """The run's folder, begun or gone on with, for the first process; the others wait until it is."""
    with run_folder.locked(job.out) if group.first else nullcontext():
        if group.first:
            run_folder.begin(job.out, recipe, facts, resume=job.resume)
        group.wait()
        yield


def settle_stride(recipe: Recipe, weights: Path | None) -> Recipe:
    """Put the placement of the stride that the weights were trained with in the place of `auto`."""
    if recipe.network.stride_in != "auto":
        return recipe
    place: Any = stride_placement(weights) if weights else "3x3"
    return dataclasses.replace(recipe, network=dataclasses.replace(recipe.network, stride_in=place))


def _open_judged(benchmark: Dataset, recipe: Recipe, job: TrainOptions) -> Dataset | None:
    """What to judge on, or None. What is wrong with it is said now, and not after hours of training."""
    evaluated = load_dataset(job.val_data, job.format) if job.val_data else benchmark
    if job.val_data and (left := worth_a_line(evaluated.passed_over)):
        job.say(left)
    try:
        require_evaluable(evaluated, protocol_of(job))
    except DataError as error:
        if job.val_data:
            raise
        job.say(f"no scores from this data: {error}")
        return None
    for samples in (evaluated.query, evaluated.gallery):
        open_for(samples, recipe, job)
    return evaluated


def _tell_of_training(benchmark: Dataset, evaluated: Dataset | None, job: TrainOptions) -> tuple[str, ...]:
    """Write down what the run is trained on, and say what of it is in the query and gallery as well."""
    known = overlap.read_record(job.out)
    if known is None and not benchmark.train.shards:
        before = overlap.read_record(job.weights) if job.weights else None
        known = overlap.digests(benchmark.train) | (before or frozenset())
        overlap.write_record(job.out, benchmark.name, known, len(np.unique(benchmark.train.pids)))
    if evaluated is None:
        return ()
    shared = overlap.find_trained(known or frozenset(), evaluated)
    warnings = shared.warnings()
    for warning in warnings:
        job.say(f"warning: {warning}")
    return warnings


def _tell_of_copies(evaluation: Evaluation | None, job: TrainOptions) -> tuple[str, ...]:
    """Say whether queries find themselves in the gallery."""
    if evaluation is None:
        return ()
    warnings = find_copies(evaluation.query, evaluation.gallery, cameras=job.cameras).warnings()
    for warning in warnings:
        job.say(f"warning: {warning}")
    return warnings


def protocol_of(job: TrainOptions) -> EvaluationProtocol:
    """How a run is evaluated: by the official protocol, but for what the job says of cameras."""
    return EvaluationProtocol(cameras=job.cameras)


def _judge(model: Model, evaluated: Dataset | None, job: TrainOptions, reading: InferenceOptions) -> Evaluation | None:
    return evaluate(model, evaluated, protocol_of(job), reading) if evaluated else None


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
        raise RunError(f"no model is saved: {error}, in another folder", argument="optim.lr") from None


def _probe(network: Network, source: ImageSource, reading: InferenceOptions) -> None:
    """Run the trained network on a few training images: where there is nothing to judge on, nobody else does.

    Raises:
        DivergedError: its features are no numbers.
    """
    few = slice(0, min(len(source), 8))
    with suppress(DataError):  # images that cannot be read any more: the run has ended all the same
        batches = eval_batches(source, few.stop, reading.device, share=few)
        refuse_diverged(embed(network.eval(), batches, reading.precision))


def _build(recipe: Recipe, people: int, job: TrainOptions, group: Group) -> tuple[Network, Objective]:
    """Network and objective as they are before the first step: a function of the recipe, the seed and the weights."""
    torch.manual_seed(job.seed)
    network = build_network(recipe.network)
    if job.weights:
        remark = load_backbone(network, job.weights)
        if remark and group.first:
            job.say(remark)
    return network, build_objective(recipe, network.spans, people, group)


def _weights_name(path: Path | None) -> str:
    return fingerprint(read(path)[0]) if path else "none"
