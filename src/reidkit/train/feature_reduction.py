"""`reduce`: a model whose features are shorter, by the principal axes of images without labels."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from reidkit.atomic import write_text_atomic
from reidkit.data.check import RECORD
from reidkit.data.unlabelled import open_unlabelled
from reidkit.encoder import InferenceOptions, Model, embed_samples
from reidkit.errors import UsageError
from reidkit.evaluation import EvaluationProtocol, evaluate
from reidkit.metrics.reduction import principal_axes
from reidkit.model.heads.reduced import Reduced
from reidkit.model.network import Network
from reidkit.model.weights import fingerprint, save_model
from reidkit.train.run_folder import locked, require_room
from reidkit.types import beside

if TYPE_CHECKING:
    import os

    from reidkit.data.unlabelled import Unlabelled
    from reidkit.encoder import Encoder
    from reidkit.metrics.reduction import Axes
    from reidkit.metrics.retrieval import Scores
    from reidkit.recipe import Recipe
    from reidkit.types import Dataset


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """A model with shorter features.

    Attributes:
        model: The reduced model.
        images: How many images the axes were found from.
        variance: The part of the variance of their features that is kept, between 0 and 1.
        before: Scores of the model as it was; None where there was nothing to evaluate on.
        after: Scores of the reduced model.
    """

    model: Model
    images: int
    variance: float
    before: Scores | None = None
    after: Scores | None = None


def reduce(  # noqa: PLR0913
    model: Encoder,
    data: Unlabelled,
    *,
    dim: int = 128,
    power: float = 0.0,
    out: str | os.PathLike[str] | None = None,
    evaluate_on: Dataset | None = None,
    options: InferenceOptions | None = None,
) -> Reduction:
    """Put centring and PCA behind a network, as one linear layer on its features of length one.

    The axes come from images of the place that is to be searched, without labels; ids are never read. The reduced
    model has weights of its own, with a new fingerprint: galleries have to be made anew.

    Args:
        model: What `load_model` returns for a run folder or a `.safetensors`; it stays as it is.
        data: A data set (its training images are taken), a folder of images, several of these, or samples.
        dim: The length of the new features.
        power: How far axes of large variance are scaled down: 0 not at all, 0.5 to one variance for all.
        out: A folder for the reduced model; None: it is not written.
        evaluate_on: A data set with a query and a gallery; None: those of `data`, if it has them.
        options: How images are read and run.

    Raises:
        DataError: an image cannot be read, or there are too few.
        UsageError: numbers that make no sense; a model that is exported, reduced already or a network of your own; the
            folder holds a run, or another model.
    """
    loaded = _reducible(model)
    folder = None if out is None else Path(out)
    # Cheap refusals before minutes are spent: the axes themselves check the rest.
    if not 1 <= dim <= loaded.dim:
        raise UsageError(f"dim={dim} of features of length {loaded.dim}: choose 1 to {loaded.dim}", argument="dim")
    if folder is not None:
        require_room(folder, _recipe_with(loaded, dim))
    options = options or InferenceOptions()
    dataset = open_unlabelled(data)
    found = embed_samples(loaded, dataset.train, "images", options)
    axes = principal_axes(found.vectors, dim, power=power)
    reduced = with_axes(loaded, axes)
    if folder is not None:
        reduced = _written(reduced, folder, loaded.path)
    tested = evaluate_on or (dataset if dataset.query and dataset.gallery else None)
    before, after = (
        evaluate(each, tested, EvaluationProtocol(), options).scores if tested else None for each in (loaded, reduced)
    )
    return Reduction(model=reduced, images=len(found), variance=axes.variance, before=before, after=after)


def with_axes(model: Model, axes: Axes) -> Model:
    """Return a copy of a model whose features are on these axes."""
    network = copy.deepcopy(model.network)
    dim = len(axes.bias)
    head = Reduced(network.head, dim)  # type: ignore[arg-type]
    with torch.no_grad():
        head.reduction.weight.copy_(torch.from_numpy(axes.weight))
        head.reduction.bias.copy_(torch.from_numpy(axes.bias))
    whole = Network(network.backbone, head).eval()  # type: ignore[arg-type]
    return Model(whole, _recipe_with(model, dim), fingerprint(whole.state_dict()))


def _recipe_with(model: Model, dim: int) -> Recipe:
    return dataclasses.replace(
        model.recipe,
        name=f"{model.recipe.name[:190]}-{dim}",
        network=dataclasses.replace(model.recipe.network, reduced=dim),
    )


def _reducible(model: Encoder) -> Model:
    """Return the model, if a layer can be put behind its network."""
    if not isinstance(model, Model):
        raise UsageError(
            "an exported file takes no further layer: reduce the run folder or the .safetensors that it was made of, "
            "and export the result; features of somebody else's file are shortened behind it, by "
            "reidkit.metrics.reduction.principal_axes",
            argument="model",
        )
    loaded = model
    if not isinstance(loaded.network, Network):
        raise UsageError(
            "the network is your own: put a linear layer behind it yourself, with the weights of "
            "reidkit.metrics.reduction.principal_axes",
            argument="model",
        )
    if loaded.recipe.network.reduced:
        raise UsageError(
            f"the model is reduced already, to {loaded.dim}: reduce the model that it was made of", argument="model"
        )
    return loaded


def _written(model: Model, folder: Path, source: Path | None) -> Model:
    """Write the model into a folder, after what is known of the images it was trained on: it is never without that."""
    if require_room(folder, model.recipe, model.fingerprint):
        with locked(folder):
            record = None if source is None else beside(source, RECORD)
            if record is not None and record.is_file():
                write_text_atomic(folder / RECORD, record.read_bytes())
            save_model(folder / "model.safetensors", model.network, model.recipe)
    return Model(model.network, model.recipe, model.fingerprint, folder)
