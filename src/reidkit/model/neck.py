"""Necks: from f_t, the feature of the triplet loss, to f_i, that of the ID loss (paper, section 3.5, Figure 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import nn

from reidkit.arguments import check_whole
from reidkit.model.chance import Chance

if TYPE_CHECKING:
    from torch import Tensor


class BNNeck(nn.BatchNorm1d):
    """Batch norm whose shift stays at zero, so that the hyperplanes of the ID loss pass through the origin."""

    def __init__(self, channels: int) -> None:
        super().__init__(check_whole(channels, "channels", least=1))
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


class BNReLUNeck(nn.Sequential):
    """Batch norm with a learned shift, then ReLU, as behind torchreid's 512-d embedding: f_i is nowhere below 0."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.BatchNorm1d(check_whole(channels, "channels", least=1)), nn.ReLU())


class Dropout(Chance):
    """Zero each number of f_i with probability p in training, and divide the rest by 1 - p: the ID loss alone sees it.

    Drawn for each image of the batch from the numbers of the step (see `model.chance`).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, feat_bd: Tensor) -> Tensor:
        """[B, D] to [B, D]; the same in evaluation mode."""
        return self.drop(feat_bd, self.probability, feat_bd.shape[1])


def make_neck(name: str, channels: int) -> nn.Module:
    """Make the neck of a name that recipes have (`network.neck`) for features of so many channels."""
    if name == "bnneck":
        return BNNeck(channels)
    if name == "bn-relu":
        return BNReLUNeck(channels)
    return L2Neck() if name == "l2" else nn.Identity()
