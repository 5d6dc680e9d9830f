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
        # Sharing eps among the others is sharing eps N/(N-1) among all: both leave eps/(N-1) to each other one.
        self.smoothing = recipe.smoothing * (people / max(people - 1, 1) if recipe.spread == "others" else 1.0)
        # With a bias this is the plain baseline's classifier, which keeps torch's own initialisation.
        self.classifier = nn.Linear(channels, people, bias=bias)
        if not bias and recipe.init == "normal":
            nn.init.normal_(self.classifier.weight, std=recipe.std)
        elif not bias:
            nn.init.kaiming_normal_(self.classifier.weight, mode="fan_out")

    def forward(self, feat_bd: Tensor, label_b: Tensor) -> Tensor:
        """f_i [B, D] and the number of each person [B], 0 <= label < people."""
        return F.cross_entropy(self.classifier(feat_bd), label_b, label_smoothing=self.smoothing)
