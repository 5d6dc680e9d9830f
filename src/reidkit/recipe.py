"""Everything that changes the result of a training run, and nothing else.

A recipe is a frozen tree of dataclasses. What does not change the result (device, workers, folders) is an option of the
command. An ablation is a ladder of `dataclasses.replace`, each rung one change from its parent.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from reidkit.types import UsageError

if TYPE_CHECKING:
    from pathlib import Path

Backbone = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


class Section:
    """Part of a recipe. pydantic reads this setting, so that a misspelt key is an error and not ignored."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class Network(Section):
    """The network up to the feature that is searched with.

    `stride_in`: which convolution of a bottleneck block carries the stride: `3x3` as torchvision does, `1x1` as caffe
    did, `auto` as the metadata of the weights file says (torchvision's where it says nothing).
    `stem_relu` False leaves out the ReLU after the first batch norm, as the authors' published weights need.
    `neck`: what f_i is made of f_t by: nothing, batch norm (BNNeck), or `l2`, its direction (see `model.neck`).
    `embedding`: the length of the feature that a linear layer behind the pooling makes; 0 is no such layer.
    """

    backbone: Backbone = "resnet50"
    width: float = 1.0
    last_stride: Literal[1, 2] = 2
    stride_in: Literal["auto", "3x3", "1x1"] = "auto"
    stem_relu: bool = True
    neck: Literal["none", "bnneck", "l2"] = "none"
    embedding: int = 0


@dataclass(frozen=True, kw_only=True)
class Images(Section):
    """Size in pixels, and the two augmentations every rung has (paper, section 2, steps 3 and 4).

    `resize`: how an image of another size is brought to this one, by Pillow's filter of that name.
    """

    height: int = 256
    width: int = 128
    pad: int = 10
    flip: float = 0.5
    resize: Literal["bilinear", "bicubic"] = "bilinear"


@dataclass(frozen=True, kw_only=True)
class Erasing(Section):
    """Random erasing (paper, section 3.2). `area` is S_e/S, `aspect` is H_e/W_e.

    `aspect_draw`: `uniform`, as the official code draws it, or `log`: its logarithm is uniform, as torchvision has it.
    `fill`: `code` the constant (0.485, 0.456, 0.406) written after normalising, as the official code does;
    `imagenet-mean` the mean pixel of ImageNet; `image-mean` the mean pixel of the image; `random` noise N(0, 1).
    """

    probability: float = 0.0
    area: tuple[float, float] = (0.02, 0.4)
    aspect: tuple[float, float] = (0.3, 1 / 0.3)
    aspect_draw: Literal["uniform", "log"] = "uniform"
    fill: Literal["code", "imagenet-mean", "image-mean", "random"] = "code"


@dataclass(frozen=True, kw_only=True)
class Batch(Section):
    """P ids with K images each. `visits`: `chunks` shows every image of an id (official code), `once` each id once."""

    ids: int = 16
    images: int = 4
    visits: Literal["chunks", "once"] = "chunks"


@dataclass(frozen=True, kw_only=True)
class Identity(Section):
    """The ID loss.

    `smoothing` is eps; `spread` says among whom it is shared: `all` N people (equation 3: the true one keeps
    1 - (N-1)/N eps), or the N-1 `others` (it keeps 1 - eps).
    `init` of the bias-free classifier behind a neck: normal with deviation `std`, or Kaiming.
    """

    weight: float = 1.0
    smoothing: float = 0.0
    spread: Literal["all", "others"] = "all"
    init: Literal["normal", "kaiming"] = "normal"
    std: float = 0.001


@dataclass(frozen=True, kw_only=True)
class Triplet(Section):
    """The batch-hard triplet loss on the Euclidean distance of the features before the neck."""

    weight: float = 1.0
    margin: float = 0.3


@dataclass(frozen=True, kw_only=True)
class Center(Section):
    """The centre loss. `reading`: `code` the mean over the batch, `paper` half the sum (equation 5)."""

    weight: float = 0.0
    lr: float = 0.5
    reading: Literal["code", "paper"] = "code"


@dataclass(frozen=True, kw_only=True)
class Optim(Section):
    """Adam and its learning rate (see `train.schedule`).

    `warmup`: the reading of the first `warmup_epochs`; or the rate rises at each of the first `warmup_steps`.
    """

    lr: float = 3.5e-4
    weight_decay: float = 5e-4
    epochs: int = 120
    drops: tuple[int, ...] = (40, 70)
    gamma: float = 0.1
    warmup_epochs: int = 0
    warmup: Literal["paper", "code", "equation-1"] = "paper"
    warmup_steps: int = 0


ADDED = (
    "network.embedding",
    "images.resize",
    "erasing.aspect_draw",
    "identity.spread",
    "identity.std",
    "optim.warmup_steps",
)
"""Fields that came later, with defaults that change nothing: a run begun before them can still go on."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Section):
    """One training run, apart from its data and its seed."""

    name: str = "custom"
    network: Network = field(default_factory=Network)
    images: Images = field(default_factory=Images)
    erasing: Erasing = field(default_factory=Erasing)
    batch: Batch = field(default_factory=Batch)
    identity: Identity = field(default_factory=Identity)
    triplet: Triplet = field(default_factory=Triplet)
    center: Center = field(default_factory=Center)
    optim: Optim = field(default_factory=Optim)


def to_json(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain JSON values, in the order of its fields."""
    return cast("dict[str, Any]", json.loads(json.dumps(dataclasses.asdict(recipe))))


