"""`adapt`: train a model further on images without labels, by cluster contrast.

Dai et al., "Cluster Contrast for Unsupervised Person Re-Identification" (arXiv:2103.11568). Each epoch: features of all
images, their clusters (`metrics.clustering`), one centroid a cluster, and steps on the loss against these
(`losses.cluster_memory`). The loop is that of `train`; what differs is where labels come from.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch

from reidkit.arguments import check_path
from reidkit.data.loaders import TrainBatches
from reidkit.data.sampler import PKSampler
from reidkit.data.sources import READ_ANYWHERE, Streamed
from reidkit.data.transforms import build_augmentation
from reidkit.data.unlabelled import open_unlabelled
from reidkit.distributed import joined
from reidkit.encoder import Model, as_image_encoder, embed_source
from reidkit.errors import DataError, DivergedError, RunError, UsageError
from reidkit.evaluation import evaluate
from reidkit.losses.cluster_memory import ClusterMemory
from reidkit.losses.objective import Objective, Term
from reidkit.metrics.clustering import OUTLIER, jaccard_clusters
from reidkit.model.chance import first_weights
from reidkit.model.own_network import OwnNetwork, network_name
from reidkit.recipe import Optim, override
from reidkit.train.checkpoint import Progress, last_good
from reidkit.train.device import compile_network, prepared
from reidkit.train.inputs import Job, TrainOptions, as_callbacks, open_evaluated, open_training, training_facts
from reidkit.train.loop import StopAskedError
from reidkit.train.parallel import micro_batches_here, share_statistics
from reidkit.train.remarks import machine, warn_after, warn_before
from reidkit.train.run import Run, fit_and_save, open_log, opened
from reidkit.types import as_samples

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from reidkit.data.sources import ImageSource
    from reidkit.model.own_network import AnyNetwork
    from reidkit.recipe import Recipe
    from reidkit.train.inputs import Data
    from reidkit.train.log import Callback, Log
    from reidkit.types import Dataset

SCHEDULE = Optim(epochs=50, drops=(20, 40))
"""The schedule of cluster contrast."""


def adaptation_recipe(recipe: Recipe, settings: Sequence[str] | Mapping[str, object] = ()) -> Recipe:
    """Return the recipe of an adaptation: images, erasing and network of a model's recipe, the rest as published.

    That is batches of 16 clusters with 16 images each, and Adam at 3.5e-4 for 50 epochs of `adapt.steps` batches, a
    tenth after 20 and a hundredth after 40 of them. `settings` change it, as `{"adapt.eps": 0.5}` or `adapt.eps=0.5`.

    Raises:
        UsageError: a setting that there is not, or of the network or a loss; a pool of hard ids; or the best epoch is
            to be chosen by scores.
    """
    made = dataclasses.replace(
        recipe,
        name=f"{recipe.name[:190]}-adapted",
        batch=dataclasses.replace(recipe.batch, ids=16, images=16, visits="chunks", micro_batches=1, hard_pool=0),
        optim=SCHEDULE,
    )
    made = override(made, settings)
    _refuse_unused(recipe, made)
    if made.optim.best_every:
        raise UsageError(
            "an adaptation keeps the weights of its last epoch, as the best could only be chosen by the labels of the "
            "test: leave out optim.best_every",
            argument="optim.best_every",
        )
    if made.batch.hard_pool:
        raise UsageError(
            "an adaptation draws its clusters evenly, as they change with every epoch: set batch.hard_pool to 0",
            argument="batch.hard_pool",
        )
    return made


def _refuse_unused(recipe: Recipe, made: Recipe) -> None:
    """Refuse settings of what an adaptation takes as it is, or has none of."""
    for section in ("network", "identity", "triplet", "center", "pair", "aside", "distil"):
        before, after = getattr(recipe, section), getattr(made, section)
        for field in dataclasses.fields(before):
            if getattr(before, field.name) != getattr(after, field.name):
                why = "the network is the model's" if section == "network" else "the contrast is the only loss"
                key = f"{section}.{field.name}"
                raise UsageError(f"{key} changes nothing of an adaptation: {why}; leave it out", argument=key)


def adapt(  # noqa: PLR0913  (what a run is made of)
    model: Model,
    data: Data,
    *,
    out: str | os.PathLike[str],
    settings: Sequence[str] | Mapping[str, object] = (),
    seed: int = 0,
    resume: bool = False,
    evaluate_on: str | os.PathLike[str] | Dataset | None = None,
    options: TrainOptions | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Adapt a model to images without labels, save it in the folder `out`, and evaluate it before and after.

    The ids of the images are never read. The weights of the last epoch are saved; a query and a gallery, where there
    are any, only give scores to print.

    Args:
        model: What `load_model` returns for a run folder or a `.safetensors`; it stays as it is.
        data: Images of the place that the model is for: a data set (its training images are taken), a folder of
            images, several of these, or just samples.
        out: The run folder, as that of `train`.
        settings: What to change in the recipe, as `{"adapt.eps": 0.5, "optim.epochs": 20}` (see `adaptation_recipe`).
        seed: Decides order and augmentation.
        resume: Go on with the run in the folder, if there is one.
        evaluate_on: A data set with a query and a gallery; None: those of `data`, if it has them.
        options: How the run is made.
        callbacks: Objects that follow the run.

    Returns:
        The run; `before` has the scores of the model as it was.

    Raises:
        UsageError: a setting that there is not; a model that cannot be trained, as an exported one.
        DataError: too few images, or an image that cannot be read.
        RunError: the images make up fewer than two clusters; or as `train`.
    """
    if not isinstance(model, Model):
        as_image_encoder(model)  # a path or anything else that is no encoder is refused by its own sentence
        raise UsageError(
            f"the model is a {type(model).__name__}, which cannot learn: give the run folder or .safetensors of a "
            "trained network",
            argument="model",
        )
    if model.network.mask_channels:
        raise UsageError(
            "the model takes a mask beside each image, which an adaptation has none of: give a model without masks",
            argument="model",
        )
    with joined() as group:
        job = Job(
            recipe=adaptation_recipe(model.recipe, settings),
            data=data,
            out=check_path(out, "the folder of the run", "out"),
            weights=model.path,
            seed=seed,
            resume=resume,
            evaluate_on=evaluate_on,
            network=model.network if isinstance(model.network, OwnNetwork) else None,
            terms=(),
            sampler=None,
            options=options or TrainOptions(),
            callbacks=as_callbacks(callbacks) if group.first else (),
            group=group,
        )
        with prepared(job.device):
            return _run(model, job)


