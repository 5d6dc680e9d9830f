"""Distillation: the teacher's features of the images that the student sees, and the loss terms that compare them."""

from __future__ import annotations

import contextlib
import json
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save as to_bytes
from torch import Tensor

from reidkit.atomic import atomic_write
from reidkit.data.loaders import eval_batches
from reidkit.encoder import Model
from reidkit.errors import ReidkitError, RunError, UsageError, WeightsError
from reidkit.imagenet import MEAN, STD
from reidkit.losses.distillation import logit_distillation, similarity_distillation
from reidkit.losses.identity import IdentityLoss
from reidkit.losses.objective import Term
from reidkit.model.fuse import fuse_batch_norms
from reidkit.model.weights import in_order, read
from reidkit.model_files import beside

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from reidkit.data.loaders import TrainBatches
    from reidkit.encoder import Encoder, InputSpec
    from reidkit.losses.objective import Objective
    from reidkit.recipe import Distil
    from reidkit.train.inputs import Job

CLASSIFIER = "classifier.safetensors"
"""The file beside a model that holds the classifier of its training."""
FORMAT = "reidkit/classifier/1"
AT_ONCE = 64
"""Images that the teacher sees at a time before the first step."""


class Teacher:
    """Normalised images of a training, float32 [B, 3, H, W], to an encoder's features float32 [B, E].

    The teacher gets the student's own augmented images: flipped, cropped and erased alike. Where it takes another size
    they are resized (bilinear, with antialiasing), and where it takes other colours, means or deviations they are
    converted. A network of reidkit runs on the device, without rounding in between; any other encoder takes pixels,
    to which the images are rounded. Noise that random erasing has drawn (`erasing.fill=random`) is then cut to what
    pixels can be.
    """

    def __init__(self, encoder: Encoder, device: torch.device, precision: torch.dtype = torch.float32) -> None:
        self.encoder, self.input = encoder, encoder.input
        self._device, self._precision = device, precision
        self._network: nn.Module | None = None
        if isinstance(encoder, Model):
            self._network = fuse_batch_norms(encoder.network).to(device).requires_grad_(False)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return f_i of the images, without a gradient."""
        size = (self.input.height, self.input.width)
        if images.shape[2:] != size:
            images = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        if self._network is None:
            vectors = self.encoder.encode(_pixels(images))
            return torch.from_numpy(np.asarray(vectors, np.float32)).to(images.device)
        with torch.autocast(self._device.type, self._precision, enabled=self._precision != torch.float32):
            f_i: Tensor = self._network(normalised_for(self.input, images))[1]
        return f_i.float()


def normalised_for(spec: InputSpec, images: Tensor) -> Tensor:
    """Convert images [B, 3, H, W] that are normalised as in training to how an encoder takes them."""
    if (spec.mean, spec.std, spec.scale, spec.colour) == (MEAN, STD, 255.0, "rgb"):
        return images
    unit = images * _channels(STD, images) + _channels(MEAN, images)
    wanted = unit if spec.colour == "rgb" else unit.flip(1)
    return (wanted * (255.0 / spec.scale) - _channels(spec.mean, images)) / _channels(spec.std, images)


def _pixels(images: Tensor) -> NDArray[np.uint8]:
    """Images [B, 3, H, W], normalised as in training, to the nearest RGB pixels uint8 [B, H, W, 3]."""
    unit = images * _channels(STD, images) + _channels(MEAN, images)
    pixels: NDArray[np.uint8] = (unit * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return np.ascontiguousarray(pixels)


def _channels(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, 3, 1, 1)


class Lesson:
    """A loss that compares what the student makes of a batch with `target`, the teacher's features of it [B, E]."""

    target: Tensor

    def bind(self, objective: Objective) -> None:
        """Find in the student's objective what the loss needs of it."""


class SimilarityLesson(Lesson):
    """`similarity_distillation` as a term on f_i."""

    def __init__(self, temperature: float) -> None:
        self._temperature = temperature

    def __call__(self, feat_bd: Tensor, label_b: Tensor) -> Tensor:  # noqa: ARG002
        """Compare features [B, D]; the labels do not matter."""
        return similarity_distillation(feat_bd, self.target, self._temperature)


