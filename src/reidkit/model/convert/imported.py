"""Build a reidkit network with another project's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from reidkit.arguments import in_words
from reidkit.errors import UsageError, WeightsError
from reidkit.model.chance import first_weights
from reidkit.model.convert.convert import convert
from reidkit.model.network import Network, build_network
from reidkit.model.tensors import read_contents
from reidkit.model.weights import FORMAT, fit, misfit
from reidkit.recipe import Images, Recipe, digest, override

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from reidkit.model.convert.families import Family
    from reidkit.model.tensors import Contents


class Imported(NamedTuple):
    """A network with another project's weights, its recipe, the layout of its keys and those that are left out.

    `read_as` is "" where network and images are what the keys tell, and else names what they are instead: the same
    weights then give other features.
    """

    network: Network
    recipe: Recipe
    family: Family
    left_out: tuple[str, ...]
    remarks: tuple[str, ...]
    read_as: str


def build_foreign_network(
    path: Path,
    family: str | None = None,
    settings: Sequence[str] | Mapping[str, object] = (),
    *,
    beside: Mapping[str, object] | None = None,
) -> Imported:
    """Make the network whose weights another project has saved, in evaluation mode.

    Args:
        path: Its file.
        family: The name of its layout (see `model.convert.families`); None: it is recognised by the keys.
        settings: Changes of the recipe, for what keys do not tell.
        beside: Settings that a file beside layumi's weights names.

    Raises:
        WeightsError: no weights, of a layout that is not known or not supported, or with tensors that do not fit.
        UsageError: there is no such layout or setting.
    """
    contents = read_contents(path)
    if contents.metadata.get("format") == FORMAT:
        raise WeightsError(f"{path} is a model of reidkit's already: give it to any command as the model")
    words, metadata = contents.words, contents.metadata
    by_keys = _told_by_keys(contents, path) if family else None
    contents, told, found, left_out = convert(contents, path, family)
    by_keys = dict(told) if by_keys is None else by_keys
    if beside and found.name == "layumi":
        told |= beside
    if "1x1" in metadata.get("stride_in", ""):  # caffe's weights in a .safetensors, which says so
        told["network.stride_in"] = by_keys["network.stride_in"] = "1x1"
    try:
        recipe = override(Recipe(), told)
    except UsageError as error:
        raise WeightsError(
            f"{path} is of {found.name}, but of a network that reidkit cannot make ({error}): export it to ONNX where "
            "it was made, and give that to any command as the model"
        ) from None
    recipe = override(override(recipe, {"name": f"{found.name}-{recipe.network.backbone}"}), settings)
    with torch.device("meta"):  # takes no memory: what the names ask for need not be what the file holds
        problems = misfit(build_network(recipe.network), contents, path)
    if problems:
        raise WeightsError(
            f"{path} is read as {found.name}'s {recipe.network.backbone}, and does not fit it ({problems}): name "
            "another layout as family, or export it to ONNX where it was made",
            argument="family",
        )
    with first_weights():
        network = build_network(recipe.network)
    fit(network, contents, path)
    remarks = (
        (f"{in_words(words['preprocess'])} images with borders, where reidkit resizes",)
        if words.get("preprocess") == "resize_pad"
        else ()
    )
    seen, by_itself = _seen(recipe), _seen(override(Recipe(), by_keys))
    return Imported(network.eval(), recipe, found, left_out, remarks, "" if seen == by_itself else digest(seen))


def _told_by_keys(contents: Contents, path: Path) -> dict[str, object] | None:
    """Return the settings of the layout that the keys tell; None where they tell none."""
    try:
        return convert(contents, path).settings
    except WeightsError:
        return None


def _seen(recipe: Recipe) -> Recipe:
    """Return a recipe of what features depend on beside the weights, and of nothing else."""
    images = recipe.images
    return Recipe(network=recipe.network, images=Images(height=images.height, width=images.width, resize=images.resize))
