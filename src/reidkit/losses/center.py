"""The centre loss (paper, equation 5). It steps its own centres: no second optimiser in the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from reidkit.recipe import Center


class CenterLoss(nn.Module):
    """The squared distance of each feature to the centre of its person, which follows the features.

    Two readings. `code`, as the authors' program: the mean over the batch, and c <- c - lr * 2/B * sum(c - f) over the
    images of the person, which is plain gradient descent on that mean with its weight taken out. `paper`: half the sum
    over the batch, and the update of the centre loss's own paper (Wen et al., ECCV 2016, equation 4),
    c <- c - lr * sum(c - f) / (1 + n), because gradient descent on a sum would overshoot: with four images and lr 0.5
    it mirrors the centre at the features and never settles.
    """

    centers: Tensor

    def __init__(self, channels: int, people: int, recipe: Center) -> None:
        super().__init__()
        self.lr = recipe.lr
        self.reading = recipe.reading
        self.register_buffer("centers", torch.randn(people, channels))
        self._last: tuple[Tensor, Tensor] | None = None

    def forward(self, feat_bd: Tensor, label_b: Tensor) -> Tensor:
        """f_t [B, D] and the number of each person [B]; the loss without its weight."""
        self._last = (feat_bd.detach(), label_b)
        square_b = (feat_bd - self.centers[label_b]).square().sum(dim=1)
        return square_b.mean() if self.reading == "code" else 0.5 * square_b.sum()

    @torch.no_grad()
    def step(self) -> None:
        """Move the centres towards the features of the last `forward`; once for each."""
        if self._last is None:
            return
        (feat_bd, label_b), self._last = self._last, None
        pull_bd = self.centers[label_b] - feat_bd
        if self.reading == "code":
            pull_bd *= 2 / len(feat_bd)
        else:
            pull_bd /= 1 + (label_b[:, None] == label_b).sum(dim=1, keepdim=True)
        self.centers.index_add_(0, label_b, pull_bd, alpha=-self.lr)