class LogitLesson(Lesson):
    """`logit_distillation` as a term on f_i: the logits of the student's own classifier against the teacher's."""

    def __init__(self, classifier: Classifier, distil: Distil, device: torch.device) -> None:
        bias = None if classifier.bias is None else classifier.bias.to(device)
        self._teacher = classifier._replace(weight=classifier.weight.to(device), bias=bias)
        self._distil = distil
        self._student: tuple[IdentityLoss, ...] = ()

    def bind(self, objective: Objective) -> None:
        """Take the classifier of the objective's ID loss.

        Raises:
            UsageError: there is not one of all ids.
        """
        self._student = (the_classifier(objective, "distil.logits"),)

    def __call__(self, feat_bd: Tensor, label_b: Tensor) -> Tensor:  # noqa: ARG002
        """Compare features [B, D]; the labels do not matter."""
        student_bc = classifier_of(self._student[0], self._teacher.pids).logits(feat_bd)
        teacher_bc = self._teacher.logits(self.target)
        return logit_distillation(student_bc, teacher_bc, self._distil.logit_temperature, self._distil.divergence)


def lessons_of(encoder: Encoder, pids: NDArray[np.int64], job: Job) -> list[Term]:
    """Return the terms of a training with this teacher; their losses are `Lesson`s.

    Args:
        encoder: The teacher.
        pids: The ids of the training set, rising.
        job: The training.

    Raises:
        UsageError: all weights are 0, logits are asked for and the teacher's classifier is of other ids, or the teacher
            takes masks.
        WeightsError: the teacher's classifier is not there, damaged, or another model's.
    """
    if isinstance(encoder, Model) and encoder.network.mask_channels:
        raise UsageError("the teacher takes masks, which teachers are not given: take another", argument="teacher")
    distil, terms = job.recipe.distil, []
    if distil.similarity:
        terms.append(Term("similarity", distil.similarity, SimilarityLesson(distil.temperature), "f_i"))
    if distil.logits:
        lesson = LogitLesson(load_classifier(encoder, pids), distil, job.device)
        terms.append(Term("logits", distil.logits, lesson, "f_i"))
    elif knows_ids(encoder, pids):
        job.info("the teacher's classifier lies beside it and knows these ids: distil.logits=10 learns from it too")
    if not terms:
        raise UsageError(
            "there is a teacher, and distil.similarity and distil.logits are both 0: set one of them, or leave the "
            "teacher out",
            argument="distil.similarity",
        )
    return terms


def bind_lessons(objective: Objective) -> None:
    """Let the lessons among the objective's terms find in it what they need.

    Raises:
        UsageError: it is not there.
    """
    for lesson in _lessons(objective):
        lesson.bind(objective)


def teach(batches: TrainBatches, encoder: Encoder, objective: Objective, job: Job) -> None:
    """Give the lessons among the objective's terms, which are bound, the teacher's features of each batch to come."""
    lessons = _lessons(objective)
    teacher, plain = Teacher(encoder, job.device, job.precision), job.recipe.distil.views == "plain"
    seen = "each image once, as it is" if plain else "the same augmented images"
    job.info(f"teacher {encoder.fingerprint}: it sees {seen}, at {encoder.input.height}x{encoder.input.width}")
    known = features_of_all(teacher, batches, partial(job.show_progress, "teacher's features")) if plain else None

    def tell(epoch: int, batch: int, images: Tensor) -> None:
        if known is None:
            target = job.group.gather(teacher(images[:, :3]))
        else:
            target = known[batches.indices(epoch, batch)].to(job.device)
        for lesson in lessons:
            lesson.target = target

    batches.watcher = tell


def _lessons(objective: Objective) -> list[Lesson]:
    return [term.loss for term in objective.terms if isinstance(term.loss, Lesson)]


def features_of_all(teacher: Teacher, batches: TrainBatches, progress: Callable[[int, int], None]) -> Tensor:
    """Return a teacher's features of all images of a training as they are, float32 [M, E], in their order, on the host.

    Every process makes them for itself. `progress` is told how many images are done, and of how many.

    Raises:
        DataError: an image cannot be read.
    """
    total, parts = len(batches.source), []
    with contextlib.closing(eval_batches(batches.source, AT_ONCE, batches.device)) as images:
        for number, each in enumerate(images, 1):
            parts.append(teacher(each).cpu())
            progress(min(number * AT_ONCE, total), total)
    return torch.cat(parts)


# The classifier of a training, which is no part of its model, in a file beside it.


class Classifier(NamedTuple):
    """A classifier over ids: `weight` [C, D], `bias` [C] or None, `pids` int64 [C]; of cosines times a scale or not."""

    weight: Tensor
    bias: Tensor | None
    pids: Tensor
    scale: float = 0.0
    """What the cosines are multiplied by; 0: plain products."""

    def logits(self, feat_bd: Tensor) -> Tensor:
        """Return the logits [B, C] of features [B, D], without a margin."""
        if not self.scale:
            return F.linear(feat_bd, self.weight, self.bias)
        return self.scale * F.linear(F.normalize(feat_bd, dim=1), F.normalize(self.weight, dim=1))


