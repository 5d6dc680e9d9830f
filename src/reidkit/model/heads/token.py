"""The class token of a vision transformer as the feature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from reidkit.model.heads.single import Single, build_leaf

if TYPE_CHECKING:
    from reidkit import recipe


class ClassToken(nn.Module):
    """The first token of a sequence that is a map of one row."""

    def forward(self, map_bchw: Tensor) -> Tensor:
        """[B, C, 1, 1 + patches] to [B, C]."""
        return map_bchw[:, :, 0, 0]


def build_head(recipe: recipe.Network, channels: int) -> Single:
    """Make the head of a recipe for tokens of so many channels, initialised from torch's random state."""
    leaf = build_leaf(recipe, channels, recipe.embedding)
    leaf.pooling = ClassToken()
    return leaf
