"""Weights on disk. Nothing here executes what a file holds: safetensors, or torch files read with `weights_only`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import torch
from safetensors.torch import save as to_bytes

from reidkit import recipe as recipes
from reidkit import strict_json
from reidkit.arguments import in_words
from reidkit.atomic import atomic_write
from reidkit.errors import UsageError, WeightsError
from reidkit.model.chance import first_weights
from reidkit.model.convert.convert import start_of
from reidkit.model.network import build_network
from reidkit.model.own_network import OwnNetwork, own_network
from reidkit.model.tensors import Contents, read_contents, weights_file
from reidkit.model.views import Tail
from reidkit.terminal import first_and_more

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from reidkit.model.network import Network
    from reidkit.model.own_network import AnyNetwork, OwnModule

FORMAT = "reidkit/1"
COUNTER = "num_batches_tracked"
"""A batch norm's count of batches, which nothing depends on and older files lack."""


class Stored(NamedTuple):
    """A trained network with the recipe that made it and the fingerprint of its weights, as a file holds them."""

    network: AnyNetwork
    recipe: recipes.Recipe
    fingerprint: str


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors of a `.safetensors`, `.pth` or `.pt` file, and its metadata ({} for a torch file).

    Raises:
        WeightsError: no such file, not a weights file, or one that would have to execute code.
    """
    contents = read_contents(path)
    return contents.tensors, contents.metadata


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """Return sixteen hexadecimal digits that name these weights: SHA-256 over names, types, shapes and bytes."""
    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(errors="surrogatepass"))
        total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()[:16]


def load_backbone(network: Network, path: Path) -> str:
    """Fill the backbone, in place, from a file with torchvision's names under any prefix; copies of its stages, too.

    Layouts of which more than a prefix differs, as TransReID's, are renamed first (see `model.convert`). A classifier
    and other parts beside the backbone are left out. Variants have the names of their authors: IBN-Net's,
    and those of the SE networks for torch, which call the stem `layer0`.

    Returns:
        The prefix of the weights and what was left out, in words; empty where there is neither.

    Raises:
        WeightsError: keys or shapes that do not fit, or values that are not finite, the first of them named.
    """
    contents = read_contents(path)
    parts = [network.backbone, *(module for module in network.head.modules() if isinstance(module, Tail))]
    aliases = {name: name for part in parts for name in part.state_dict()}
    contents = start_of(contents, path, aliases)
    aliases |= {f"layer0.{name}": name for name in aliases if name.startswith(("conv1.", "bn1."))}
    found = locate([*contents.tensors, *contents.unusable], aliases)
    if found is None:
        held = _first("its names are", [*contents.tensors, *contents.unusable])
        raise WeightsError(f"{path} holds no weights of this backbone ({held}): give weights with torchvision's names")
    # What belongs to no stage of the backbone, as a classifier, is left out; a stage with more blocks does not fit.
    own = {name.partition(".")[0] for name in aliases}
    names = {full: aliases.get(full[len(found.prefix) :], full[len(found.prefix) :]) for full in found.names}
    classifier: tuple[str, ...] = getattr(network.backbone, "classifier", ())  # some of timm's stand within a stage
    names = {
        full: name
        for full, name in names.items()
        if name.partition(".")[0] in own and (name in aliases or not name.startswith(classifier))
    }
    known, filled = _renamed(contents, names), set()
    if adapt := getattr(network.backbone, "adapt", None):  # as to another table of positions
        known = known._replace(tensors=adapt(known.tensors))
    elsewhere = {name for name in (*known.tensors, *known.unusable) if name in aliases}
    for part in parts:  # a name that is none of any part's is refused by each
        fit(part, _without(known, elsewhere - part.state_dict().keys()), path, added=_added(part))
        filled |= {id(tensor) for name, tensor in part.state_dict(keep_vars=True).items() if name in known.tensors}
    network.filled = frozenset(name for name, parameter in network.named_parameters() if id(parameter) in filled)
    beside = [n for n in (*contents.tensors, *contents.unusable) if n not in names and not n.endswith(COUNTER)]
    return "; ".join(filter(None, (_placed(found), _first("left out of the weights:", beside))))


def _added(backbone: nn.Module) -> frozenset[str]:
    """Return the names of what published weights cannot hold: of modules that another paper adds to the backbone."""
    return frozenset(
        f"{prefix}.{name}" if prefix else name
        for prefix, module in backbone.named_modules()
        if getattr(module, "added", False)
        for name in module.state_dict()
    )


def _renamed(contents: Contents, names: Mapping[str, str]) -> Contents:
    """Keep the tensors that have a new name, under it."""
    return Contents(
        {names[full]: tensor for full, tensor in contents.tensors.items() if full in names},
        {names[full]: why for full, why in contents.unusable.items() if full in names},
        contents.metadata,
    )


def _without(contents: Contents, names: Collection[str]) -> Contents:
    """Leave tensors of these names out."""
    tensors = {name: tensor for name, tensor in contents.tensors.items() if name not in names}
    unusable = {name: why for name, why in contents.unusable.items() if name not in names}
    return Contents(tensors, unusable, contents.metadata)


def _placed(found: Located) -> str:
    if not found.others:
        return f"weights found under {in_words(found.prefix, 80)}" if found.prefix else ""
    others = ", ".join(in_words(other, 80) or "no prefix" for other in found.others[:3])
    return f"weights taken from {in_words(found.prefix, 80) or 'no prefix'}, and not from {others}, which fits as well"


def stride_placement(path: Path) -> str:
    """Say which convolution of a bottleneck has the stride in these weights: `1x1` or `3x3`, by their metadata.

    Without metadata it is `3x3`, but for the published SE-ResNets, which are caffe's; SE-ResNeXts are not.
    """
    state, metadata = read(path)
    if "recipe" in metadata:
        return _recipe(metadata["recipe"], path).network.stride_in
    stem = "layer0.conv1.weight"
    prefix = next((name.removesuffix(stem) for name in state if name.endswith(stem)), None)
    squeezed = None if prefix is None else state.get(f"{prefix}layer1.0.conv2.weight")
    if squeezed is not None and squeezed.ndim > 1:
        return "1x1" if squeezed.shape[0] == squeezed.shape[1] else "3x3"
    return "1x1" if "1x1" in metadata.get("stride_in", "") else "3x3"


def fingerprint_read_as(weights: str, read_as: str) -> str:
    """Return the fingerprint of a model, by that of its weights and by what they are read as (see `save_model`)."""
    return hashlib.sha256(f"{weights} {read_as}".encode()).hexdigest()[:16] if read_as else weights


def save_model(path: Path, network: nn.Module, recipe: recipes.Recipe, own: str = "", read_as: str = "") -> str:
    """Write the network, with recipe and fingerprint in its metadata, whole or not at all; return the fingerprint.

    `own` names a network that the recipe has not made (see `model.own_network`), so that loading it asks for that
    network. `read_as` tells the model from others with the same weights, whose features are not to be compared with its
    own.

    Raises:
        WeightsError: there is no room, or the folder cannot be written; a file that was there stays.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    name = fingerprint(state)
    metadata = {"format": FORMAT, "recipe": json.dumps(recipes.to_json(recipe)), "fingerprint": name}
    if own:
        metadata["network"] = own
    if read_as:
        metadata["read_as"] = read_as
    try:
        with atomic_write(path) as file:
            for part in in_order(to_bytes(state, metadata)):
                file.write(part)
    except OSError as error:
        raise WeightsError(f"{path} cannot be written ({error.strerror}): make room and run again") from None
    return fingerprint_read_as(name, read_as)


