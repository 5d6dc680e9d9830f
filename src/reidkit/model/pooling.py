"""Pooling: a feature map [B, C, h, w] to one number for each channel, [B, C]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class MeanPooling(nn.Module):
    """Global average pooling."""

    def forward(self, map_bchw: Tensor) -> Tensor:
        """[B, C, h, w] to [B, C]."""
        return map_bchw.mean(dim=(2, 3))