def classifier_of(loss: IdentityLoss, pids: Tensor) -> Classifier:
    """Return the classifier that an ID loss holds."""
    cosine = getattr(loss, "logits", "linear") != "linear"
    scale = float(getattr(loss, "scale", 0.0)) if cosine else 0.0
    return Classifier(loss.classifier.weight, loss.classifier.bias, pids, scale)


def the_classifier(objective: Objective, argument: str) -> IdentityLoss:
    """Return the one ID loss over all ids of an objective.

    Raises:
        UsageError: it has none, several, or one of sampled ids.
    """
    found = [term.loss for term in objective.terms if term.name.partition(".")[0] == "identity"]
    if len(found) != 1 or not isinstance(found[0], IdentityLoss):
        raise UsageError(
            f"{argument} needs one classifier over all ids: leave it out, or train with identity.weight above 0, "
            "identity.sampled=0 and a head of one branch",
            argument=argument,
        )
    return found[0]


def save_classifier(folder: Path, loss: IdentityLoss, pids: NDArray[np.int64], fingerprint: str) -> None:
    """Write the classifier of a finished training beside its model.

    Raises:
        RunError: there is no room, or the folder cannot be written.
    """
    found = classifier_of(loss, torch.from_numpy(pids.astype(np.int64)))
    state = {name: each.detach().cpu().contiguous() for name, each in found._asdict().items() if torch.is_tensor(each)}
    metadata = {"format": FORMAT, "model": fingerprint, "scale": json.dumps(found.scale)}
    try:
        with atomic_write(folder / CLASSIFIER) as file:
            for part in in_order(to_bytes(state, metadata)):
                file.write(part)
    except OSError as error:
        raise RunError(f"{folder / CLASSIFIER} cannot be written ({error.strerror}): make room and run again") from None


def load_classifier(encoder: Encoder, pids: NDArray[np.int64]) -> Classifier:
    """Return the classifier beside a teacher, which knows the ids `pids`, rising.

    Raises:
        UsageError: it knows other ids.
        WeightsError: it is not there, damaged, or another model's.
    """
    place = getattr(encoder, "path", None)
    if not isinstance(encoder, Model) or place is None:
        raise UsageError(
            "distil.logits needs a teacher in a run folder, with its classifier beside it: leave it out, as "
            "distil.similarity takes any teacher",
            argument="distil.logits",
        )
    path = beside(place, CLASSIFIER)
    if not path.is_file():
        raise WeightsError(
            f"{path} is not there, and distil.logits needs the teacher's classifier: train the teacher with "
            "save_classifier=True (`reidkit train --save-classifier`), or set distil.logits=0",
            argument="distil.logits",
        )
    found = _read_classifier(path, encoder)
    if not np.array_equal(found.pids.numpy(), pids):
        raise UsageError(
            f"{path} knows {len(found.pids)} ids, which are not the {len(pids)} of this training set: give the data "
            "set that the teacher was trained on, or set distil.logits=0",
            argument="distil.logits",
        )
    return found


def knows_ids(encoder: Encoder, pids: NDArray[np.int64]) -> bool:
    """Whether the classifier of exactly these ids lies beside a teacher."""
    try:
        load_classifier(encoder, pids)
    except ReidkitError:
        return False
    return True


def _read_classifier(path: Path, encoder: Encoder) -> Classifier:
    """Return the classifier of a file, which has to be that of this encoder.

    Raises:
        WeightsError: it is of another model, damaged, or no classifier.
    """
    tensors, metadata = read(path)
    weight, bias, pids = (tensors.get(name) for name in ("weight", "bias", "pids"))
    if metadata.get("format") != FORMAT or weight is None or pids is None:
        raise WeightsError(f"{path} is no classifier that reidkit wrote: train the teacher again")
    if metadata.get("model") != encoder.fingerprint:
        raise WeightsError(f"{path} is the classifier of another model: take the one of the teacher's own run")
    shapes = [tuple(each.shape) for each in (weight, pids)] + ([tuple(bias.shape)] if bias is not None else [])
    ids = len(pids)
    if shapes[0] != (ids, encoder.dim) or any(shape != (ids,) for shape in shapes[1:]):
        raise WeightsError(f"{path} is damaged (its shapes are {shapes}): train the teacher again")
    if not bool(torch.isfinite(weight).all()):
        raise WeightsError(f"{path} holds values that are not finite: train the teacher again")
    try:
        scale = float(metadata.get("scale", "0"))
    except ValueError:
        raise WeightsError(f"{path} is damaged (its scale is no number): train the teacher again") from None
    return Classifier(weight.float(), None if bias is None else bias.float(), pids.long(), scale)
