"""`train`: from a recipe and data to a run folder with weights, log and checkpoint."""

from __future__ import annotations

import dataclasses
import json
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.arguments import check_path
from reidkit.data.loaders import build_batches, eval_batches
from reidkit.distributed import joined
from reidkit.encoder import Model, embed, refuse_diverged
from reidkit.errors import DataError, DivergedError, RunError
from reidkit.evaluation import EvaluationProtocol, evaluate
from reidkit.losses.objective import Objective, build_objective
from reidkit.model.chance import first_weights
from reidkit.model.network import build_network
from reidkit.model.own_network import network_name, own_network
from reidkit.model.weights import fingerprint, load_backbone, load_own, read, save_model, stride_placement
from reidkit.recipe import Recipe
from reidkit.recipes import get_recipe
from reidkit.train import run_folder
from reidkit.train.checkpoint import Interrupt
from reidkit.train.device import FreedMemory, compile_network, prepared
from reidkit.train.inputs import (
    Job,
    TrainOptions,
    as_callbacks,
    open_dataset,
    open_evaluated,
    open_sampler,
    open_training,
    training_facts,
)
from reidkit.train.log import Log
from reidkit.train.loop import LoopOptions, fit
from reidkit.train.parallel import micro_batches_here
from reidkit.train.public_weights import find_weights
from reidkit.train.remarks import describe, machine, warn_after, warn_before
from reidkit.train.teacher import bind_lessons, lessons_of, save_classifier, teach, the_classifier
from reidkit.train.training_masks import open_training_masks

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from torch import nn

    from reidkit.data.loaders import TrainBatches
    from reidkit.data.sampler import Sampler
    from reidkit.encoder import Encoder, InferenceOptions
    from reidkit.evaluation import Evaluation
    from reidkit.losses.objective import Term
    from reidkit.metrics.retrieval import Scores
    from reidkit.model.own_network import AnyNetwork, OwnModule
    from reidkit.train.inputs import Data
    from reidkit.train.log import Callback
    from reidkit.types import Dataset


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run.

    Attributes:
        folder: The run folder.
        model: The trained network with its recipe.
        evaluation: Scores and features of the query and gallery; None where there were none.
        evaluated: The data set of these.
        description: What the network was trained on, in words.
        protocol: How it was evaluated.
        warnings: What a reader of the scores has to know.
        before: Of an adaptation, the scores of the model that it began with; else None.
    """

    folder: Path
    model: Model
    evaluation: Evaluation | None
    evaluated: Dataset | None
    description: str
    protocol: EvaluationProtocol = field(default_factory=EvaluationProtocol)
    warnings: tuple[str, ...] = ()
    before: Scores | None = None

    def write_report(self, command: str = "", given: Recipe | None = None) -> Path:
        """Write `report.html` into the folder, settings, log, scores and pictures, and return its path.

        Args:
            command: The command that repeats the run, for the page; "": it is not known.
            given: The recipe before it was changed, to show what was changed.

        Raises:
            DataError: the folder cannot be written.
        """
        from reidkit.report import build as report
        from reidkit.report.page import write_report
        from reidkit.train import log

        facts = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        on = self.evaluated.name if self.evaluated else ""
        settings = {"training": self.description, "evaluated on": on or "nothing", "cameras": self.protocol.cameras}
        data = f"{self.description}; {f'evaluated on {on}' if on else 'not evaluated'}"
        page = report.build_report(self.model, data, {**settings, **facts}, command, on=on, given=given)
        page = dataclasses.replace(page, log=log.read(self.folder / "log.jsonl"))
        if self.evaluation:
            page = report.add_scores(page, self.evaluation, self.protocol)
            device = next(self.model.network.parameters()).device
            page = report.add_pictures(page, self.model, self.evaluation, device, self.protocol)
        write_report(self.folder / "report.html", page)
        return self.folder / "report.html"


def train(  # noqa: PLR0913  (what a run is made of)
    recipe: Recipe | str,
    data: Data,
    *,
    out: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    seed: int = 0,
    resume: bool = False,
    network: OwnModule | None = None,
    terms: Sequence[Term] | None = None,
    sampler: Sampler | None = None,
    teacher: Encoder | None = None,
    masks: str | os.PathLike[str] | None = None,
    evaluate_on: str | os.PathLike[str] | Dataset | None = None,
    options: TrainOptions | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train a network by `recipe`, save it in the folder `out`, and evaluate it.

    Under torchrun every process calls this with the same arguments and gets the same result; the first one writes.
    Messages go to the logger `reidkit.train`.

    Args:
        recipe: A recipe, or the name of one.
        data: A data set, its folder, several of these to be trained on together, or just samples.
        out: The run folder: `model.safetensors`, `recipe.json`, `log.jsonl`, and `state.pt` to go on from.
        weights: A file that the backbone starts from: `.safetensors`, or torchvision's `.pth`; or `imagenet`, for the
            file that its authors publish, which is fetched once.
        seed: Decides order, augmentation and first weights.
        resume: Go on with the run in the folder, if there is one.
        network: Your own network in place of the recipe's: a module, or what makes one, that maps images [B, 3, H, W]
            to features [B, D] or to `Features(f_t, f_i)`. `load_model(out, network=...)` loads what is saved.
        terms: Your own terms of the loss, beside those of the recipe; a term of the same name (`identity`, `triplet`,
            `center`) replaces the recipe's. The optimiser learns the parameters of their modules.
        sampler: Your own sampler: `epoch(n)` gives the batches of epoch n, counted from 1, as int64 [batches, B]
            indices of the training images, the same ones whenever it is called.
        teacher: What `load_model` returns: a trained network, or any other encoder, that the network learns from as the
            recipe's `distil` says.
        masks: For a recipe with `network.masks`, the folder of masks beside the images that are trained and evaluated
            on, or a file of keypoints (see `reidkit.data.open_masks`).
        evaluate_on: A data set with a query and a gallery; None: those of `data`.
        options: How the run is made.
        callbacks: Objects that follow the run.

    Raises:
        ReidkitError: anything that keeps the run from starting or going on, in one sentence.
    """
    chosen = recipe if isinstance(recipe, Recipe) else get_recipe(recipe)
    with joined() as group:
        job = Job(
            recipe=chosen,
            data=data,
            out=check_path(out, "the folder of the run", "out"),
            weights=find_weights(weights, chosen.network.backbone, chosen.network.width),
            seed=seed,
            resume=resume,
            evaluate_on=evaluate_on,
            network=network,
            terms=tuple(terms or ()),
            sampler=sampler,
            teacher=teacher,
            masks=None if masks is None else Path(masks),
            options=options or TrainOptions(),
            callbacks=as_callbacks(callbacks) if group.first else (),
            group=group,
        )
        with prepared(job.device):
            return _run(job)