def in_order(content: bytes) -> tuple[bytes, bytes, memoryview]:
    """Return the parts of a safetensors file (length, header, numbers) with its metadata sorted by key.

    The library writes metadata in an order that differs from process to process, so that equal weights would not be
    equal files. Spaces fill the header up to a multiple of eight bytes, as the format demands.
    """
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little"), text, memoryview(content)[8 + length :]


def load_network(path: Path, network: OwnModule | None = None) -> Stored:
    """Return the network of a run folder or a `.safetensors` that reidkit wrote, in evaluation mode.

    `network` is what a model of a user's own network is loaded into: a module, or what makes one.

    Raises:
        WeightsError: no model there, one of something else, one whose bytes do not match its fingerprint, or one
            that holds values that are not finite.
        UsageError: `network` is missing for a model of a user's own, is none, or cannot take its images.
    """
    file = weights_file(path)
    contents = read_contents(file)
    if contents.metadata.get("format") != FORMAT or "recipe" not in contents.metadata:
        raise WeightsError(f"{file} is not a reidkit model: give it to `reidkit import`, or to a training as weights")
    recipe = _recipe(contents.metadata["recipe"], file)
    with first_weights():
        made = _unfilled(recipe, contents, file, network)
    name = fingerprint(contents.tensors)
    if name != contents.metadata.get("fingerprint"):
        raise WeightsError(f"{file} is damaged: its weights are not those its fingerprint names; copy it again")
    fit(made, contents, file)
    return Stored(made.eval(), recipe, fingerprint_read_as(name, contents.metadata.get("read_as", "")))


def _unfilled(recipe: recipes.Recipe, contents: Contents, file: Path, network: OwnModule | None) -> AnyNetwork:
    """Return the network that the weights in `contents` belong to, before it has them."""
    if network is not None:
        return own_network(network, recipe.images.size)
    if own := contents.metadata.get("network"):
        raise UsageError(
            f"{file} holds a network of your own, {in_words(own, 80)}, which no recipe makes: pass network",
            argument="network",
        )
    with torch.device("meta"):  # takes no memory: what the recipe asks for need not be what the file holds
        _refuse_unfit(build_network(recipe.network), contents, file)
    return build_network(recipe.network)


def load_own(network: AnyNetwork, path: Path) -> None:
    """Start a user's own network from a file with the names of its tensors. In place.

    Raises:
        WeightsError: keys or shapes that do not fit, or values that are not finite, the first of them named.
    """
    fit(network, read_contents(weights_file(path) if path.is_dir() else path), path)
    network.filled = frozenset(name for name, _ in network.named_parameters())


