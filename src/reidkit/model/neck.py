"""What stands between the pooled feature and the ID loss (paper, section 3.5, Figure 5)."""

from __future__ import annotations

from torch import nn


def bnneck(channels: int) -> nn.BatchNorm1d:
    """BNNeck: batch norm whose shift stays at zero, so that the hyperplanes of the ID loss pass through the origin."""
    neck = nn.BatchNorm1d(channels)
    neck.bias.requires_grad_(False)
    return neck