def _run(job: Job) -> Run:
    micro_batches_here(job.recipe.batch, job.group.size)  # first, for a batch that cannot be split evenly
    recipe = job.recipe if job.network is not None else resolve_stride(job.recipe, job.weights)
    job = dataclasses.replace(job, recipe=recipe)

    # The data: errors in it are raised before anything is written.
    dataset = open_dataset(job.data, job)
    if not dataset.train:
        raise DataError(f"the data set {dataset.name} has no training images: give one that has", argument="data")
    evaluated = open_evaluated(dataset, job)
    source, left_out = open_training(dataset.train, job)
    pids, labels = np.unique(source.samples.pids, return_inverse=True)
    sampler = open_sampler(source, labels, job)
    masks = open_training_masks(source, job)

    # The network and its losses, as they are before the first step.
    if job.teacher is not None:
        job = dataclasses.replace(job, terms=(*job.terms, *lessons_of(job.teacher, pids, job)))
    network, objective = _build(len(pids), job)
    bind_lessons(objective)
    if network.takes_cameras:
        network.backbone.set_cameras(np.unique(source.samples.camids))  # type: ignore[union-attr,operator]
    classifier = the_classifier(objective, "save_classifier") if job.options.save_classifier else None
    if job.options.compile:
        compile_network(network, job.device)
    facts = {"seed": job.seed, "precision": job.precision_name, "people": len(pids)}
    facts |= {**training_facts(source, recipe), "weights": _weights_name(job.weights)}
    facts |= {**left_out, **_own_facts(network, job), **({"masks": masks.digest} if masks else {})}

    with opened(job, facts):
        job.info(_beginning(job, len(source), len(pids)))
        labels = labels.astype(np.int64)
        batches = build_batches(source, labels, recipe, job.seed, job.device, job.group, sampler=sampler)
        batches.masks = masks
        batches.replaced = job.warn if job.options.skip_unreadable and masks is None else None
        warnings = warn_before(dataset, evaluated, source, labels, batches.count(1), job)

        if job.teacher is not None:
            teach(batches, job.teacher, objective, job)
        model, evaluation = fit_and_save(network, objective, batches, evaluated, job)
        if classifier is not None and job.group.first:
            save_classifier(job.out, classifier, pids, model.fingerprint)
    return Run(
        folder=job.out,
        model=model,
        evaluation=evaluation,
        evaluated=evaluated,
        description=describe(dataset, source),
        protocol=job.protocol,
        warnings=(*warnings, *warn_after(evaluation, job)),
    )


def _beginning(job: Job, images: int, ids: int) -> str:
    """Return what a run says when it begins."""
    scratch = "weights from scratch (pretrained weights are better)"
    start = f"weights from {job.weights.name}" if job.weights else scratch
    return f"{job.recipe.name}: {images} images of {ids} ids, {start}, {machine(job)}"