def _run(model: Model, job: Job) -> Run:
    recipe = job.recipe
    micro_batches_here(recipe.batch, job.group.size)
    dataset = open_unlabelled(job.data, job.options.format)
    # The one pid of images without ids says nothing of what they share with query and gallery.
    tested = dataclasses.replace(dataset, train=as_samples(()))
    evaluated = open_evaluated(tested, job) if job.evaluate_on is not None or dataset.query else None
    source, left_out = open_training(dataset.train, job)
    _refuse_unfit(source, recipe)

    with first_weights(job.seed):
        network: AnyNetwork = copy.deepcopy(model.network)
        memory = ClusterMemory(
            network.channels,
            temperature=recipe.adapt.temperature,
            momentum=recipe.adapt.momentum,
            images=recipe.batch.images,
        )
    objective = Objective([Term("contrast", 1.0, memory, "f_i")], network.spans)
    if job.options.compile:
        compile_network(network, job.device)
    facts = {"seed": job.seed, "precision": job.precision_name, "adapted_from": model.fingerprint}
    facts |= {**training_facts(source, job.recipe), **left_out}
    if job.network is not None:
        facts["network"] = network_name(network)

    with opened(job, facts):
        job.info(f"{recipe.name}: {len(source)} images without labels, weights {model.fingerprint}, {machine(job)}")
        log = open_log(job)
        batches = ClusteredBatches(network, memory, source, log, job)
        labels = np.zeros(len(source), np.int64)
        warnings = warn_before(dataset, evaluated, source, labels, recipe.adapt.steps, job, published=SCHEDULE)
        before = evaluate(model, evaluated, job.protocol, job.inference).scores if evaluated else None
        adapted, evaluation = fit_and_save(network, objective, batches, evaluated, job, log)
    return Run(
        folder=job.out,
        model=adapted,
        evaluation=evaluation,
        evaluated=evaluated,
        description=f"{dataset.name}: {len(source)} images without labels",
        protocol=job.protocol,
        warnings=(*warnings, *warn_after(evaluation, job)),
        before=before,
    )


