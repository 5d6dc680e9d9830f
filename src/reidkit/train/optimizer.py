"""The optimiser and its learning rate: groups of parameters, frozen steps, and the schedule of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from reidkit.errors import UsageError
from reidkit.train.parallel import norms

if TYPE_CHECKING:
    from torch import nn

    from reidkit.recipe import Optim
    from reidkit.train.checkpoint import Progress


def build_optimizer(network: nn.Module, objective: nn.Module, optim: Optim) -> torch.optim.Optimizer:
    """Make the optimiser of the parameters of both: of every one, norms and biases too, as the authors' code does.

    A parameter that a module lists in its `undecayed` (by its name inside the module) has no weight decay. What no
    weights file has filled (see `Network.filled`), the objective among it, learns at `optim.new` times the rate. The
    last group is that of new parameters with weight decay; where nothing sets groups apart it is the only one.

    Args:
        network: The network.
        objective: The losses, those with a classifier of their own among them.
        optim: The section `optim` of a recipe: which optimiser, its rates and its weight decay.
    """
    filled = filled_parameters(network) if optim.new != 1 else set()
    undecayed = {
        id(module.get_parameter(name)) for module in network.modules() for name in getattr(module, "undecayed", ())
    }
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for module in (network, objective):
        for parameter in module.parameters():
            if parameter.requires_grad:
                key = (parameter not in filled, id(parameter) not in undecayed)
                groups.setdefault(key, []).append(parameter)
    last = (True, True)
    if groups.keys() == {last}:
        return _make(groups[last], optim)
    groups.setdefault(last, [])
    return _make(
        [
            {
                "params": groups[is_new, decays],
                "weight_decay": optim.weight_decay if decays else 0.0,
                "factor": optim.new if is_new else 1.0,
            }
            for is_new, decays in sorted(groups)
        ],
        optim,
    )


def _make(parameters: Any, optim: Optim) -> torch.optim.Optimizer:
    """Make the optimizer that a recipe names; a step is one kernel for all parameters."""
    if optim.name == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=optim.lr,
            momentum=optim.momentum,
            weight_decay=optim.weight_decay,
            nesterov=optim.nesterov,
            fused=True,
        )
    if optim.name == "adamw":
        return torch.optim.AdamW(parameters, lr=optim.lr, weight_decay=optim.weight_decay, fused=True)
    amsgrad = optim.name == "amsgrad"
    return torch.optim.Adam(parameters, lr=optim.lr, weight_decay=optim.weight_decay, amsgrad=amsgrad, fused=True)


def filled_parameters(network: nn.Module) -> set[nn.Parameter]:
    """Return the parameters of a network that a weights file has filled."""
    names: frozenset[str] = getattr(network, "filled", frozenset())
    return {parameter for name, parameter in network.named_parameters() if name in names}


class Freezing:
    """For the first `steps` what a weights file has filled gets no step, and its batch norms keep what they remember.

    fast-reid throws the gradients away; here they are not computed. The norms run in evaluation mode.

    Raises:
        UsageError: nothing else is left to learn.
    """

    def __init__(self, network: nn.Module, objective: nn.Module, steps: int) -> None:
        self._steps = steps
        if not steps:
            return
        filled = filled_parameters(network)
        self._weights = [parameter for parameter in filled if parameter.requires_grad]
        self._norms = [norm for norm in norms(network) if norm.weight is not None and norm.weight in filled]
        learned = [*network.parameters(), *objective.parameters()]
        if filled and not any(parameter.requires_grad and parameter not in filled for parameter in learned):
            raise UsageError(
                f"nothing is left to learn in the first {steps} steps, as the weights have filled all of the network: "
                "set optim.freeze to 0",
                argument="optim.freeze",
            )

    def set_for(self, step: int) -> None:
        """Freeze, or let go, for the step that comes after so many; call it after `network.train()`."""
        if not self._steps:
            return
        frozen = step < self._steps
        for parameter in self._weights:
            parameter.requires_grad_(not frozen)
        for norm in self._norms:
            norm.train(not frozen)


# The learning rate.


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate of each epoch (paper, section 3.1, equation 1 and Figure 3).

    A linear warm-up, then by `schedule`:
    `steps`: `lr` times `gamma` after each drop. A drop at epoch 40 means that epoch 40 is the last one before it.
    `cosine`: `lr` up to the epoch `flat`, then half a cosine down to `floor` at the epoch `epochs`, the last one
    (Loshchilov and Hutter, arXiv:1608.03983, equation 5): floor + (lr - floor) (1 + cos(pi (t-flat)/(epochs-flat)))/2.

    The warm-up is a factor of that. Where it is given in `warmup_steps`, it is 0.1 + 0.9 * step/T at the first T of
    them, as in fast-reid; otherwise it is constant within an epoch. The interpretations of T epochs, at epoch t <= T:
    `paper` t/T, as the text and Figure 3 have it (3.5e-5 at epoch 1, 3.5e-4 at epoch 10);
    `code` 0.01 + 0.99 * (t-1)/T, as the authors' program (3.5e-6 at epoch 1, 3.1535e-4 at epoch 10);
    `equation-1` t/T/10, as equation 1 is printed, a tenth of the text's.
    """

    lr: float = 3.5e-4
    schedule: Literal["steps", "cosine"] = "steps"
    drops: tuple[int, ...] = ()
    gamma: float = 0.1
    epochs: int = 120
    flat: int = 0
    floor: float = 0.0
    warmup_epochs: int = 0
    warmup: Literal["paper", "code", "equation-1"] = "paper"
    warmup_steps: int = 0

    def rate(self, epoch: int, step: int = 0) -> float:
        """Return the learning rate in `epoch`, counted from 1, at `step`, counted from 0 over the whole run."""
        base = self._base(epoch)
        if step < self.warmup_steps:
            return base * (0.1 + 0.9 * step / self.warmup_steps)
        if epoch > self.warmup_epochs:
            return base
        share = epoch / self.warmup_epochs
        factors = {
            "paper": share,
            "code": 0.01 + 0.99 * (epoch - 1) / self.warmup_epochs,
            "equation-1": share / 10,
        }
        return base * factors[self.warmup]

    def _base(self, epoch: int) -> float:
        """Return the rate without the warm-up."""
        if self.schedule == "steps":
            return self.lr * self.gamma ** sum(epoch > drop for drop in self.drops)
        if epoch <= self.flat:
            return self.lr
        share = min(1.0, (epoch - self.flat) / max(1, self.epochs - self.flat))
        return self.floor + (self.lr - self.floor) * (1 + math.cos(math.pi * share)) / 2


def build_schedule(optim: Optim) -> Schedule:
    """Return the schedule of a recipe."""
    return Schedule(
        lr=optim.lr,
        schedule=optim.schedule,
        drops=optim.drops,
        gamma=optim.gamma,
        epochs=optim.epochs,
        flat=optim.flat,
        floor=optim.floor,
        warmup_epochs=optim.warmup_epochs,
        warmup=optim.warmup,
        warmup_steps=optim.warmup_steps,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, schedule: Schedule, progress: Progress) -> float:
    """Give the optimiser the rate of the step that follows `progress`, each group its factor of it; return the rate."""
    lr = schedule.rate(progress.epoch, progress.step)
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("factor", 1.0)
    return lr
