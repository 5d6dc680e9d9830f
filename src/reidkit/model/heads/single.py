"""The head of the plain baseline: pooling, an optional embedding, a neck."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from reidkit.model.contracts import Features
from reidkit.model.neck import Dropout, make_neck
from reidkit.model.pooling import MeanPooling, make_pooling

if TYPE_CHECKING:
    from reidkit import recipe
    from reidkit.model.contracts import Spans


class Single(nn.Module):
    """One branch: f_t is the pooled map behind the embedding, f_i what the neck makes of f_t.

    Args:
        channels: C, the channels of the map.
        pooling: Map [B, C, h, w] to [B, C]; the mean where none is given.
        embedding: A linear layer from C to D, or any module that says D as `out_features`; without it D is C.
        neck: [B, D] to [B, D], as `BNNeck(D)`; without it f_i is f_t.
    """

    def __init__(
        self,
        channels: int,
        *,
        pooling: nn.Module | None = None,
        embedding: nn.Module | None = None,
        neck: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.pooling = pooling or MeanPooling()
        self.embedding = embedding or nn.Identity()
        self.neck = neck or nn.Identity()
        self.channels: int = cast("Any", embedding).out_features if embedding else channels
        """D, the length of both features."""
        self.spans: Spans = {"": slice(0, self.channels)}

    def forward(self, map_bchw: Tensor) -> Features:
        """[B, C, h, w] to f_t and f_i, [B, D] each."""
        f_t = self.embedding(self.pooling(map_bchw))
        return Features(f_t, self.neck(f_t))


def build_leaf(
    recipe: recipe.Network, channels: int, dim: int = 0, pool: str = "", embedding: nn.Module | None = None
) -> Single:
    """Make one branch with pooling, neck and dropout as a recipe has them.

    Args:
        recipe: The network's section.
        channels: C, of the map.
        dim: D of a linear embedding; 0 is none.
        pool: The pooling where it is not the recipe's, by the name that recipes have.
        embedding: An embedding of another kind, in the place of the linear one.
    """
    if embedding is None and dim:
        embedding = nn.Linear(channels, dim)
    neck = make_neck(recipe.neck, dim or channels)
    if recipe.dropout:
        neck = nn.Sequential(neck, Dropout(recipe.dropout))
    return Single(channels, pooling=make_pooling(pool or recipe.pool), embedding=embedding, neck=neck)


def build_head(recipe: recipe.Network, channels: int) -> Single:
    """Make the head of a recipe for a map of so many channels, initialised from torch's random state."""
    return build_leaf(recipe, channels, recipe.embedding)
