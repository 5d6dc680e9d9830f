"""SCPNet: branches on the whole map are pulled to its stripes (Fan et al., arXiv:1810.06996), as its program has it.

Four branches of as many numbers as the map has channels, side by side (8,192 for a ResNet-50), each with ID and triplet
loss; beside them the means of four stripes, without gradient, that branch i follows by its mean squared error. The
paper has one vector of four groups of channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.model.heads.beside import Beside
from reidkit.model.heads.several import Several
from reidkit.model.heads.single import build_leaf

if TYPE_CHECKING:
    from reidkit import recipe
    from reidkit.model.contracts import Head

STRIPES = 4


class StripeMeans(nn.Module):
    """Map [B, C, h, w] to the means of its stripes, [B, stripes * C], without gradient."""

    def __init__(self, stripes: int) -> None:
        super().__init__()
        self.stripes = stripes

    def forward(self, map_bchw: Tensor) -> Tensor:
        """[B, C, h, w] to [B, stripes * C], stripe after stripe."""
        pooled_bcs = F.adaptive_avg_pool2d(map_bchw.detach(), (self.stripes, 1)).squeeze(3)
        return pooled_bcs.transpose(1, 2).flatten(1)


def build_head(recipe: recipe.Network, channels: int) -> Beside:
    """Make the head of a recipe for a map of so many channels, initialised from torch's random state."""
    count = recipe.stripes or STRIPES
    branches: dict[str, tuple[nn.Module, Head]] = {
        f"part{i}": (nn.Identity(), build_leaf(recipe, channels, channels)) for i in range(count)
    }
    head = Several(branches, ranked=tuple(branches), unit=recipe.unit)
    return Beside(head, StripeMeans(count), [(name, channels) for name in branches])