def from_json(value: object, where: str = "recipe") -> Recipe:
    """The recipe that `value` (JSON, already parsed) describes; missing fields take their defaults.

    Raises:
        UsageError: an unknown key or a value that does not fit, named with its place.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        recipe = TypeAdapter(Recipe).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "unexpected_keyword_argument":
            raise UsageError(f"{where}: there is no {key}{_nearest(key)}") from None
        raise UsageError(f"{where}: {key or 'the whole'}: {first['msg']}") from None
    _check(recipe, where)
    return recipe


def load(path: Path) -> Recipe:
    """The recipe of a `recipe.json`."""
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")), where=str(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{path} is not JSON: give a recipe's name (`reidkit recipes`) or a recipe.json") from None


def override(recipe: Recipe, settings: list[str]) -> Recipe:
    """The recipe with `key=value` settings put in, as `optim.lr=1e-3`; values are JSON or bare words.

    Raises:
        UsageError: a setting without `=`, a key that does not exist (the nearest is named), a value that does not fit.
    """
    value = to_json(recipe)
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise UsageError(f"--set {setting}: write it as KEY=VALUE, as in --set optim.lr=1e-3")
        *sections, leaf = key.strip().split(".")
        place = value
        for section in sections:
            place = place.get(section, {}) if isinstance(place.get(section), dict) else {}
        if leaf not in place or isinstance(place[leaf], dict):
            raise UsageError(f"--set {setting}: there is no {key}{_nearest(key)}")
        place[leaf] = _parse(text.strip())
    return from_json(value, where="--set")


def digest(recipe: Recipe) -> str:
    """A short text that differs where two recipes differ in anything but their name.

    A field of `ADDED` that has its default is left out, so that adding one changes no digest.
    """
    value, defaults = to_json(recipe), to_json(Recipe())
    del value["name"]
    for section, leaf in (key.split(".") for key in ADDED):
        if value[section][leaf] == defaults[section][leaf]:
            del value[section][leaf]
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def differences(ours: Recipe, theirs: Recipe) -> list[str]:
    """The leaves in which two recipes differ, as `optim.lr: 0.1, not 0.2`."""
    mine, other = _leaves(to_json(ours)), _leaves(to_json(theirs))
    return [f"{key}: {mine[key]}, not {other[key]}" for key in mine if key != "name" and mine[key] != other[key]]


def _parse(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _leaves(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            found |= _leaves(inner, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = inner
    return found


def _nearest(key: str) -> str:
    known = list(_leaves(to_json(Recipe())))
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    return f"; did you mean {close[0]}?" if close else "; `reidkit recipes standard-baseline` shows every key"


def _check(recipe: Recipe, where: str) -> None:
    """What a type cannot say. One table: a rule, and the sentence that a user reads when it is broken."""
    r = recipe
    leaves = _leaves(to_json(recipe)).values()
    numbers = [n for leaf in leaves for n in (leaf if isinstance(leaf, list) else [leaf]) if isinstance(n, float)]
    rules = (
        (all(map(math.isfinite, numbers)), "numbers must be finite"),
        (0 < r.network.width <= 4, "network.width must be above 0 and at most 4"),
        (0 <= r.network.embedding <= 65536, "network.embedding must be between 0 (none) and 65536"),
        (min(r.images.height, r.images.width) >= 32, "images.height and images.width must be at least 32 pixels"),
        (r.images.pad >= 0, "images.pad must not be negative"),
        (0 <= r.images.flip <= 1, "images.flip is a probability, between 0 and 1"),
        (0 <= r.erasing.probability <= 1, "erasing.probability is between 0 and 1"),
        (0 < r.erasing.area[0] <= r.erasing.area[1] < 1, "erasing.area must rise between 0 and 1"),
        (0 < r.erasing.aspect[0] <= r.erasing.aspect[1], "erasing.aspect must rise from above 0"),
        (r.batch.ids >= 2, "batch.ids must be at least 2: a triplet needs somebody else"),
        (r.batch.images >= 2, "batch.images must be at least 2: a triplet needs a second image of a person"),
        (0 <= r.identity.smoothing < 1, "identity.smoothing must be at least 0 and below 1"),
        (min(r.identity.weight, r.triplet.weight, r.center.weight) >= 0, "a loss weight must not be negative"),
        (r.identity.weight + r.triplet.weight > 0, "identity.weight and triplet.weight cannot both be 0"),
        (r.identity.std > 0, "identity.std must be above 0"),
        (r.triplet.margin >= 0, "triplet.margin must not be negative"),
        (r.center.lr >= 0, "center.lr must not be negative"),
        (r.optim.lr > 0, "optim.lr must be above 0"),
        (r.optim.weight_decay >= 0, "optim.weight_decay must not be negative"),
        (r.optim.gamma > 0, "optim.gamma must be above 0"),
        (r.optim.epochs >= 1, "optim.epochs must be at least 1"),
        (r.optim.warmup_epochs >= 0, "optim.warmup_epochs must not be negative"),
        (r.optim.warmup_steps >= 0, "optim.warmup_steps must not be negative"),
        (
            not (r.optim.warmup_steps and r.optim.warmup_epochs),
            "optim.warmup_steps and optim.warmup_epochs exclude each other: set one of them to 0",
        ),
        (list(r.optim.drops) == sorted(set(r.optim.drops)), "optim.drops must rise"),
    )
    for holds, sentence in rules:
        if not holds:
            raise UsageError(f"{where}: {sentence}")
