"""HA-CNN's two features (Li et al., CVPR 2018): of the map, and of its four windows side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from reidkit.model.backbones.hacnn import REGIONS
from reidkit.model.heads.several import Several
from reidkit.model.heads.single import build_leaf

if TYPE_CHECKING:
    from reidkit import recipe

DIM = 512


class Places(nn.Module):
    """Some of the places of a map of one row, side by side."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__()
        self.first, self.last = first, last

    def forward(self, map_bchw: Tensor) -> Tensor:
        """[B, C, 1, w] to [B, C * (last - first), 1, 1]."""
        return map_bchw[:, :, 0, self.first : self.last].transpose(1, 2).flatten(1)[:, :, None, None]


def build_head(recipe: recipe.Network, channels: int) -> Several:
    """Make the head of a recipe for the map of `backbones.hacnn`, initialised from torch's random state."""
    dim = recipe.embedding or DIM
    return Several(
        {
            "whole": (Places(0, 1), build_leaf(recipe, channels, dim)),
            "regions": (Places(1, 1 + REGIONS), build_leaf(recipe, REGIONS * channels, dim)),
        },
        ranked=("whole", "regions"),
        unit=recipe.unit,
    )
