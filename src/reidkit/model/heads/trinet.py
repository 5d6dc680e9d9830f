"""TriNet's embedding: 1,024 numbers with batch norm and ReLU, then 128 (Hermans et al., arXiv:1703.07737)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from reidkit.model.heads.single import Single, build_leaf

if TYPE_CHECKING:
    from reidkit import recipe

HIDDEN, DIM = 1024, 128


class TwoLayers(nn.Sequential):
    """A linear layer with batch norm and ReLU, and a second one whose rows start orthogonal."""

    def __init__(self, channels: int, hidden: int, out_features: int) -> None:
        last = nn.Linear(hidden, out_features)
        if not last.weight.is_meta:
            nn.init.orthogonal_(last.weight)
            nn.init.zeros_(last.bias)
        super().__init__(nn.Linear(channels, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), last)
        self.out_features = out_features


def build_head(recipe: recipe.Network, channels: int) -> Single:
    """Make the head of a recipe for a map of so many channels, initialised from torch's random state.

    With `network.embedding` n the first layer has 8n numbers.
    """
    dim = recipe.embedding or DIM
    hidden = 8 * recipe.embedding or HIDDEN
    return build_leaf(recipe, channels, dim, embedding=TwoLayers(channels, hidden, dim))