def fit_and_save(
    network: AnyNetwork,
    objective: Objective,
    batches: TrainBatches,
    evaluated: Dataset | None,
    job: Job,
    log: Log | None = None,
) -> tuple[Model, Evaluation | None]:
    """Train by the recipe of `job`, write `model.safetensors`, evaluate it: all that a run does with its parts.

    Args:
        network: What is trained, in place.
        objective: The terms of the loss.
        batches: Images and labels of every epoch.
        evaluated: What to evaluate on, or None.
        job: The arguments of the run, whose folder is open.
        log: The log of the folder; None: a new one (see `open_log`).

    Raises:
        RunError: as `fit`; or the features are not finite at the end, and no model is left behind.
        DataError: an image cannot be read.
    """
    with Interrupt(job.options.resume_command, job.info) as interrupt:
        batches.asked_to_stop = lambda: interrupt.requested
        loop = LoopOptions(
            device=job.device,
            precision=job.precision,
            state=job.out / "state.pt",
            log=log or open_log(job),
            interrupt=interrupt,
            save_every=job.options.save_every,
            evaluate_every=job.options.evaluate_every if evaluated else 0,
            evaluate=partial(_scores, dataset=evaluated, job=job) if evaluated else None,
            group=job.group,
        )
        final = fit(network, objective, batches, job.recipe, loop)
    network = final.finish()
    if final.epoch:
        job.info(f"the best weights are those of epoch {final.epoch}, mAP {100 * final.score:.1f}")

    file = job.out / "model.safetensors"
    with _never_diverged(file):
        _probe(network, batches, job.inference)
        own = network_name(network) if job.network is not None else ""
        name = save_model(file, network, job.recipe, own) if job.group.first else ""
        model = Model(network.eval(), job.recipe, name)
        return model, evaluate(model, evaluated, job.protocol, job.inference) if evaluated else None


def open_log(job: Job) -> Log:
    """Return the log of a run's folder, which the first process writes."""
    return Log(job.out / "log.jsonl", (FreedMemory(), *job.callbacks), writes=job.group.first)


@contextmanager
def opened(job: Job, facts: dict[str, Any]) -> Iterator[None]:
    """Hold the run's folder, begun or gone on with, in the first process; the others wait until it is."""
    with ExitStack() as held:
        if job.group.first:
            held.enter_context(run_folder.locked(job.out))
            held.enter_context(run_folder.begun(job.out, job.recipe, facts, resume=job.resume))
        job.group.wait()
        yield


# The network.


def resolve_stride(recipe: Recipe, weights: Path | None) -> Recipe:
    """Replace `network.stride_in=auto` by the placement that the weights were trained with."""
    if recipe.network.stride_in != "auto":
        return recipe
    stride_in: Any = stride_placement(weights) if weights else "3x3"
    return dataclasses.replace(recipe, network=dataclasses.replace(recipe.network, stride_in=stride_in))


def _build(num_ids: int, job: Job) -> tuple[AnyNetwork, Objective]:
    """Network and objective as they are before the first step: a function of the recipe, the seed and the weights."""
    with first_weights(job.seed):
        network = _network(job)
        objective = build_objective(job.recipe, network.spans, num_ids, job.group, network.ranked, network.aside)
    if job.terms:
        own = {term.name for term in job.terms}
        kept = [term for term in objective.terms if term.name not in own]
        objective = Objective([*kept, *job.terms], network.spans, network.aside, objective.dynamic_choice)
    return network, objective


def _network(job: Job) -> AnyNetwork:
    if job.network is not None:
        own = own_network(job.network, job.recipe.images.size)
        if job.weights:
            load_own(own, job.weights)
        return own
    network = build_network(job.recipe.network)
    if job.weights and (remark := load_backbone(network, job.weights)):
        job.info(remark)
    return network


def _own_facts(network: nn.Module, job: Job) -> dict[str, Any]:
    """Return the names of the user's own parts of a run, so that it is not resumed with other ones."""
    facts: dict[str, Any] = {}
    if job.network is not None:
        facts["network"] = network_name(network)
    if job.terms:
        facts["terms"] = [[term.name, term.weight, term.side, term.span] for term in job.terms]
    if job.sampler is not None:
        facts["sampler"] = f"{type(job.sampler).__module__}.{type(job.sampler).__qualname__}"
    if job.teacher is not None:
        facts["teacher"] = job.teacher.fingerprint
    return facts


def _weights_name(path: Path | None) -> str:
    return fingerprint(read(path)[0]) if path else "none"


# Evaluation.


def _scores(network: nn.Module, dataset: Dataset, job: Job) -> dict[str, float]:
    """Return the scores of a network in training."""
    return evaluate(Model(network, job.recipe, ""), dataset, job.protocol, job.inference).scores.as_json()


@contextmanager
def _never_diverged(file: Path) -> Iterator[None]:
    """Leave no model behind whose features are not finite.

    Raises:
        RunError: instead of a DivergedError.
    """
    try:
        yield
    except DivergedError as error:
        file.unlink(missing_ok=True)
        raise RunError(f"no model is saved: {error}, in another folder", argument="optim.lr") from None


def _probe(network: nn.Module, given: TrainBatches, inference: InferenceOptions) -> None:
    """Run the trained network on a few training images, as there may be nothing to evaluate it on.

    Raises:
        DivergedError: its features are not finite.
    """
    few = slice(0, min(len(given.source), 8))
    with suppress(DataError):  # images that cannot be read any more: the run has ended all the same
        batches = eval_batches(given.source, few.stop, inference.device, part=few, masks=given.masks)
        refuse_diverged(embed(network.eval(), batches, inference.precision))
