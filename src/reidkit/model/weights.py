"""Weights on disk. Nothing here executes what a file holds: safetensors, or torch files read with `weights_only`."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from reidkit import recipe as recipes
from reidkit.model.network import Network, build
from reidkit.types import ReidkitError, UsageError, WeightsError
from reidkit.whole import whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from torch import Tensor, nn

FORMAT = "reidkit/1"


class Model(NamedTuple):
    """A trained network with the recipe that made it and the fingerprint of its weights."""

    network: Network
    recipe: recipes.Recipe
    fingerprint: str


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a `.safetensors`, `.pth` or `.pt` file, and its metadata ({} for a torch file).

    Raises:
        WeightsError: no such file, not a weights file, or one that would have to execute code.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is not there: give a .safetensors or .pth file of weights")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path} is not a whole safetensors file ({error}): fetch or write it again") from None
    return _read_torch(path), {}


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """Sixteen hexadecimal digits that name these weights: SHA-256 over names, types, shapes and bytes."""
    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()[:16]


def load_backbone(network: Network, path: Path) -> None:
    """Start the backbone from a file with torchvision's names; a classifier `fc` is left out. In place.

    Of the variants it is the names of their authors: IBN-Net's, and those of the SE networks for torch, which call the
    stem `layer0` and the classifier `last_linear`.

    Raises:
        WeightsError: keys or shapes that do not fit, the first of them named.
    """
    state, _ = read(path)
    nested = {name.removeprefix("backbone."): tensor for name, tensor in state.items() if name.startswith("backbone.")}
    state = nested or {name.removeprefix("module."): tensor for name, tensor in state.items()}
    wanted = {
        name.removeprefix("layer0."): tensor
        for name, tensor in state.items()
        if not name.startswith(("fc.", "last_linear."))
    }
    _fit(network.backbone, wanted, path)


def stride_placement(path: Path) -> str:
    """Where the stride of a bottleneck sits in these weights, `1x1` or `3x3`, by their metadata; `3x3` without.

    The published SE-ResNets have no metadata and are caffe's: 1x1. Their grouped kin is not.
    """
    state, metadata = read(path)
    if "recipe" in metadata:
        return _recipe(metadata["recipe"], path).network.stride_in
    squeezed = state.get("layer1.0.conv2.weight") if "layer0.conv1.weight" in state else None
    if squeezed is not None:
        return "1x1" if squeezed.shape[0] == squeezed.shape[1] else "3x3"
    return "1x1" if "1x1" in metadata.get("stride_in", "") else "3x3"


def save_model(path: Path, network: Network, recipe: recipes.Recipe) -> str:
    """Write the network alone, with recipe and fingerprint in its metadata, whole or not at all. The fingerprint.

    Raises:
        WeightsError: there is no room, or the folder cannot be written; a file that was there stays.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    name = fingerprint(state)
    metadata = {"format": FORMAT, "recipe": json.dumps(recipes.to_json(recipe)), "fingerprint": name}
    try:
        with whole(path) as file:
            for part in _in_order(to_bytes(state, metadata)):
                file.write(part)
    except OSError as error:
        raise WeightsError(f"{path} cannot be written ({error.strerror}): make room and run again") from None
    return name


def _in_order(content: bytes) -> tuple[bytes, bytes, memoryview]:
    """The parts of a safetensors file (length, header, numbers) with the metadata sorted by their keys.

    The library writes them in an order that differs from process to process, and then equal weights would not be equal
    files. The header is filled up with spaces to a multiple of eight bytes, as the format wants it.
    """
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little"), text, memoryview(content)[8 + length :]


def load_model(path: Path) -> Model:
    """The model of a run folder or a `.safetensors` that reidkit wrote, in evaluation mode.

    Raises:
        WeightsError: no model there, one of something else, or one whose bytes do not match its fingerprint.
    """
    file = path / "model.safetensors" if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        raise WeightsError(f"{path} holds no model.safetensors: has its run ended? `reidkit train --resume` goes on")
    state, metadata = read(file)
    if metadata.get("format") != FORMAT or "recipe" not in metadata:
        raise WeightsError(f"{file} is not a reidkit model: train one, or start a run from it with --weights")
    recipe = _recipe(metadata["recipe"], file)
    network = build(recipe.network)
    _fit(network, state, file)
    name = fingerprint(state)
    if name != metadata.get("fingerprint"):
        raise WeightsError(f"{file} is damaged: its weights are not those its fingerprint names; copy it again")
    return Model(network.eval(), recipe, name)


def _recipe(text: str, path: Path) -> recipes.Recipe:
    try:
        return recipes.from_json(json.loads(text), where=str(path))
    except (json.JSONDecodeError, UsageError) as error:
        raise WeightsError(f"{path} carries a recipe that this reidkit cannot read: {error}") from None


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except ReidkitError:
        raise
    except Exception as error:  # torch.load raises whatever its zip and pickle readers do
        reason = "it holds more than tensors" if "weights_only" in str(error) else "it is damaged or something else"
        raise WeightsError(
            f"{path} is no torch weights file ({reason}): give a .safetensors or a plain state dict"
        ) from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise WeightsError(f"{path} holds no state dict: save `model.state_dict()` and give that")
    return content


def _fit(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load `state` into `module` after saying in one sentence what does not fit."""
    wanted = module.state_dict()
    needed = {name for name in wanted if not name.endswith("num_batches_tracked")}
    given = {name for name in state if not name.endswith("num_batches_tracked")}
    shapes = (name for name in sorted(needed & given) if wanted[name].shape != state[name].shape)
    problems = [
        _first("it lacks", sorted(needed - given)),
        _first("it has besides", sorted(given - needed)),
        _first("shapes differ at", (f"{n} {list(state[n].shape)} for {list(wanted[n].shape)}" for n in shapes)),
    ]
    if any(problems):
        raise WeightsError(
            f"{path} does not fit the network ({'; '.join(p for p in problems if p)}): "
            "choose the backbone it was made for with --set network.backbone=..."
        )
    module.load_state_dict({name: tensor.to(wanted[name].dtype) for name, tensor in state.items()}, strict=False)


def _first(what: str, names: Iterable[str], show: int = 3) -> str:
    found = list(names)
    if not found:
        return ""
    more = f" and {len(found) - show} more" if len(found) > show else ""
    return f"{what} {', '.join(found[:show])}{more}"
