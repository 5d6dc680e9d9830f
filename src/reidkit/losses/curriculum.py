"""The triplet loss by a curriculum: negatives that are easy at first, and the hardest in the end (Mancs, ECCV 2018).

Mancs draws a negative by a Gaussian over their order whose mean moves from easy to hard; its numbers are not published.
Here d_n is the quantile at that mean, without a draw, and the mean moves evenly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.arguments import check_number
from reidkit.errors import UsageError
from reidkit.losses.loss_inputs import check_labels
from reidkit.losses.triplet import among, batch_hard_triplet, euclidean, mean_loss

if TYPE_CHECKING:
    from reidkit.losses.triplet import Form


def quantile_triplet(
    feat_bd: Tensor, label_b: Tensor, share: float, margin: float = 0.3, *, form: Form = "hinge"
) -> Tensor:
    """Return `batch_hard_triplet` with another d_n: the quantile `share` of the distances to images of other ids.

    Between two of them it is interpolated. 0 is the nearest, so the hardest, and 1 the farthest; d_p is the farthest
    image of the anchor's id. An anchor without images of other ids does not count; without any the loss is 0.

    Args:
        feat_bd: Features [B, D].
        label_b: The id of each [B].
        share: From 0 to 1.
        margin: In units of the distance.
        form: As of `batch_hard_triplet`.

    Raises:
        UsageError: `share` is not from 0 to 1, or labels are not [B].
    """
    check_labels(feat_bd, label_b)
    if not 0 <= check_number(share, "share") <= 1:
        raise UsageError(f"a share of {share}: it must be from 0, the hardest negative, to 1", argument="share")
    dist_bb = euclidean(feat_bd, feat_bd)
    same_bb = label_b[:, None] == label_b
    count_b = (~same_bb).sum(dim=1)
    counts_b = count_b > 0
    pos_b = dist_bb.masked_fill(~same_bb, 0.0).amax(dim=1)
    # The negatives of a row come first, in rising order.
    rising_bb = among(dist_bb, ~same_bb, counts_b, torch.inf).sort(dim=1).values
    place_b = share * (count_b - 1).clamp_min(0)
    low_b, high_b = place_b.floor().long(), place_b.ceil().long()
    below_b, above_b = (rising_bb.gather(1, at_b[:, None])[:, 0] for at_b in (low_b, high_b))
    neg_b = below_b + (place_b - low_b) * (above_b - below_b)
    return mean_loss(pos_b - neg_b, margin, form, counts_b)


class CurriculumTriplet(nn.Module):
    """The triplet loss whose d_n moves from the easiest to the hardest negative over the first `epochs`.

    In epoch e, counted from 1, it is the quantile 1 - (e - 1) / `epochs`, and `batch_hard_triplet` from 0 on.

    Args:
        epochs: Over how many epochs, above 0.
        margin: In units of the distance.
        form: As of `batch_hard_triplet`.
        unit: Features of length 1.

    Raises:
        UsageError: `epochs` is not above 0.
    """

    def __init__(self, epochs: float, margin: float = 0.3, *, form: Form = "hinge", unit: bool = False) -> None:
        super().__init__()
        if not check_number(epochs, "epochs") > 0:
            raise UsageError(f"a curriculum of {epochs} epochs: it must have some", argument="epochs")
        self.epochs, self.margin, self.form, self.unit = epochs, margin, form, unit
        self.share = 1.0

    def start_epoch(self, epoch: int, *, fresh: bool) -> None:  # noqa: ARG002
        """Take the quantile of an epoch."""
        self.share = max(0.0, 1 - (epoch - 1) / self.epochs)

    def forward(self, feat_bd: Tensor, label_b: Tensor) -> Tensor:
        """Features [B, D] and labels [B] to one number."""
        features = F.normalize(feat_bd, dim=1) if self.unit else feat_bd
        if self.share == 0:
            return batch_hard_triplet(features, label_b, self.margin, form=self.form)
        return quantile_triplet(features, label_b, self.share, self.margin, form=self.form)
