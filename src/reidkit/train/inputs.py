"""The inputs of a run: its arguments, data sets and images, and the warnings about them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reidkit.arguments import check_whole
from reidkit.data.formats.detect import load_dataset, merge_datasets
from reidkit.data.formats.scan import worth_saying
from reidkit.data.images import open_images
from reidkit.data.sampler import HardIdSampler, build_sampler
from reidkit.data.sources import READ_ANYWHERE, Streamed, WithReplacements
from reidkit.encoder import InferenceOptions, as_image_encoder
from reidkit.errors import DataError, UsageError
from reidkit.evaluation import EvaluationProtocol
from reidkit.hardware import choose_device, choose_precision
from reidkit.losses.objective import check_terms
from reidkit.metrics.matching import require_evaluable
from reidkit.terminal import first_few
from reidkit.train import run_folder
from reidkit.train.log import LOGGER, Callback
from reidkit.types import JUNK, Dataset, Sample

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from reidkit.data.sampler import Sampler
    from reidkit.data.sources import ImageSource
    from reidkit.distributed import Group
    from reidkit.encoder import Encoder
    from reidkit.losses import Term
    from reidkit.model.own_network import OwnModule
    from reidkit.recipe import Recipe
    from reidkit.types import Cameras, Missing, Samples

    Data = str | os.PathLike[str] | Dataset | Sequence[Sample] | Sequence[str | os.PathLike[str] | Dataset]


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How a run is made. None of it changes the weights by more than rounding, except `skip_unreadable` and `stream`.

    Attributes:
        format: The format of data sets given as folders; None recognises it.
        device: `auto`, `cpu` or `cuda`.
        precision: What the network computes in: `auto`, `fp32` or `bf16`.
        compile: Whether torch compiles the network, which pays where several runs share a GPU (see docs/speed.md).
        save_every: Epochs between checkpoints.
        evaluate_every: Epochs between evaluations; 0: only one, at the end.
        cameras: `cross` or `any`: whether a match by the query's own camera counts.
        cache_dir: Folder for decoded images; None decodes them for every batch.
        skip_unreadable: Leave out images that cannot be read.
        save_classifier: Write the classifier of the ID loss, which is no part of the model, beside it.
        stream: Read shards in order and shuffle in memory; None: at a URL, and Parquet.
        missing_masks: Whether images without a mask are refused, or have all `ones`.
        resume_command: What to tell a user who wants to go on with a stopped run.

    Raises:
        UsageError: a number of epochs that there cannot be.
    """

    format: str | None = None
    device: str = "auto"
    precision: str = "auto"
    compile: bool = False
    save_every: int = 5
    evaluate_every: int = 0
    cameras: Cameras = "cross"
    cache_dir: str | os.PathLike[str] | None = None
    skip_unreadable: bool = False
    save_classifier: bool = False
    stream: bool | None = None
    missing_masks: Missing = "refuse"
    resume_command: str = "the same training with resume=True"

    def __post_init__(self) -> None:
        check_whole(self.save_every, "save_every", least=1)
        check_whole(self.evaluate_every, "evaluate_every")


def as_callbacks(callbacks: Sequence[Callback]) -> tuple[Callback, ...]:
    """Return callbacks as they are called, one after the other.

    Raises:
        UsageError: they are no list.
    """
    if isinstance(callbacks, Callback) or not isinstance(callbacks, Iterable):
        raise UsageError(f"callbacks are a {type(callbacks).__name__}: pass a list, [Mine()]", argument="callbacks")
    return tuple(callbacks)


