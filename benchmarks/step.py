"""The step of `reidkit.train.loop`, set up in the ways that both training benchmarks time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from reidkit.losses.objective import build_objective
from reidkit.model.network import Network, build_network
from reidkit.train.loop import training_step
from reidkit.train.optimizer import build_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from reidkit.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a step is taken; as it is, like a straightforward program: NCHW memory, float32, Adam as it comes."""

    channels_last: bool = False
    precision: torch.dtype = torch.float32
    fused: bool = False


class Step(Protocol):
    """One step of training."""

    def __call__(self, images: Tensor, labels: Tensor, lr: float | None = None, /) -> None:
        """Take images [B, 3, H, W] and labels [B], both on the device, and a learning rate; None is the recipe's."""


def build_step(
    recipe: Recipe,
    people: int,
    device: torch.device,
    way: Way,
    change: Callable[[Network], None] = lambda _: None,
    seed: int = 0,
) -> Step:
    """A step of training. `change` is given the network, to compile it, or to fill it with weights."""
    torch.manual_seed(seed)
    network = build_network(recipe.network).train().to(device)
    if way.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    objective = build_objective(recipe, network.spans, people).to(device)
    if way.fused:
        optimizer = build_optimizer(network, objective, recipe.optim)
    else:
        learned = [p for module in (network, objective) for p in module.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(learned, lr=recipe.optim.lr, weight_decay=recipe.optim.weight_decay)
    change(network)

    def step(images: Tensor, labels: Tensor, lr: float | None = None, /) -> None:
        rate = recipe.optim.lr if lr is None else lr
        for group in optimizer.param_groups:
            group["lr"] = rate
        images = images if way.channels_last else images.contiguous()
        training_step(network, objective, optimizer, images, labels, way.precision)

    return step
