"""The triplet loss (paper, equation 4), with the hardest examples of the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F

from reidkit.distance import euclidean

if TYPE_CHECKING:
    from torch import Tensor


def batch_hard_triplet(feat_bd: Tensor, pid_b: Tensor, margin: float) -> Tensor:
    """Hardest positive against hardest negative, per anchor, then the mean (arXiv:1703.07737, equation 5).

    `feat_bd` [B, D] are the features before the neck, not normalised; `pid_b` [B] says who is who, with any number of
    images of each. An anchor without a second image has its own distance, next to 0, as its hardest positive.
    """
    dist_bb = euclidean(feat_bd, feat_bd)
    same_bb = pid_b[:, None] == pid_b
    hardest_pos_b = dist_bb.masked_fill(~same_bb, 0.0).amax(dim=1)
    hardest_neg_b = dist_bb.masked_fill(same_bb, float("inf")).amin(dim=1)
    return F.relu(hardest_pos_b - hardest_neg_b + margin).mean()
