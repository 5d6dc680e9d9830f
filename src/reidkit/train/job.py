"""A training run from folders to a run folder: `reidkit train`."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from reidkit.data.cache import open_images
from reidkit.data.detect import merge, open_benchmark
from reidkit.data.loaders import TrainBatches
from reidkit.data.shards.samples import ShardSamples, camids_of, pids_of
from reidkit.data.sources import Streamed
from reidkit.data.windows import epoch_batches, torn
from reidkit.embed import choose_device, choose_precision
from reidkit.judge import Protocol, Reading, judge, require_judgeable
from reidkit.losses.objective import Objective
from reidkit.model.network import build
from reidkit.model.weights import Model, fingerprint, load_backbone, read, save_model, stride_placement
from reidkit.train import folder
from reidkit.train.interrupt import Interrupt
from reidkit.train.journal import Journal
from reidkit.train.loop import Loop, fit
from reidkit.train.memory import keep_freed_memory
from reidkit.types import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.data.sources import ImageSource
    from reidkit.judge import Judgement
    from reidkit.model.network import Network
    from reidkit.recipe import Recipe
    from reidkit.train.journal import Row
    from reidkit.types import Benchmark, Sample


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
    save_every: int = 5
    judge_every: int = 0
    cache_dir: Path | None = None
    skip_broken: bool = False
    stream: bool | None = None
    resume_command: str = "the same command with --resume"
    watchers: tuple[Callable[[Row], None], ...] = ()
    say: Callable[[str], None] = _silent
    tell: Callable[[str, int, int], None] = _silent


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished run: the network, what it was judged on, and its scores (None where there was nothing to judge on)."""

    model: Model
    judged: Benchmark | None
    judgement: Judgement | None
    description: str


def run(recipe: Recipe, job: Job) -> Outcome:
    """Train by `recipe`, save the network and judge it.

    Raises:
        ReidkitError: anything that keeps the run from starting or going on, in one sentence.
    """
    device = choose_device(job.device)
    precision = choose_precision(job.precision, device)
    keep_freed_memory()
    recipe = _settle_stride(recipe, job.weights)
    benchmark = merge([open_benchmark(path, job.format) for path in job.data])
    if not benchmark.train:
        raise DataError(f"{benchmark.name} has no training images: give a data set that has")
    reading = Reading(
        cache_dir=job.cache_dir, skip_broken=job.skip_broken, device=device, precision=precision, tell=job.tell
    )
    judged = _open_judged(benchmark, recipe, job)
    source = _open_images(benchmark.train, recipe, job)
    pids, labels = np.unique(pids_of(source.samples), return_inverse=True)
    epoch_batches(source, labels, recipe.batch, job.seed, epoch=1)  # too few people is said before anything is written
    network, objective = _build(recipe, len(pids), job)
    facts = {"seed": job.seed, "precision": str(precision).removeprefix("torch."), "people": len(pids)}
    facts |= {"training_set": _digest(source), "weights": _weights_name(job.weights)}

    with folder.locked(job.out):
        folder.begin(job.out, recipe, facts, resume=job.resume)
        start = f"weights from {job.weights.name}" if job.weights else "weights from scratch (--weights FILE is better)"
        job.say(f"{recipe.name}: {len(source)} images of {len(pids)} people, {start}, {_words(device, precision)}")

        def scores_now(current: Network) -> dict[str, float]:
            found = _judge(Model(current, recipe, ""), judged, reading)
            return found.scores.as_json() if found else {}

        _warn_of_torn(source, labels, recipe, job)
        batches = TrainBatches(source, labels.astype(np.int64), recipe, job.seed, device)
        with Interrupt(job.resume_command) as interrupt:
            loop = Loop(
                device=device,
                precision=precision,
                state=job.out / "state.pt",
                journal=Journal(job.out / "log.jsonl", job.watchers),
                interrupt=interrupt,
                save_every=job.save_every,
                judge_every=job.judge_every if judged else 0,
                judge=scores_now,
            )
            fit(network, objective, batches, recipe, loop)
        name = save_model(job.out / "model.safetensors", network, recipe)
        model = Model(network.eval(), recipe, name)
        judgement = _judge(model, judged, reading)
    return Outcome(model=model, judged=judged, judgement=judgement, description=_describe(benchmark, source))


def _settle_stride(recipe: Recipe, weights: Path | None) -> Recipe:
    """Put the placement of the stride that the weights were trained with in the place of `auto`."""
    if recipe.network.stride_in != "auto":
        return recipe
    place: Any = stride_placement(weights) if weights else "3x3"
    return dataclasses.replace(recipe, network=dataclasses.replace(recipe.network, stride_in=place))


def _open_judged(benchmark: Benchmark, recipe: Recipe, job: Job) -> Benchmark | None:
    """What to judge on, or None. What is wrong with it is said now, and not after hours of training."""
    judged = open_benchmark(job.val_data, job.format) if job.val_data else benchmark
    try:
        require_judgeable(judged, Protocol())
    except DataError as error:
        if job.val_data:
            raise
        job.say(f"no scores from this data: {error}")
        return None
    for samples in (judged.query, judged.gallery):
        _open_images(samples, recipe, job)
    return judged


def _judge(model: Model, judged: Benchmark | None, reading: Reading) -> Judgement | None:
    return judge(model, judged, Protocol(), reading) if judged else None


def _open_images(samples: Sequence[Sample], recipe: Recipe, job: Job) -> ImageSource:
    return open_images(
        samples,
        recipe.images,
        job.cache_dir,
        job.skip_broken,
        lambda done, total: job.tell("reading images", done, total),
        job.stream,
    )


def _warn_of_torn(source: ImageSource, labels: NDArray[np.int64], recipe: Recipe, job: Job) -> None:
    share = torn(labels, source.groups, recipe.batch.images) if isinstance(source, Streamed) else 0.0
    if share > 0.1:
        job.say(
            f"{share:.0%} of the images lie apart from the others of their person, which batches then repeat: "
            "`reidkit shard` puts them together"
        )


def _build(recipe: Recipe, people: int, job: Job) -> tuple[Network, Objective]:
    """Network and objective as they are before the first step: a function of the recipe, the seed and the weights."""
    torch.manual_seed(job.seed)
    network = build(recipe.network)
    if job.weights:
        load_backbone(network, job.weights)
    return network, Objective(recipe, network.channels, people)


def _digest(source: ImageSource) -> str:
    """Names and ids of the training images; their order too, as it decides which ones make up a batch."""
    if isinstance(source.samples, ShardSamples):
        return source.samples.digest() + (" streamed" if isinstance(source, Streamed) else "")
    total = hashlib.sha256()
    for sample in source.samples:
        total.update(f"{sample.path.name}\0{sample.pid}\n".encode(errors="surrogateescape"))
    return total.hexdigest()[:16]


def _weights_name(path: Path | None) -> str:
    return fingerprint(read(path)[0]) if path else "none"


def _words(device: torch.device, precision: torch.dtype) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    return f"{name}, {str(precision).removeprefix('torch.')}"


def _describe(benchmark: Benchmark, source: ImageSource) -> str:
    people, cameras = (len(np.unique(of(source.samples))) for of in (pids_of, camids_of))
    return f"{benchmark.name}: {len(source)} training images of {people} people from {cameras} cameras"
