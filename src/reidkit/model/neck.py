"""Necks: from f_t, the feature of the triplet loss, to f_i, that of the ID loss (paper, section 3.5, Figure 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class BNNeck(nn.BatchNorm1d):
    """Batch norm whose shift stays at zero, so that the hyperplanes of the ID loss pass through the origin."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.bias.requires_grad_(False)


class L2Neck(nn.Module):
    """The direction of the feature, at one length for all: f_i = sqrt(D) f_t / |f_t| (the outlook, section 6).

    sqrt(D) is the length that BNNeck gives its features in the mean, as each of their D dimensions has variance 1: the
    logits of the ID loss start equally large behind both necks, and only the kind of normalisation differs.
    """

    def forward(self, feat_bd: Tensor) -> Tensor:
        """f_t [B, D] to f_i [B, D]; a feature of length 0 stays at 0."""
        direction_bd: Tensor = F.normalize(feat_bd.float(), dim=1)
        return direction_bd * float(feat_bd.shape[1] ** 0.5)
