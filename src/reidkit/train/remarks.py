"""What a run says of itself: what it computes on and is trained on, and what its user should know of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import torch

from reidkit.data import overlap
from reidkit.data.sampler import scattered_share
from reidkit.data.sources import Streamed
from reidkit.errors import UsageError
from reidkit.recipe import Optim
from reidkit.terminal import counted
from reidkit.types import NO_CAMERA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from reidkit.data.sources import ImageSource
    from reidkit.evaluation import Evaluation
    from reidkit.train.inputs import Job
    from reidkit.types import Dataset

LUO2019 = Optim(epochs=120, drops=(40, 70), warmup_epochs=10)
"""The schedule of the strong baseline: drops after a third and seven twelfths, a twelfth of warm-up."""


def machine(job: Job) -> str:
    """Return what a run computes on, and how."""
    cuda = job.device.type == "cuda"
    name = torch.cuda.get_device_name(job.device) if cuda else counted(torch.get_num_threads(), "CPU thread")
    several = f"{job.group.size} processes of " if job.group.size > 1 else ""
    return f"{several}{name}, {job.precision_name}{', compiled' if job.options.compile else ''}"


def describe(dataset: Dataset, source: ImageSource) -> str:
    """Return what a run is trained on, for its page."""
    ids, cameras = (len(np.unique(of)) for of in (source.samples.pids, source.samples.camids))
    return f"{dataset.name}: {len(source)} training images of {ids} ids from {cameras} cameras"


def warn_before(  # noqa: PLR0913
    dataset: Dataset,
    evaluated: Dataset | None,
    source: ImageSource,
    labels: NDArray[np.int64],
    batches: int,
    job: Job,
    *,
    published: Optim = LUO2019,
) -> tuple[str, ...]:
    """Log what a user should know before the first step, and return what a reader of the scores should know.

    A schedule that does not fit in the run is answered with the proportions of the `published` one.

    Raises:
        UsageError: the best epoch cannot be chosen, as there is nothing to evaluate on.
    """
    recipe = job.recipe
    shared = _overlap_warnings(dataset, evaluated, job) if job.group.first else ()
    schedule = schedule_warnings(recipe.optim, batches, published)
    if recipe.optim.best_every:
        _warn_of_best(evaluated, job)
    scattered = scattered_share(labels, source.groups, recipe.batch.images) if isinstance(source, Streamed) else 0.0
    if scattered > 0.1:  # a window of an epoch can only draw from the images that it holds
        job.warn(
            f"{scattered:.0%} of the images lie apart from the others of their id, which batches then repeat: "
            "`reidkit shard` puts them together"
        )
    if recipe.batch.images > 1 and len(labels) == len(np.unique(labels)):
        job.warn(
            "no id has a second image, so that batches repeat one and nothing is learned of a person in two images: "
            "see by `reidkit data` what was taken for ids"
        )
    for key, warning in _without_effect(source, job):
        job.warn(warning, key)
    for warning in shared:
        job.warn(warning)
    for key, warning in schedule:
        job.warn(warning, key)
    return (*shared, *(warning for _, warning in schedule))


def _without_effect(source: ImageSource, job: Job) -> Iterator[tuple[str, str]]:
    """Yield the settings of the recipe that have no effect here: pairs of a key and a sentence."""
    images, optim = job.recipe.images, job.recipe.optim
    cameras = np.unique(source.samples.camids)
    if len(cameras) < 2:
        why = "come from unknown cameras" if NO_CAMERA in cameras else "come from one camera"
        if images.exchange:
            yield "images.exchange", f"images.exchange changes nothing, as the training images {why}"
        if job.recipe.batch.cameras == "spread":
            yield "batch.cameras", f"batch.cameras=spread changes nothing, as the training images {why}"
    pool, others = job.recipe.batch.hard_pool, len(np.unique(source.samples.pids)) - 1
    if job.sampler is None and pool and pool >= others:
        yield "batch.hard_pool", f"batch.hard_pool={pool} chooses no hard ids, as an id has {others} others: take fewer"
    if job.weights is None and optim.new != 1:
        yield (
            "optim.new",
            f"optim.new multiplies the learning rate of the whole network by {optim.new:g}, as no weights have filled "
            "any of it: optim.new=1 does not",
        )
    if job.weights is None and optim.freeze:
        yield "optim.freeze", "optim.freeze has no effect, as no weights have filled any of the network"


def _overlap_warnings(dataset: Dataset, evaluated: Dataset | None, job: Job) -> tuple[str, ...]:
    """Record what the run is trained on, and return what to say of images that are in query or gallery as well."""
    known = overlap.read_record(job.out)
    if known is None and not dataset.train.shards:
        before = overlap.read_record(job.weights) if job.weights else None
        known = overlap.digests(dataset.train) | (before or frozenset())
        overlap.write_record(job.out, dataset.name, known, len(np.unique(dataset.train.pids)))
    return overlap.find_trained(known or frozenset(), evaluated).warnings() if evaluated else ()


def _warn_of_best(evaluated: Dataset | None, job: Job) -> None:
    """Warn of scores on the very images by which the best epoch is chosen: they are too high.

    Raises:
        UsageError: there is nothing to choose by.
    """
    if evaluated is None:
        raise UsageError(
            "optim.best_every chooses by scores, and there is nothing to evaluate on: give a data set with a query "
            "and a gallery",
            argument="evaluate_on",
        )
    if job.evaluate_on is None:
        job.warn(
            f"the best epoch is chosen on {evaluated.name}'s own query and gallery, so that their scores will be too "
            "high: give other images to choose by",
            "evaluate_on",
        )


def schedule_warnings(optim: Optim, batches: int, published: Optim = LUO2019) -> tuple[tuple[str, str], ...]:
    """Return what of a learning rate's schedule lies beyond the end of a run: pairs of a recipe's key and a sentence.

    An epoch has so many `batches`. The remedies have the proportions of the `published` schedule. The epoch of a drop
    is the last one before it, so that a drop at the last epoch has no effect either.
    """
    epochs, steps, found = optim.epochs, optim.epochs * batches, []
    warmup, fits = published.warmup_epochs / published.epochs, "has the published proportions"
    if optim.schedule == "cosine" and optim.flat >= epochs:
        warning = f"optim.flat keeps the learning rate up to epoch {optim.flat}, and the run ends with {epochs}"
        found.append(("optim.flat", f"{warning}: optim.flat={epochs // 2} lowers it in the second half"))
    if optim.schedule == "steps" and (late := [str(drop) for drop in optim.drops if drop >= epochs]):
        scaled = {round(epochs * drop / published.epochs) for drop in published.drops}
        fitting = sorted(drop for drop in scaled if 0 < drop < epochs)
        warning = (
            f"optim.drops lowers the learning rate after epoch {' and '.join(late)}, and the run ends with {epochs}"
        )
        remedy = f"optim.drops={json.dumps(fitting, separators=(',', ':'))}"
        found.append(("optim.drops", f"{warning}: {remedy} {fits}"))
    if optim.warmup_epochs > epochs:
        warning = f"the warm-up takes {optim.warmup_epochs} epochs and the run {epochs}, so that"
        remedy = f"optim.warmup_epochs={round(epochs * warmup)}"
        found.append(("optim.warmup_epochs", f"{warning} the learning rate never reaches optim.lr: {remedy} {fits}"))
    if optim.warmup_steps > steps:
        warning = f"the warm-up takes {optim.warmup_steps} steps and the run about {steps}, so that"
        remedy = f"optim.warmup_steps={round(steps * warmup)}"
        found.append(("optim.warmup_steps", f"{warning} the learning rate never reaches optim.lr: {remedy} {fits}"))
    return tuple(found)


def warn_after(evaluation: Evaluation | None, job: Job) -> tuple[str, ...]:
    """Log and return whether queries find themselves in the gallery."""
    if evaluation is None:
        return ()
    warnings = evaluation.warnings()
    for warning in warnings:
        job.warn(warning)
    return warnings
