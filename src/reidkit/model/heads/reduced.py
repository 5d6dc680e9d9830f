"""A head whose features are turned onto fewer axes, as `reduce` finds them: centring and PCA in one linear layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.model.contracts import Features
from reidkit.model.tensor_names import leave_out_of_names

if TYPE_CHECKING:
    from reidkit.model.contracts import Head, Spans


class Reduced(nn.Module):
    """W (f_i / |f_i|) + b of the feature f_i of another head; it stands on both sides, as there is no neck behind it.

    Args:
        head: The head whose f_i [B, D] is reduced.
        dim: The length of what is left of it.
    """

    def __init__(self, head: Head, dim: int) -> None:
        super().__init__()
        self.head = cast("nn.Module", head)
        self.reduction = nn.Linear(head.channels, dim)
        self.channels = dim
        """The length of both features."""
        self.spans: Spans = {"": slice(0, dim)}
        # The tensors of the head keep the names that they have without a reduction.
        leave_out_of_names(self, "head", beside=("reduction",))

    def forward(self, map_bchw: Tensor) -> Features:
        """[B, C, h, w] to one feature [B, dim], as f_t and as f_i."""
        f_i: Tensor = self.head(map_bchw)[1]
        reduced = self.reduction(F.normalize(f_i.float(), dim=1))
        return Features(reduced, reduced)
