"""Distances between features. The Euclidean one is written here and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def euclidean(feat_md: Tensor, feat_nd: Tensor) -> Tensor:
    """Euclidean distance (not squared) of every row of `feat_md` to every row of `feat_nd`: [M, N].

    Rounding can make the expanded square a little negative or zero, where the root has no gradient; it is held at
    1e-12, so that the distance of a feature to itself is 1e-6 and its gradient is finite.
    """
    square_mn = feat_md.square().sum(1, keepdim=True) + feat_nd.square().sum(1) - 2 * feat_md @ feat_nd.T
    return square_mn.clamp_min(1e-12).sqrt()
