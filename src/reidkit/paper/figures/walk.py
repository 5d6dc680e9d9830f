"""What a recipe builds, found by running it: the stages of the network, and which loss hangs on which feature.

Nothing here is told by hand: the network and the objective are built as for training, a batch is sent through, and
every module says what it is and what it gave.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from reidkit.losses.objective import Objective
from reidkit.model.network import Features, build

if TYPE_CHECKING:
    from reidkit.model.network import Network
    from reidkit.recipe import Recipe

Shape = tuple[int, ...]

PEOPLE = 751
"""The people of Market-1501's training set, by which the classifier is as wide as in the paper."""


@dataclass(frozen=True)
class Stage:
    """A module that was run: its place in the network, its class, the shapes [B, ...] it was given and it gave."""

    path: str
    kind: str
    given: Shape = ()
    shape: Shape = ()
    detail: str = ""


@dataclass(frozen=True)
class Loss:
    """A term of the objective, which of `metric` (f_t) and `search` (f_i) it pulls at, its modules and its settings."""

    name: str
    features: tuple[str, ...]
    parts: tuple[Stage, ...]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Walk:
    """A recipe taken apart. `neck` is empty where both features are the one feature f."""

    recipe: Recipe
    images: Shape
    backbone: tuple[Stage, ...]
    behind: tuple[Stage, ...]
    neck: tuple[Stage, ...]
    feature: Shape
    losses: tuple[Loss, ...]

    @property
    def one_feature(self) -> bool:
        """Whether the triplet loss and the ID loss share the feature f."""
        return not self.neck


def walk(recipe: Recipe, people: int = PEOPLE) -> Walk:
    """Build the recipe's network and objective, send a batch through, and write down what happened."""
    shape = (recipe.batch.ids * recipe.batch.images, 3, recipe.images.height, recipe.images.width)
    # On the meta device tensors have shapes and no values: ResNet-152 costs no more than a sketch of it.
    with torch.device("meta"):
        network = build(recipe.network).train()
        features, stages = _run(network, torch.empty(shape))
    backbone = tuple(stage for stage in stages if stage.path.startswith("backbone."))
    rest = [stage for stage in stages if not stage.path.startswith("backbone.")]
    neck = () if features.metric is features.search else tuple(s for s in rest if s.path.startswith("neck"))
    behind = [stage for stage in rest if not stage.path.startswith("neck")]
    if not any(len(stage.given) == 4 for stage in behind):
        last = backbone[-1].shape
        behind.insert(0, Stage("pool", "global average pooling", last, last[:2]))
    losses = _losses(recipe, network.channels, people)
    return Walk(recipe, shape, backbone, tuple(behind), neck, tuple(features.metric.shape), losses)


def _run(network: Network, images: Tensor) -> tuple[Features, list[Stage]]:
    """The features, and what each stage gave, in the order in which they ran."""
    seen: list[Stage] = []
    stages = {f"backbone.{name}": module for name, module in network.backbone.named_children()}
    stages |= {name: module for name, module in network.named_children() if name != "backbone"}
    hooks = [
        module.register_forward_hook(
            lambda module, given, out, path=path: seen.append(_stage(path, module, given[0].shape, out.shape))
        )
        for path, module in stages.items()
        if not isinstance(module, nn.Identity)
    ]
    try:
        return network(images), seen
    finally:
        for hook in hooks:
            hook.remove()


def _stage(path: str, module: nn.Module, given: Shape = (), shape: Shape = ()) -> Stage:
    kind, detail = type(module).__name__, _detail(module)
    if isinstance(module, nn.Sequential):
        kind = f"{len(module)} {' / '.join(sorted({type(block).__name__ for block in module}))}"
        detail = f"stride {_stride(module)}"
    return Stage(path, kind, tuple(given), tuple(shape), detail)


def _detail(module: nn.Module) -> str:
    """The words of a single module that a drawing has room for."""
    if isinstance(module, nn.Conv2d):
        return f"{module.kernel_size[0]}x{module.kernel_size[1]}, stride {module.stride[0]}"
    if isinstance(module, nn.MaxPool2d):
        return f"{module.kernel_size}x{module.kernel_size}, stride {module.stride}"
    if isinstance(module, nn.Linear):
        return f"{module.in_features} to {module.out_features}, {'bias' if module.bias is not None else 'no bias'}"
    if isinstance(module, nn.BatchNorm1d):
        learned = module.bias is not None and module.bias.requires_grad
        return "learned shift" if learned else "shift held at 0"
    return ""


def _stride(stage: nn.Sequential) -> int:
    """By how much a stage shrinks the map: the strides along one way through it, multiplied."""
    straight = [module for block in stage for module in block.children() if isinstance(module, nn.Conv2d)]
    return math.prod(module.stride[0] for module in straight)


def _losses(recipe: Recipe, channels: int, people: int) -> tuple[Loss, ...]:
    """Every term, and the features that its gradient reaches: two people, two images each, in the real objective."""
    with torch.random.fork_rng(devices=[]):
        objective = Objective(recipe, channels, people)
        metric, search = torch.randn(2, 4, channels, requires_grad=True).unbind(0)
    terms = objective(metric, search, torch.tensor([0, 0, 1, 1]))
    losses = []
    for name, term in terms.items():
        reached = torch.autograd.grad(term, (metric, search), allow_unused=True, retain_graph=True)
        features = tuple(
            feature for feature, slope in zip(("metric", "search"), reached, strict=True) if slope is not None
        )
        module = objective.get_submodule(name) if hasattr(objective, name) else nn.Module()
        parts = tuple(_stage(part, child) for part, child in module.named_children())
        losses.append(Loss(name, features, parts, asdict(getattr(recipe, name)) if hasattr(recipe, name) else {}))
    return tuple(losses)
