"""AlignedReID++: local features of rows for a second triplet loss, on their shortest path (Luo et al., PR 2019).

The feature is that of `single`. Beside it stand 8 rows of 128 numbers: batch norm, ReLU, the maximum of a row, a linear
layer; `aside` of the recipe is the weight of their loss (`losses.shortest_path`). The authors' program tests rows of
the raw map instead, which its loss never saw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.model.heads.beside import Beside
from reidkit.model.heads.single import build_leaf

if TYPE_CHECKING:
    from reidkit import recipe

ROWS, DIM = 8, 128


class RowFeatures(nn.Module):
    """Map [B, C, h, w] to [B, rows * dim]: the maxima of so many stripes behind batch norm and ReLU, each embedded."""

    def __init__(self, channels: int, rows: int, dim: int) -> None:
        super().__init__()
        self.rows, self.norm, self.embedding = rows, nn.BatchNorm2d(channels), nn.Linear(channels, dim)

    def forward(self, map_bchw: Tensor) -> Tensor:
        """[B, C, h, w] to [B, rows * dim], row after row."""
        pooled_bcr = F.adaptive_max_pool2d(F.relu(self.norm(map_bchw)), (self.rows, 1)).squeeze(3)
        embedded_brd: Tensor = self.embedding(pooled_bcr.transpose(1, 2))
        return embedded_brd.flatten(1)


def build_head(recipe: recipe.Network, channels: int) -> Beside:
    """Make the head of a recipe for a map of so many channels, initialised from torch's random state."""
    rows, dim = recipe.stripes or ROWS, min(DIM, channels)
    leaf = build_leaf(recipe, channels, recipe.embedding)
    return Beside(leaf, RowFeatures(channels, rows, dim), [(f"row{i}", dim) for i in range(rows)])
