"""The triplet loss (paper, equation 4), with the hardest examples of the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F

if TYPE_CHECKING:
    from torch import Tensor


def batch_hard_triplet(feat_bd: Tensor, label_b: Tensor, margin: float = 0.3) -> Tensor:
    """Return the mean over the anchors of [d_p - d_n + margin]+ (arXiv:1703.07737, equation 5).

    d_p is the Euclidean distance of the anchor to the farthest image of its id, d_n to the nearest image of another.

    Args:
        feat_bd: Features [B, D], f_t in the paper, not normalised.
        label_b: The id of each [B], any integers, with any number of images of each id. An anchor that is the only
            image of its id has d_p = 1e-6, the distance to itself.
        margin: In units of the distance.
    """
    # |a - b|^2 = |a|^2 + |b|^2 - 2ab. Rounding can make it a little negative, or zero, where the root has no gradient:
    # held at 1e-12, the distance of a feature to itself is 1e-6 and its gradient finite.
    square_bb = feat_bd.square().sum(1, keepdim=True) + feat_bd.square().sum(1) - 2 * feat_bd @ feat_bd.T
    dist_bb = square_bb.clamp_min(1e-12).sqrt()
    same_bb = label_b[:, None] == label_b
    hardest_pos_b = dist_bb.masked_fill(~same_bb, 0.0).amax(dim=1)
    hardest_neg_b = dist_bb.masked_fill(same_bb, float("inf")).amin(dim=1)
    return F.relu(hardest_pos_b - hardest_neg_b + margin).mean()