@dataclass(frozen=True, kw_only=True)
class Job:
    """The arguments of `train`, and the processes that share the work."""

    recipe: Recipe
    data: Data
    out: Path
    weights: Path | None
    seed: int
    resume: bool
    evaluate_on: str | os.PathLike[str] | Dataset | None
    network: OwnModule | None
    terms: tuple[Term, ...]
    sampler: Sampler | None
    options: TrainOptions
    callbacks: tuple[Callback, ...]
    group: Group
    teacher: Encoder | None = None
    masks: Path | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.options, TrainOptions):
            raise UsageError(
                f"options are a {type(self.options).__name__}: pass TrainOptions(device='cpu')", argument="options"
            )
        if not isinstance(self.seed, Integral) or not 0 <= self.seed < 2**63:
            raise UsageError(f"the seed is {self.seed!r}: pass a whole number from 0 to 2**63 - 1", argument="seed")
        object.__setattr__(self, "seed", int(self.seed))  # one of numpy's is in no JSON
        check_terms(self.terms)
        own_order = self.sampler is not None
        if own_order and (isinstance(self.sampler, type) or not callable(getattr(self.sampler, "epoch", None))):
            raise UsageError("the sampler has no epoch(n) to be called: pass an object that has", argument="sampler")
        if not all(isinstance(callback, Callback) for callback in self.callbacks):
            raise UsageError(
                "callbacks are objects of a class made from Callback, and no classes: pass [Mine()]",
                argument="callbacks",
            )
        if self.teacher is not None:
            as_image_encoder(self.teacher)

    @cached_property
    def device(self) -> torch.device:
        """The device of this process."""
        return choose_device(self.options.device)

    @cached_property
    def precision(self) -> torch.dtype:
        """What the network computes in."""
        return choose_precision(self.options.precision, self.device)

    @property
    def precision_name(self) -> str:
        """The same in words, as `float32`."""
        return str(self.precision).removeprefix("torch.")

    @property
    def cache_dir(self) -> Path | None:
        """The folder of decoded images, or None."""
        return None if self.options.cache_dir is None else Path(self.options.cache_dir)

    @property
    def inference(self) -> InferenceOptions:
        """How the network is run on the query and the gallery."""
        return InferenceOptions(
            cache_dir=self.cache_dir,
            skip_unreadable=self.options.skip_unreadable,
            device=self.device,
            precision=self.precision,
            progress=self.show_progress,
            group=self.group,
            masks=self.masks,
            missing_masks=self.options.missing_masks,
        )

    @property
    def protocol(self) -> EvaluationProtocol:
        """By the official protocol, except for what the options say of cameras."""
        return EvaluationProtocol(cameras=self.options.cameras)

    def info(self, line: str) -> None:
        """Log a message, in the first process."""
        if self.group.first:
            LOGGER.info(line)

    def warn(self, line: str, argument: str = "") -> None:
        """Log a warning; `argument` is the one of `train`, or the recipe's key, that its remedy is about."""
        if self.group.first:
            LOGGER.warning(line, extra={"argument": argument})

    def show_progress(self, what: str, done: int, total: int) -> None:
        """Tell the callbacks how much is done."""
        for callback in self.callbacks:
            callback.on_progress(what, done, total)


# Data: what a run is trained and evaluated on, unchanged to its end.


def open_dataset(data: Data, job: Job) -> Dataset:
    """Return the data set that `data` is, or is the folder of, or has the training images of."""
    if isinstance(data, Dataset):
        return data
    if isinstance(data, str | os.PathLike):
        _refuse_folder_of_images(Path(data), job)
        dataset = load_dataset(Path(data), job.options.format)
        for line in worth_saying(dataset):
            job.info(line)
        return dataset
    if not isinstance(data, Sequence) or (len(data) and not isinstance(data[0], str | os.PathLike | Dataset | Sample)):
        kind = f"a list of {type(data[0]).__name__}" if isinstance(data, Sequence) else f"a {type(data).__name__}"
        raise UsageError(
            f"data is {kind}: pass a folder, what load_dataset returns, or a list of these or of "
            "Sample(path, pid, camid)",
            argument="data",
        )
    if len(data) and isinstance(data[0], str | os.PathLike | Dataset):
        return merge_datasets([open_dataset(one, job) for one in data])  # type: ignore[arg-type]
    return Dataset("samples", train=data)  # type: ignore[arg-type]


def _refuse_folder_of_images(data: Path, job: Job) -> None:
    """Refuse to begin a run among the files of its data set.

    Raises:
        UsageError: both are one folder.
    """
    if data.is_dir() and job.out.exists() and data.samefile(job.out) and not run_folder.holds_run(job.out):
        raise UsageError(f"{job.out} is the data set: choose another folder as out", argument="out")


def open_evaluated(dataset: Dataset, job: Job) -> Dataset | None:
    """Return what to evaluate on, or None; errors in it are raised now and not after hours of training."""
    evaluated = dataset if job.evaluate_on is None else open_dataset(job.evaluate_on, job)
    try:
        require_evaluable(evaluated, job.protocol.cameras)
    except DataError as error:
        if job.evaluate_on is not None:
            raise
        job.warn(f"no scores from this data: {error}", error.argument)
        return None
    for samples in (evaluated.query, evaluated.gallery):
        open_for(samples, job)
    return evaluated


