"""What training minimises: the weighted terms of the paper's equation 6, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from reidkit.distributed import ALONE
from reidkit.losses.center import CenterLoss
from reidkit.losses.identity import IdentityLoss
from reidkit.losses.partial_fc import PartialFC
from reidkit.losses.triplet import batch_hard_triplet

if TYPE_CHECKING:
    from reidkit.distributed import Group
    from reidkit.recipe import Recipe


class Objective(nn.Module):
    """L = L_ID + L_triplet + beta * L_C. A term of weight 0 is neither computed nor logged."""

    def __init__(self, recipe: Recipe, channels: int, people: int, group: Group = ALONE) -> None:
        """`group` are processes that each have the features of the whole batch, and share out a sampled classifier."""
        super().__init__()
        self.recipe = recipe
        self.identity = _identity(recipe, channels, people, group) if recipe.identity.weight else None
        self.center = CenterLoss(channels, people, recipe.center) if recipe.center.weight else None

    def forward(self, metric_bd: Tensor, search_bd: Tensor, label_b: Tensor) -> dict[str, Tensor]:
        """The terms of the loss, each with its weight: f_t and f_i [B, D], labels [B]."""
        terms: dict[str, Tensor] = {}
        if self.identity is not None:
            terms["identity"] = self.recipe.identity.weight * self.identity(search_bd, label_b)
        if self.recipe.triplet.weight:
            margin = self.recipe.triplet.margin
            terms["triplet"] = self.recipe.triplet.weight * batch_hard_triplet(metric_bd, label_b, margin)
        if self.center is not None:
            terms["center"] = self.recipe.center.weight * self.center(metric_bd, label_b)
        return terms

    def step(self, lr: float) -> None:
        """What a term learns by itself, after the optimiser's step at the rate `lr`.

        The centres follow the features at a rate of their own; the rows of a sampled classifier move at this one.
        """
        if self.center is not None:
            self.center.step()
        if isinstance(self.identity, PartialFC):
            self.identity.step(lr)

    def collect(self) -> None:
        """Bring what is shared out over processes together in the first one: every process calls this before a save."""
        if isinstance(self.identity, PartialFC):
            self.identity.rows.collect()


def _identity(recipe: Recipe, channels: int, people: int, group: Group) -> IdentityLoss | PartialFC:
    bias = recipe.network.neck == "none"
    if recipe.identity.sampled:
        return PartialFC(channels, people, recipe.identity, recipe.optim, bias=bias, group=group)
    return IdentityLoss(channels, people, recipe.identity, bias=bias)
