"""The head of the plain baseline: pooling, an optional embedding, a neck."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from reidkit.model.contracts import Features
from reidkit.model.neck import BNNeck, L2Neck
from reidkit.model.pooling import MeanPooling

if TYPE_CHECKING:
    from reidkit import recipe
    from reidkit.model.contracts import Spans


class Single(nn.Module):
    """One branch: f_t is the pooled map behind the embedding, f_i what the neck makes of f_t.

    Args:
        channels: C, the channels of the map.
        pooling: Map [B, C, h, w] to [B, C]; the mean where none is given.
        embedding: A linear layer from C to D; without it D is C.
        neck: [B, D] to [B, D], as `BNNeck(D)`; without it f_i is f_t.
    """

    def __init__(
        self,
        channels: int,
        *,
        pooling: nn.Module | None = None,
        embedding: nn.Linear | None = None,
        neck: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.pooling = pooling or MeanPooling()
        self.embedding = embedding or nn.Identity()
        self.neck = neck or nn.Identity()
        self.channels = embedding.out_features if embedding else channels
        """D, the length of both features."""
        self.spans: Spans = {"": slice(0, self.channels)}

    def forward(self, map_bchw: Tensor) -> Features:
        """[B, C, h, w] to f_t and f_i, [B, D] each."""
        f_t = self.embedding(self.pooling(map_bchw))
        return Features(f_t, self.neck(f_t))


def build_head(recipe: recipe.Network, channels: int) -> Single:
    """Make the head of a recipe for a map of so many channels, initialised from torch's random state."""
    embedding = nn.Linear(channels, recipe.embedding) if recipe.embedding else None
    dim = recipe.embedding or channels
    necks: dict[str, nn.Module] = {"none": nn.Identity(), "bnneck": BNNeck(dim), "l2": L2Neck()}
    return Single(channels, embedding=embedding, neck=necks[recipe.neck])