def open_for(samples: Sequence[Sample], job: Job) -> ImageSource:
    """Return the images of `samples`, read as the job's options say."""
    return open_images(
        samples,
        job.recipe.images.size,
        resize=job.recipe.images.resize,
        cache_dir=job.cache_dir,
        skip_unreadable=job.options.skip_unreadable,
        progress=partial(job.show_progress, "reading images"),
        stream=job.options.stream,
    )


def open_training(samples: Samples, job: Job) -> tuple[ImageSource, dict[str, list[int]]]:
    """Return the images to train with, and the indices of those left out, for `run.json` to remember.

    A run that goes on keeps the list that it was begun with.

    Raises:
        DataError: some are junk, which would be learned as one id; images that cannot be read.
    """
    if junk := int((samples.pids == JUNK).sum()):
        raise DataError(f"{junk} of the training images are junk, with the pid -1: leave them out", argument="data")
    source = open_for(samples, job)
    if not job.options.skip_unreadable or source.samples.shards:
        return source, {}
    left_out = np.setdiff1d(np.arange(len(samples)), source.readable).tolist()
    if job.resume and run_folder.holds_run(job.out):
        before = run_folder.left_out(job.out)
        if before != left_out:
            source = WithReplacements(source, samples, before)
            if len(source.lost):
                names = first_few(samples[i].path.name for i in source.lost.tolist())
                job.warn(f"other images of the same ids replace images that cannot be read any more: {names}")
        left_out = before
    return source, {run_folder.LEFT_OUT: left_out} if left_out else {}


def open_sampler(source: ImageSource, labels: NDArray[np.int64], job: Job) -> Sampler:
    """Return the user's sampler or that of the recipe, which raises if there are too few ids for its batches."""
    if job.sampler is not None and isinstance(source, Streamed):
        raise UsageError(
            f"streamed shards have an order of their own: for your sampler {READ_ANYWHERE}", argument="stream"
        )
    sampler = job.sampler or build_sampler(source, labels, job.recipe.batch, job.seed)
    if job.sampler is not None and not isinstance(job.sampler, HardIdSampler):
        sampler = OwnSampler(job.sampler, len(source), job.group.size)
    check_batches(sampler.epoch(1), len(source), job.group.size)
    return sampler


class OwnSampler:
    """A user's sampler, of which the batches of every epoch are checked: an index below 0 would be another image."""

    def __init__(self, sampler: Sampler, images: int, processes: int) -> None:
        self._sampler, self._images, self._processes = sampler, images, processes

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """Return the batches of an epoch.

        Raises:
            UsageError: as `check_batches`.
        """
        order = self._sampler.epoch(epoch)
        check_batches(order, self._images, self._processes, epoch)
        return order


def check_batches(order: NDArray[np.int64], images: int, processes: int, epoch: int = 1) -> None:
    """Refuse batches of a sampler that are not rows of indices of `images` training images, to be shared evenly.

    Raises:
        UsageError: the first thing that is wrong with them.
    """
    if not isinstance(order, np.ndarray) or order.ndim != 2 or not np.issubdtype(order.dtype, np.integer):
        raise UsageError(f"the sampler's epoch({epoch}) is no array of int64 [batches, images]", argument="sampler")
    if not order.size:
        raise UsageError(f"the sampler has no batches in epoch {epoch}", argument="sampler")
    if order.min() < 0 or order.max() >= images:
        wrong = order.max() if order.max() >= images else order.min()
        raise UsageError(
            f"in epoch {epoch} the sampler asks for image {wrong}, and there are {images} training images, counted "
            "from 0",
            argument="sampler",
        )
    if order.shape[1] % processes:
        raise UsageError(f"{processes} processes cannot share batches of {order.shape[1]} images evenly")


def training_facts(source: ImageSource, recipe: Recipe) -> dict[str, str]:
    """Return digests of the training images: names and ids in their order, which decides which ones make up a batch.

    Where the recipe looks at cameras, of these, too.
    """
    facts = {"training_set": source.samples.digest() + (run_folder.STREAMED if isinstance(source, Streamed) else "")}
    if recipe.network.cameras or recipe.images.exchange or recipe.batch.cameras == "spread":
        camids = source.samples.camids.astype("<i8")
        facts[run_folder.CAMERAS] = hashlib.sha256(camids.tobytes()).hexdigest()[:16]
    return facts