def _refuse_unfit(source: ImageSource, recipe: Recipe) -> None:
    """Refuse images that no clusters can be made of.

    Raises:
        DataError: they are too few.
        UsageError: they are streamed, while any of them may be needed at any time.
    """
    if isinstance(source, Streamed):
        raise UsageError(
            f"streamed shards cannot be adapted to, as batches of clusters need any image at any time: {READ_ANYWHERE}",
            argument="stream",
        )
    least = 2 * recipe.adapt.min_images
    if len(source) < least:
        raise DataError(
            f"{len(source)} images are too few for two clusters of {recipe.adapt.min_images}: give at least {least}, "
            "better some thousands",
            argument="data",
        )


class ClusteredBatches(TrainBatches):
    """Batches of clusters, which are made anew at the start of every epoch.

    Where a run goes on in the middle of an epoch, the clusters of that epoch are those in its state.
    """

    def __init__(self, network: AnyNetwork, memory: ClusterMemory, source: ImageSource, log: Log, job: Job) -> None:
        """Take the network whose features are clustered, and the memory that is filled with the clusters."""
        recipe = job.recipe
        self._network, self._memory, self._log, self._job = network, memory, log, job
        self._sampler = ClusterSampler(
            recipe.batch.ids,
            recipe.batch.images,
            recipe.adapt.steps,
            job.seed,
            parts=(recipe.batch.micro_batches, job.group.size),
            camids=source.samples.camids if recipe.batch.cameras == "spread" else None,
        )
        augmentation = build_augmentation(recipe.images, recipe.erasing)
        labels = np.full(len(source), -1, np.int64)
        super().__init__(source, labels, self._sampler, augmentation, job.seed, job.device, job.group)
        self.replaced = job.warn if job.options.skip_unreadable else None

    def count(self, epoch: int) -> int:  # noqa: ARG002  (the same for all, and known before there are clusters)
        """Return how many batches an epoch has."""
        return self._job.recipe.adapt.steps

    def epoch(self, epoch: int, start: int = 0) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Cluster the images, unless that was done before, and yield the batches of an epoch from `start` on.

        Raises:
            DataError: an image cannot be read any more.
            RunError: there are too few clusters, or the features are not finite.
        """
        if start == 0:
            self._cluster(epoch)
        clusters = self._memory.clusters.cpu().numpy()
        if len(clusters) != len(self.source):
            raise RunError(f"{self._state} is damaged (its clusters are of other images): delete it to start over")
        self.labels = self._sampler.clusters = clusters
        yield from super().epoch(epoch, start)

    @property
    def _state(self) -> Path:
        return self._job.out / "state.pt"

    def _cluster(self, epoch: int) -> None:
        """Cluster the images by the network as it is, and fill the memory with the clusters.

        Raises:
            RunError: there are fewer than two, or than the parts of a batch.
        """
        adapt, job = self._job.recipe.adapt, self._job
        share_statistics(job.group, self._network)
        vectors = torch.from_numpy(self._features(epoch)).to(job.device)
        points = vectors if job.device.type == "cuda" else vectors.numpy()
        clusters = jaccard_clusters(
            points, eps=adapt.eps, k1=adapt.k1, k2=adapt.k2, min_images=adapt.min_images, metric="cosine"
        )
        count, outliers = int(clusters.max()) + 1, int(np.count_nonzero(clusters == OUTLIER))
        error = self._refusal(epoch, count, outliers, len(clusters))
        if error is not None:
            raise error
        self._memory.fill(vectors, torch.from_numpy(clusters).to(job.device))
        self._log.clusters(Progress(epoch, 0, (epoch - 1) * adapt.steps), count, outliers, len(clusters))

    def _refusal(self, epoch: int, count: int, outliers: int, images: int) -> RunError | None:
        """Say why no batches can be made of so many clusters, if so."""
        eps = self._job.recipe.adapt.eps
        found = f"{count or 'no'} cluster{'s' * (count != 1)} and {outliers} outlier{'s' * (outliers != 1)}"
        made = f"before epoch {epoch} the {images} images make up {found}"
        if count < 2:
            change = f"{'lower' if count else 'raise'} adapt.eps, which is {eps:g}"
            other = " in another folder," if epoch > 1 else ""  # a run that goes on keeps its settings
            return RunError(f"{made}: {change},{other} or begin with a better model", argument="adapt.eps")
        if not self._sampler.per_batch(count):
            return RunError(
                f"{made}, too few for the parts of a batch: set batch.micro_batches to 1, or take fewer processes",
                argument="batch.micro_batches",
            )
        return None

    def _features(self, epoch: int) -> NDArray[np.float32]:
        """The features f_i of all images, float32 [N, D], by the network as it is, in every process of the group.

        Raises:
            StopAskedError: the run is to stop, and this is its only process: several have to agree first.
        """
        model = Model(self._network, self._job.recipe)

        def tell(what: str, done: int, total: int) -> None:
            if self._job.group.size == 1 and self.asked_to_stop():
                raise StopAskedError
            self._job.show_progress(what, done, total)

        options = dataclasses.replace(self._job.inference, progress=tell)
        try:
            return embed_source(model, self.source, f"embedding for epoch {epoch}", options)
        except DivergedError as error:
            raise RunError(f"before epoch {epoch} {error}; {last_good(self._state)}", argument="optim.lr") from None


class ClusterSampler:
    """`steps` batches an epoch, of `ids` clusters with `images` images each; outliers are never drawn.

    The batches are those of `PKSampler`, pass after pass over the clusters. Where there are fewer clusters than `ids`,
    all of them are in every batch, or as many as can be dealt out evenly.

    Args:
        ids: How many clusters a batch has.
        images: How many images of each.
        steps: Batches an epoch.
        seed: That of the run.
        parts: The micro-batches that a batch is cut into between clusters, and the processes that share it.
        camids: The cameras of the images, int64 [N]: those of a cluster come from as many cameras as they can.

    Attributes:
        clusters: The cluster of each image, int64 [N], -1 for outliers; set before each epoch.
    """

    clusters: NDArray[np.int64]

    def __init__(
        self,
        ids: int,
        images: int,
        steps: int,
        seed: int,
        *,
        parts: tuple[int, int] = (1, 1),
        camids: NDArray[np.int64] | None = None,
    ) -> None:
        self.clusters = np.zeros(0, np.int64)
        self._ids, self._images, self._steps, self._seed = ids, images, steps, seed
        self._parts, self._camids = parts, camids

    def per_batch(self, count: int) -> int:
        """Return how many of `count` clusters are in a batch; 0 where its parts cannot share any number of them."""
        micro_batches, processes = self._parts
        fitting = (
            clusters
            for clusters in range(min(self._ids, count), 0, -1)
            if clusters % micro_batches == 0 and clusters * self._images % processes == 0
        )
        return next(fitting, 0)

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """Return the batches of an epoch: int64 [steps, ids * images], indices of images."""
        inside = np.flatnonzero(self.clusters != OUTLIER)
        ids = self.per_batch(int(self.clusters.max()) + 1)
        camids = None if self._camids is None else self._camids[inside]
        sampler = PKSampler(self.clusters[inside], ids, self._images, seed=self._seed, camids=camids)
        passes: list[NDArray[np.int64]] = []
        while sum(map(len, passes)) < self._steps:
            passes.append(sampler.epoch(epoch, len(passes)))
        return inside[np.concatenate(passes)[: self._steps]]