def _recipe(text: str, path: Path) -> recipes.Recipe:
    try:
        return recipes.from_json(strict_json.parse(text), where=str(path))
    except (strict_json.JsonError, UsageError) as error:
        raise WeightsError(f"{path} carries a recipe that this reidkit cannot read: {error}") from None


def fit(module: nn.Module, contents: Contents, path: Path, added: frozenset[str] = frozenset()) -> None:
    """Load the tensors into `module`, or say in one sentence what does not fit; those of `added` may be missing."""
    _refuse_unfit(module, contents, path, added)
    wanted = module.state_dict()
    state = {
        name: tensor.to(wanted[name].dtype)
        for name, tensor in contents.tensors.items()
        if name in wanted and tensor.shape == wanted[name].shape  # a counter of batches may have another shape
    }
    refuse_not_finite(state, path)
    module.load_state_dict(state, strict=False)


def _refuse_unfit(module: nn.Module, contents: Contents, path: Path, added: frozenset[str] = frozenset()) -> None:
    if problems := misfit(module, contents, path, added):
        remedy, argument = "set network.backbone and network.width to its own", "network.backbone"
        if own := contents.metadata.get("network"):
            remedy, argument = f"pass the one that it was trained with, {in_words(own, 80)}", "network"
        elif isinstance(module, OwnNetwork):
            remedy, argument = "give weights whose tensors are called like its own", "weights"
        raise WeightsError(f"{path} does not fit the network ({problems}): {remedy}", argument=argument)


def misfit(module: nn.Module, contents: Contents, path: Path, added: frozenset[str] = frozenset()) -> str:
    """Return what is missing, too much or of another shape; "" where all fits.

    Raises:
        WeightsError: a tensor that is needed holds no plain numbers.
    """
    state, wanted = contents.tensors, module.state_dict()
    missing = added - state.keys() - contents.unusable.keys()
    needed = {name for name in wanted if not name.endswith(COUNTER) and name not in missing}
    given = {name for name in (*state, *contents.unusable) if not name.endswith(COUNTER)}
    odd = [f"{in_words(n, 80)}, which is {contents.unusable[n]}" for n in sorted(needed & contents.unusable.keys())]
    odd += [f"{n}, which is {_type(state[n])}" for n in sorted(needed & state.keys()) if not _has_fractions(state[n])]
    if odd:
        raise WeightsError(f"{path} holds no plain numbers {_first('at', odd, 1)}: save it as float32 and give that")
    shapes = (name for name in sorted(needed & state.keys()) if wanted[name].shape != state[name].shape)
    problems = [
        _first("it lacks", sorted(needed - given)),
        _first("it has besides", sorted(given - needed)),
        _first("shapes differ at", (f"{n} {list(state[n].shape)} for {list(wanted[n].shape)}" for n in shapes)),
    ]
    return "; ".join(filter(None, problems))


def refuse_not_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse the weights of a diverged run.

    Raises:
        WeightsError: a tensor holds a NaN or an infinity, or a variance below 0; the first are named.
    """
    broken = [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise WeightsError(
            f"{path} holds NaN or infinity {_first('in', broken)}: the run that made it has diverged, or the file is "
            "damaged; take other weights"
        )
    below = [name for name, tensor in state.items() if name.endswith(".running_var") and bool((tensor < 0).any())]
    if below:
        raise WeightsError(f"{path} holds variances below 0 {_first('in', below)}: take other weights")


def _has_fractions(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and "float4" not in str(tensor.dtype)  # which packs two numbers in one


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _first(what: str, names: Iterable[str], show: int = 3) -> str:
    found = [in_words(name, 120) for name in names]
    return f"{what} {first_and_more(found, show)}" if found else ""


# --- Where in a file the weights of a network lie: under which prefix of its names.

SECOND = ("ema", "momentum", "teacher", "target", "encoder_k", "key_encoder")
"""Words in the prefix of a second copy of the network, as an average of its weights."""


class Located(NamedTuple):
    """The `prefix` of the weights with its dot, all `names` under it, and other prefixes under which as many fit."""

    prefix: str
    names: tuple[str, ...]
    others: tuple[str, ...]


def locate(names: Sequence[str], wanted: Collection[str]) -> Located | None:
    """Find the prefix under which most of the `wanted` names lie; None where there are none.

    Of several, one that is not a second copy of a network (`SECOND`) is taken, then the first in the file.
    """
    known = set(wanted)
    longest = max((name.count(".") for name in known), default=0) + 1
    counts: Counter[str] = Counter()
    for name in names:
        # From the right: the wanted names have few parts, and a prefix may have any number.
        parts = name.rsplit(".", longest)
        for length in range(1, len(parts) + 1):
            ending = ".".join(parts[-length:])
            if ending in known:
                counts[name.removesuffix(ending)] += 1
    if not counts:
        return None
    most = max(counts.values())
    best = sorted((prefix for prefix, count in counts.items() if count == most), key=_is_second)
    prefix = best[0]
    return Located(prefix, tuple(name for name in names if name.startswith(prefix)), tuple(best[1:]))


def _is_second(prefix: str) -> bool:
    return any(word in prefix.lower() for word in SECOND)
