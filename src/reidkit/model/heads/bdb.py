"""BDB (BFE): beside the whole map one with a block of rows dropped for the whole batch (Dai et al., arXiv:1811.07130).

The whole: mean pooling and 512 numbers. The dropped one: one more bottleneck, a third of the rows zeroed in training,
max pooling and 1,024 numbers. Both have an ID and a triplet loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from reidkit.model.backbones.resnet import Bottleneck, Kind
from reidkit.model.blocks import initialise_convolutions
from reidkit.model.heads.several import Several
from reidkit.model.heads.single import build_leaf
from reidkit.model.views import DropRows

if TYPE_CHECKING:
    from reidkit import recipe

DIM, SHARE = 512, 0.33


def build_head(recipe: recipe.Network, channels: int) -> Several:
    """Make the head of a recipe for a map of so many channels, initialised from torch's random state.

    With `network.embedding` n the whole has n numbers and the dropped map 2n.
    """
    dim = recipe.embedding or DIM
    seen = channels // 4 * 4  # what the bottleneck gives: narrow networks lose up to three channels
    view = nn.Sequential(Bottleneck(channels, channels // 4, 1, "3x3", Kind((1, 1, 1, 1))), DropRows(SHARE))
    initialise_convolutions(view)
    return Several(
        {
            "whole": (nn.Identity(), build_leaf(recipe, channels, dim, "mean")),
            "dropped": (view, build_leaf(recipe, seen, 2 * dim, "max")),
        },
        ranked=("whole", "dropped"),
        unit=recipe.unit,
    )
