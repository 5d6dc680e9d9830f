"""Convert another project's tensors to the state and the recipe of a reidkit network."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import torch

from reidkit.arguments import in_words
from reidkit.errors import WeightsError
from reidkit.imagenet import MEAN, STD
from reidkit.model.convert.families import some_match
from reidkit.model.convert.layout import settings_told
from reidkit.model.convert.recognise import EXPORT_IT, named, recognise, recognised
from reidkit.model.tensors import Contents

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from torch import Tensor

    from reidkit.model.convert.families import Family
    from reidkit.model.convert.recognise import Found


HALF = (0.5, 0.5, 0.5)
"""Both numbers of (x - 0.5) / 0.5, which vision transformers have."""


class Converted(NamedTuple):
    """Tensors under the names of a `Network`, the settings of its recipe, the layout, and the keys left out."""

    contents: Contents
    settings: dict[str, object]
    family: Family
    left_out: tuple[str, ...]


def convert(contents: Contents, path: Path, family: str | None = None) -> Converted:
    """Rename the tensors of a file, and say what network they are of.

    Args:
        contents: What the file holds.
        path: The file, for messages.
        family: The name of a layout (see `FAMILIES`); None: it is recognised by the keys.

    Raises:
        WeightsError: the layout is not known or not supported, or a tensor has no place in any network of reidkit's.
        UsageError: there is no layout of that name.
    """
    names = [*contents.tensors, *contents.unusable]
    found = recognised(names, path) if family is None else named(family, names, path)
    other = None if family is None else recognise(names)
    remedy = (
        EXPORT_IT
        if other is None or other.family is found.family
        else f"it has the keys of {other.family.name}: name that as family, or none"
    )
    state, unusable, left_out = _rename(contents, found, path, remedy)
    _place(state, left_out, found.family)
    _refuse_other_normalisation(contents, path, _is_from_half(found.family, state))
    settings = {**settings_told(state, path), **found.family.settings}
    originals = [name.removeprefix(found.prefix) for name in names]
    for pattern, more in found.family.with_key:
        if some_match(pattern, originals):
            settings |= more
    if str(settings.get("network.backbone")).startswith("seresnext"):
        settings["network.stride_in"] = "3x3"
    return Converted(Contents(state, unusable, {}), settings, found.family, tuple(left_out))


def _rename(
    contents: Contents, found: Found, path: Path, remedy: str = EXPORT_IT, *, refuse: bool = True
) -> tuple[dict[str, Tensor], dict[str, str], list[str]]:
    """Return tensors and unusable ones under their new names, and the names of those that are left out.

    Raises:
        WeightsError: the layout does not have a name, where these are not left out; or two tensors get the same name.
    """
    state: dict[str, Tensor] = {}
    unusable: dict[str, str] = {}
    left_out: list[str] = []
    for full in (*contents.tensors, *contents.unusable):
        new = found.family.rename(full.removeprefix(found.prefix)) if full.startswith(found.prefix) else ""
        if new is None and refuse:
            raise WeightsError(
                f"{path} is of {found.family.name} with something else in it: no network of reidkit's has its key "
                f"{in_words(full, 120)}; {remedy}"
            )
        if new in state or new in unusable:
            raise WeightsError(f"{path} holds {in_words(new, 120)} twice: save `model.state_dict()` and give that")
        if not new:
            left_out.append(full)
        elif full in contents.unusable:
            unusable[new] = contents.unusable[full]
        else:
            state[new] = contents.tensors[full]
    return state, unusable, left_out


def start_of(contents: Contents, path: Path, wanted: Collection[str]) -> Contents:
    """Return the tensors of a layout that a prefix does not make torchvision's or timm's, under those names.

    Args:
        contents: What the file holds; it is returned where it is of no such layout.
        path: The file, for messages.
        wanted: The names that the backbone has; blocks that stand behind its own are left out where it has none.

    """
    found = None if contents.metadata else recognise([*contents.tensors, *contents.unusable])
    if found is None or not found.family.starts:
        return contents
    state, unusable, left_out = _rename(contents, found, path, refuse=False)
    as_named = all(
        full.endswith(_bare(found.family.rename(full.removeprefix(found.prefix)) or "")) for full in contents.tensors
    )
    if as_named and not _is_from_half(found.family, state):
        return contents  # the prefix is all that differs
    _place(state, left_out, found.family)
    names = {name: _bare(name) for name in (*state, *unusable)}
    # Non-local blocks and embeddings of cameras are the other project's own: a backbone without them leaves them out.
    names = {name: new for name, new in names.items() if new in wanted or not re.search(r"\.after\.|^cameras\.", new)}
    tensors = {names[name]: tensor for name, tensor in state.items() if name in names}
    return Contents(tensors, {names[name]: why for name, why in unusable.items() if name in names}, contents.metadata)


def _bare(name: str) -> str:
    """Return a name as torchvision or timm have it, without what stands before it in a network of reidkit's."""
    return re.sub(r"^(?:backbone|views\.one|whole)\.", "", name)


