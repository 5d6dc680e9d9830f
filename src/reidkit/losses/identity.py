"""The ID loss (paper, section 3.3). The classifier lives here: the network knows nothing of training's people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from reidkit.recipe import Identity


class IdentityLoss(nn.Module):
    """Cross entropy with label smoothing over the people of the training set.

    Label smoothing, shared among `all`, is equation 3: the true class gets q_y = 1 - (N-1)/N * eps, every other one
    eps/N. Shared among the `others`, q_y = 1 - eps, and every other one gets eps/(N-1).
    """

    def __init__(self, channels: int, people: int, recipe: Identity, *, bias: bool) -> None:
        super().__init__()
        self.smoothing = smoothing(recipe, people)
        self.classifier = first_classifier(channels, people, recipe, bias=bias)

    def forward(self, feat_bd: Tensor, label_b: Tensor) -> Tensor:
        """f_i [B, D] and the number of each person [B], 0 <= label < people."""
        return F.cross_entropy(self.classifier(feat_bd), label_b, label_smoothing=self.smoothing)


def smoothing(recipe: Identity, people: int) -> float:
    """What torch's `label_smoothing` has to be, that shares its eps among all.

    Sharing eps among the others is sharing eps N/(N-1) among all: both leave eps/(N-1) to each other one.
    """
    return recipe.smoothing * (people / max(people - 1, 1) if recipe.spread == "others" else 1.0)


def first_classifier(channels: int, people: int, recipe: Identity, *, bias: bool) -> nn.Linear:
    """The classifier before the first step; with a bias, as the plain baseline has it, by torch's initialisation."""
    classifier = nn.Linear(channels, people, bias=bias)
    if not bias and recipe.init == "normal":
        nn.init.normal_(classifier.weight, std=recipe.std)
    elif not bias:
        nn.init.kaiming_normal_(classifier.weight, mode="fan_out")
    return classifier
