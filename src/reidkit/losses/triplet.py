"""The triplet loss (paper, equation 4), with the hardest examples of the batch or weighted means of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F

from reidkit.arguments import check_choice
from reidkit.errors import UsageError
from reidkit.losses.loss_inputs import check_factor, check_labels

if TYPE_CHECKING:
    from torch import Tensor

Form = Literal["hinge", "soft"]
Mining = Literal["hardest", "weighted", "weighted-as-published"]


def batch_hard_triplet(feat_bd: Tensor, label_b: Tensor, margin: float = 0.3, *, form: Form = "hinge") -> Tensor:
    """Return the mean over the anchors of [d_p - d_n + margin]+ (arXiv:1703.07737, equation 5).

    d_p is the Euclidean distance of the anchor to the farthest image of its id, d_n to the nearest image of another.

    Args:
        feat_bd: Features [B, D], f_t in the paper, not normalised.
        label_b: The id of each [B], any integers, with any number of images of each id. An anchor that is the only
            image of its id has d_p = 1e-6, the distance to itself.
        margin: In units of the distance.
        form: `soft` is ln(1 + exp(d_p - d_n)), which has no margin.
    """
    check_labels(feat_bd, label_b)
    dist_bb = euclidean(feat_bd, feat_bd)
    same_bb = label_b[:, None] == label_b
    hardest_pos_b = dist_bb.masked_fill(~same_bb, 0.0).amax(dim=1)
    hardest_neg_b = dist_bb.masked_fill(same_bb, float("inf")).amin(dim=1)
    return mean_loss(hardest_pos_b - hardest_neg_b, margin, form)


def weighted_triplet(feat_bd: Tensor, label_b: Tensor, margin: float = 0.3, *, form: Form = "soft") -> Tensor:
    """Return the triplet loss of weighted means, by anchor, of all distances (AWTL, arXiv:1803.10859, eqs. 6 to 8).

    d_p = sum softmax(d) d over the other images of the anchor's id, d_n = sum softmax(-d) d over images of other ids.
    Anchors that have none of either do not count; without any the loss is 0.

    Args:
        feat_bd: Features [B, D].
        label_b: The id of each [B].
        margin: In units of the distance.
        form: As of `batch_hard_triplet`.
    """
    check_labels(feat_bd, label_b)
    dist_bb = euclidean(feat_bd, feat_bd)
    positive_bb, negative_bb = same_and_other(label_b)
    counts_b = positive_bb.any(dim=1) & negative_bb.any(dim=1)
    pos_b = _softmax_mean(dist_bb, among(dist_bb, positive_bb, counts_b, -torch.inf))
    neg_b = _softmax_mean(dist_bb, among(-dist_bb, negative_bb, counts_b, -torch.inf))
    return mean_loss(pos_b - neg_b, margin, form, counts_b)


def weighted_triplet_as_published(
    feat_bd: Tensor, label_b: Tensor, margin: float = 0.3, *, form: Form = "soft"
) -> Tensor:
    """Return the weighted triplet loss as AGW's program computes it, which is not what its paper says.

    It subtracts a maximum taken over the masked entries too, which are 0, and adds 1e-6 below the fraction: weights of
    negatives at distance 20 add up to a tenth, and at 30 to nothing, so that d_n is 0 where it should be large. It also
    counts the anchor as a positive of itself, with weight exp(0). For comparison with published scores alone.

    Args:
        feat_bd: Features [B, D].
        label_b: The id of each [B].
        margin: In units of the distance.
        form: As of `batch_hard_triplet`.
    """
    check_labels(feat_bd, label_b)
    dist_bb = euclidean(feat_bd, feat_bd)
    same_bb = (label_b[:, None] == label_b).to(dist_bb.dtype)
    pos_b = _published_mean(dist_bb * same_bb, dist_bb, same_bb)
    neg_b = _published_mean(dist_bb * (1 - same_bb), -dist_bb, 1 - same_bb)
    return mean_loss(pos_b - neg_b, margin, form)


def triplet_loss(
    feat_bd: Tensor,
    label_b: Tensor,
    margin: float = 0.3,
    form: Form = "hinge",
    mining: Mining = "hardest",
    unit: bool = False,
) -> Tensor:
    """Return one of the three losses of this module by its name.

    Args:
        feat_bd: Features [B, D].
        label_b: The id of each [B].
        margin: In units of the Euclidean distance; `soft` has none.
        form: `hinge` or `soft`, as of `batch_hard_triplet`.
        mining: `hardest`, `weighted` or `weighted-as-published`: which distances an anchor has.
        unit: Bring features to length 1 before.

    Raises:
        UsageError: an unknown word.
    """
    losses = {
        "hardest": batch_hard_triplet,
        "weighted": weighted_triplet,
        "weighted-as-published": weighted_triplet_as_published,
    }
    loss = losses[check_choice(mining, Mining, "mining")]
    return loss(F.normalize(feat_bd, dim=1) if unit else feat_bd, label_b, margin, form=form)


def euclidean(feat_ad: Tensor, feat_bd: Tensor) -> Tensor:
    """Return the Euclidean distances [A, B] of features [A, D] and [B, D]; none is below 1e-6.

    |a - b|^2 = |a|^2 + |b|^2 - 2ab. Rounding can make it a little negative, or zero, where the root has no gradient:
    held at 1e-12, the distance of a feature to itself is 1e-6 and its gradient finite.
    """
    square_ab = feat_ad.square().sum(1, keepdim=True) + feat_bd.square().sum(1) - 2 * feat_ad @ feat_bd.T
    return square_ab.clamp_min(1e-12).sqrt()


def same_and_other(label_b: Tensor) -> tuple[Tensor, Tensor]:
    """Return which pairs [B, B] are of two images of one id, none with itself, and which are of two ids."""
    same_bb = label_b[:, None] == label_b
    itself_bb = torch.eye(len(label_b), dtype=torch.bool, device=label_b.device)
    return same_bb & ~itself_bb, ~same_bb


def mean_loss(difference_b: Tensor, margin: float, form: Form, counts_b: Tensor | None = None) -> Tensor:
    """Return the mean over anchors of what d_p - d_n [B] costs; of those alone that count if that is given."""
    soft = check_choice(form, Form, "form") == "soft"
    if isinstance(margin, str) and margin == "soft":  # as others write it
        raise UsageError("margin must be a number, not soft: pass form='soft', which has no margin", argument="margin")
    check_factor(margin, "margin")
    cost_b = F.softplus(difference_b) if soft else F.relu(difference_b + margin)
    return cost_b.mean() if counts_b is None else mean_of(cost_b, counts_b)


def among(value_bb: Tensor, mask_bb: Tensor, counts_b: Tensor, other: float) -> Tensor:
    """Return each row's values under the mask, and `other`, an infinity, elsewhere; rows that do not count stay.

    A row whose mask is empty would be infinite throughout, and its gradient NaN, which `mean_of` could not take away.
    """
    return value_bb.masked_fill(~mask_bb & counts_b[:, None], other)


def mean_of(cost_b: Tensor, counts_b: Tensor) -> Tensor:
    """Return the mean of what the anchors cost [B] that count, bool [B]; 0 where none does.

    The others are masked and not left out: choosing rows would make the host wait for the device, to learn how many
    there are.
    """
    return torch.where(counts_b, cost_b, 0.0).sum() / counts_b.sum().clamp_min(1)


def _softmax_mean(dist_bb: Tensor, score_bb: Tensor) -> Tensor:
    """Return the mean of each row's distances, weighted by the softmax of its scores."""
    return (score_bb.softmax(dim=1) * dist_bb).sum(dim=1)


def _published_mean(masked_bb: Tensor, score_bb: Tensor, mask_bb: Tensor) -> Tensor:
    scores_bb = score_bb * mask_bb
    power_bb = (score_bb - scores_bb.amax(dim=1, keepdim=True)).exp() * mask_bb
    return (power_bb / (power_bb.sum(dim=1, keepdim=True) + 1e-6) * masked_bb).sum(dim=1)
