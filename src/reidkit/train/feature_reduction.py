"""`reduce`: a model whose features are shorter, by the principal axes of images without labels."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from reidkit.arguments import check_whole
from reidkit.atomic import write_bytes_atomic
from reidkit.data.overlap import RECORD
from reidkit.data.unlabelled import open_unlabelled
from reidkit.encoder import InferenceOptions, Model, as_image_encoder, embed_samples
from reidkit.encoder.exported import ExportedEncoder
from reidkit.errors import UsageError
from reidkit.evaluation import EvaluationProtocol, evaluate
from reidkit.export.reduced_file import reduced_path, write_reduced
from reidkit.metrics.reduction import principal_axes
from reidkit.model.chance import first_weights
from reidkit.model.heads.reduced import Reduced
from reidkit.model.network import Network
from reidkit.model.weights import fingerprint, save_model
from reidkit.model_files import beside
from reidkit.train.run_folder import locked, require_room

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from reidkit.data.unlabelled import Unlabelled
    from reidkit.encoder import Encoder, ImageEncoder
    from reidkit.metrics.reduction import Axes
    from reidkit.metrics.retrieval import Scores
    from reidkit.recipe import Recipe
    from reidkit.types import Cameras, Dataset


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

    model: ImageEncoder
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
    format: str | None = None,  # noqa: A002
    cameras: Cameras = "cross",
) -> Reduction:
    """Put centring and PCA behind a model, as one linear layer on its features of length one.

    The axes come from images of the place that is to be searched, without labels; ids are never read. The reduced
    model has weights of its own, with a new fingerprint: galleries have to be made anew.

    Args:
        model: What `load_model` returns; it stays as it is.
        data: A data set (its training images are taken), a folder of images, several of these, or samples.
        dim: The length of the new features.
        power: How far axes of large variance are scaled down: 0 not at all, 0.5 to one variance for all.
        out: A folder for the reduced model; for an exported file, the new file. None: a network is not written.
        evaluate_on: A data set with a query and a gallery; None: those of `data`, if it has them.
        options: How images are read and run.
        format: The format of data sets given as paths; None: it is recognised.
        cameras: As for the evaluation: `any` counts matches by the query's own camera, or by unknown ones.

    Raises:
        DataError: an image cannot be read, or there are too few.
        UsageError: numbers that make no sense; a model that is reduced already or takes masks, or a network or an
            encoder of your own; `out` holds a run or something else; an exported file without `out`.
        WeightsError: no layer can be put behind the output of an exported file.
    """
    model = as_image_encoder(model)
    # Cheap refusals before minutes are spent: the axes themselves check the rest.
    dim = check_whole(dim, "dim")
    if not 1 <= dim <= model.dim:
        raise UsageError(f"dim={dim} of features of length {model.dim}: choose 1 to {model.dim}", argument="dim")
    place = None if out is None else Path(out)
    reduced_by = _of_file(model, dim, place) if isinstance(model, ExportedEncoder) else _of_network(model, dim, place)
    options = options or InferenceOptions()
    dataset = open_unlabelled(data, format)
    found = embed_samples(model, dataset.train, "images", options)
    axes = principal_axes(found.vectors, dim, power=power)
    tested = evaluate_on or (dataset if dataset.query and dataset.gallery else None)
    protocol = EvaluationProtocol(cameras=cameras)
    # Before anything is written: images of unknown cameras have no scores without `cameras`.
    before = evaluate(model, tested, protocol, options).scores if tested else None
    reduced = reduced_by(axes)
    after = evaluate(reduced, tested, protocol, options).scores if tested else None
    return Reduction(model=reduced, images=len(found), variance=axes.variance, before=before, after=after)


def _of_file(model: ExportedEncoder, dim: int, out: Path | None) -> Callable[[Axes], ImageEncoder]:
    """Return what appends the axes to the graph of an exported file."""
    if out is None:
        raise UsageError("an exported file is reduced as a file: say where it goes", argument="out")
    path = reduced_path(model, out, dim)
    return lambda axes: write_reduced(model, axes, path)


def _of_network(model: ImageEncoder, dim: int, folder: Path | None) -> Callable[[Axes], ImageEncoder]:
    """Return what puts the axes behind a network in torch."""
    loaded = _reducible(model)
    if folder is None:
        return lambda axes: with_axes(loaded, axes)
    require_room(folder, _recipe_with(loaded, dim))
    return lambda axes: _written(with_axes(loaded, axes), folder, loaded.path)


def with_axes(model: Model, axes: Axes) -> Model:
    """Return a copy of a model whose features are on these axes."""
    network = copy.deepcopy(model.network)
    dim = len(axes.bias)
    with first_weights():
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


def _reducible(model: ImageEncoder) -> Model:
    """Return the model, if a layer can be put behind its network."""
    if not isinstance(model, Model):
        raise UsageError(
            "an encoder of your own takes no further layer: shorten its features behind it, by "
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
    if loaded.network.mask_channels:
        raise UsageError(
            "the model takes a mask beside each image, and a reduced one takes images alone: shorten its features "
            "behind it, by reidkit.metrics.reduction.principal_axes",
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
                write_bytes_atomic(folder / RECORD, record.read_bytes())
            save_model(folder / "model.safetensors", model.network, model.recipe)
    return Model(model.network, model.recipe, model.fingerprint, folder)