# --- What depends on shapes: each changes the state, in place.


def _place_non_local(state: dict[str, Tensor], _: list[str]) -> None:
    """Non-local blocks stand behind the last blocks of a stage: `NL_2.0` of two is behind the last but one."""
    moved = [name for name in state if re.match(r"backbone\.NL_\d\.\d+\.", name)]
    for stage in {name.split(".")[1][3:] for name in moved}:
        depth = _count(state, rf"backbone\.layer{stage}\.(\d+)\.")
        count = _count(state, rf"backbone\.NL_{stage}\.(\d+)\.")
        for name in moved:
            if found := re.match(rf"backbone\.NL_{stage}\.(\d+)\.", name):
                place = depth - count + int(found[1])
                state[f"backbone.layer{stage}.{place}.after.{name[found.end() :]}"] = state.pop(name)


def _place_last_block(state: dict[str, Tensor], left_out: list[str]) -> None:
    """TransReID's JPM has two copies of the last block and the norm; the transformer's own are not used any more."""
    if not any(name.startswith("whole.") for name in state):
        return
    last = _count(state, r"backbone\.blocks\.(\d+)\.") - 1
    for name in list(state):
        if name.startswith((f"backbone.blocks.{last}.", "backbone.norm.")):
            left_out.append(name)
            state.pop(name)
        elif ".blocks.last." in name:
            state[name.replace(".blocks.last.", f".blocks.{last}.")] = state.pop(name)
        elif name.startswith("neck."):
            state[f"leaves.whole.{name}"] = state.pop(name)


def _place_necks(state: dict[str, Tensor], _: list[str]) -> None:
    """`bottleneck.0` is an embedding where it has two or more axes, and else the batch norm."""
    for name in list(state):
        found = re.match(r"(.*?)bottleneck\.(\d+)\.(.*)$", name)
        if found is None:
            continue
        first = state.get(f"{found[1]}bottleneck.0.weight", state.get(f"{found[1]}embedding.weight"))
        embedded = first is not None and first.ndim > 1
        place = "embedding" if embedded and found[2] == "0" else "neck"
        state[f"{found[1]}{place}.{found[3]}"] = state.pop(name)
    for name in [name for name in state if name.endswith("pool_layer.p")]:
        state[name.replace("pool_layer.p", "pooling.p")] = state.pop(name)


def _place_embeddings(state: dict[str, Tensor], _: list[str]) -> None:
    """An embedding may be a convolution of 1x1, and without a shift."""
    for name in [name for name in state if name.endswith("embedding.weight")]:
        weight = state[name]
        if weight.ndim == 4 and weight.shape[2:] == (1, 1):
            state[name] = weight = weight.flatten(1)
        if weight.ndim == 2:
            state.setdefault(name.replace("weight", "bias"), torch.zeros(weight.shape[0], dtype=weight.dtype))


def _place_squeeze(state: dict[str, Tensor], _: list[str]) -> None:
    """fast-reid's squeeze and excitation has linear layers without a shift."""
    for name in list(state):
        if found := re.match(r"(.*)\.se\.fc\.([02])\.weight$", name):
            weight = state.pop(name)
            place = f"{found[1]}.se_module.fc{'1' if found[2] == '0' else '2'}"
            state[f"{place}.weight"] = weight[:, :, None, None] if weight.ndim == 2 else weight
            state[f"{place}.bias"] = torch.zeros(weight.shape[:1], dtype=weight.dtype)


def _place_cameras(state: dict[str, Tensor], _: list[str]) -> None:
    """A row of the table for each camera, [cameras, 1, D], the first of which is number 1."""
    table = state.get("backbone.cameras.table")
    if table is not None and table.ndim == 3 and table.shape[1] == 1:
        state["backbone.cameras.table"] = table[:, 0]
        state["backbone.cameras.camera_ids"] = torch.arange(1, table.shape[0] + 1, dtype=torch.float64)


SHAPED: tuple[Callable[[dict[str, Tensor], list[str]], None], ...] = (
    _place_non_local, _place_last_block, _place_necks, _place_embeddings, _place_squeeze, _place_cameras,
)  # fmt: skip


def _place(state: dict[str, Tensor], left_out: list[str], family: Family) -> None:
    """Change in a state, in place, what depends on shapes, and how the first layer takes images."""
    for shape in SHAPED:
        shape(state, left_out)
    if _is_from_half(family, state):
        _from_half(state)


def _refuse_other_normalisation(contents: Contents, path: Path, half: bool) -> None:
    """Refuse a file that says, as fast-reid's do, that its images were normalised by other numbers than is assumed.

    Raises:
        WeightsError: it is one.
    """
    assumed = {"pixel_mean": HALF if half else MEAN, "pixel_std": HALF if half else STD}
    for name, tensor in contents.tensors.items():
        wanted = assumed.get(name.rpartition(".")[2])
        if wanted is None:
            continue
        values = tensor.double().flatten() / 255
        if len(values) != 3 or not torch.allclose(values, torch.tensor(wanted).double(), rtol=0, atol=0.01):
            raise WeightsError(
                f"{path} says by {in_words(name, 120)} that its images were normalised by other numbers than "
                f"255 x {list(wanted)}: {EXPORT_IT}"
            )


def _is_from_half(family: Family, state: Mapping[str, Tensor]) -> bool:
    """Whether images were (x - 0.5) / 0.5: every vision transformer's are."""
    return family.normalised == "half" or "backbone.cls_token" in state


def _from_half(state: dict[str, Tensor]) -> None:
    """Let the first layer take ImageNet's normalisation in the place of (x - 0.5) / 0.5.

    x = m + s y for an input y of ImageNet's, so (x - 0.5) / 0.5 = a y + b with a = 2 s and b = 2 m - 1 in each channel.
    A convolution without padding takes both into its weight and its shift; nothing is lost but a rounding.
    """
    weight, bias = (state.get(f"backbone.patch_embed.proj.{name}") for name in ("weight", "bias"))
    if weight is None or bias is None or weight.ndim != 4 or weight.shape[1] != 3 or bias.shape != weight.shape[:1]:
        return  # the fit says what is wrong
    if not (weight.is_floating_point() and bias.is_floating_point()):
        return
    mean, std = torch.tensor(MEAN, dtype=torch.float64), torch.tensor(STD, dtype=torch.float64)
    exact = weight.double()
    state["backbone.patch_embed.proj.weight"] = (exact * (2 * std)[:, None, None]).float()
    state["backbone.patch_embed.proj.bias"] = (bias.double() + (exact.sum((2, 3)) @ (2 * mean - 1))).float()


def _count(state: dict[str, Tensor], pattern: str) -> int:
    """Return one more than the largest number that the pattern finds in a name."""
    return max((int(found[1]) + 1 for name in state if (found := re.match(pattern, name))), default=0)
