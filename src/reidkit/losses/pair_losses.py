"""Losses of pairs beside the triplet loss: circle loss, centroid triplets, supervised contrastive loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from reidkit.losses.loss_inputs import check_factor, check_labels
from reidkit.losses.triplet import among, euclidean, mean_of, same_and_other

if TYPE_CHECKING:
    from torch import Tensor


def circle_loss(feat_bd: Tensor, label_b: Tensor, margin: float = 0.25, scale: float = 128.0) -> Tensor:
    """Return the circle loss of pairs (Sun et al., arXiv:2002.10857, equation 6), the mean over anchors.

    ln(1 + sum_n exp(g a_n (s_n - m)) sum_p exp(-g a_p (s_p - 1 + m))) with cosines s of the anchor to its positives p,
    without itself, and negatives n; a_p = [1 + m - s_p]+ and a_n = [s_n + m]+ have no gradient. Anchors without
    a positive or a negative do not count; without any anchor the loss is 0.

    Args:
        feat_bd: Features [B, D], of any length.
        label_b: The id of each [B].
        margin: m.
        scale: g.
    """
    check_factor(margin, "margin")
    check_factor(scale, "scale")
    cos_bb, positive_bb, negative_bb = _cosines(feat_bd, label_b)
    counts_b = positive_bb.any(dim=1) & negative_bb.any(dim=1)
    pos_bb = -scale * (1 + margin - cos_bb).clamp_min(0).detach() * (cos_bb - 1 + margin)
    neg_bb = scale * (cos_bb + margin).clamp_min(0).detach() * (cos_bb - margin)
    pos_b = among(pos_bb, positive_bb, counts_b, -torch.inf).logsumexp(dim=1)
    neg_b = among(neg_bb, negative_bb, counts_b, -torch.inf).logsumexp(dim=1)
    return mean_of(F.softplus(pos_b + neg_b), counts_b)


def supervised_contrastive(feat_bd: Tensor, label_b: Tensor, scale: float = 10.0) -> Tensor:
    """Return the supervised contrastive loss (Khosla et al., arXiv:2004.11362, equation 2), the mean over anchors.

    For each anchor the mean over its positives of -ln(exp(s_p/t) / sum over all others of exp(s/t)), with cosines s and
    `scale` 1/t. Anchors without a positive do not count; without any anchor the loss is 0.

    Args:
        feat_bd: Features [B, D], of any length.
        label_b: The id of each [B].
        scale: 1/t, the inverse of the temperature.
    """
    check_factor(scale, "scale")
    cos_bb, positive_bb, negative_bb = _cosines(feat_bd, label_b)
    counts_b = positive_bb.any(dim=1)
    score_bb = scale * cos_bb
    all_b = among(score_bb, positive_bb | negative_bb, counts_b, -torch.inf).logsumexp(dim=1)
    mean_b = (score_bb * positive_bb).sum(dim=1) / positive_bb.sum(dim=1).clamp_min(1)
    return mean_of(all_b - mean_b, counts_b)


def centroid_triplet(feat_bd: Tensor, label_b: Tensor, margin: float = 0.5) -> Tensor:
    """Return the centroid triplet loss (Wieczorek et al., arXiv:2104.13643, equation 4), the mean over images.

    [d(f, c_p) - d(f, c_n) + margin]+ with Euclidean distances of an image f, its id's centroid without f, and the
    nearest centroid of another id, there without the image that comes in its id at the place that f has in its own.

    Args:
        feat_bd: Features [B, D], K of each id; of ids with fewer those places count that they have.
        label_b: The id of each [B]; an id with one image has no centroid and does not count.
        margin: In units of the distance.
    """
    check_factor(margin, "margin")
    center_bd, place_b, counts_b = _centroids(feat_bd, label_b)
    dist_bb = euclidean(feat_bd, center_bd)
    negative_bb = (label_b[:, None] != label_b) & (place_b[:, None] == place_b) & counts_b
    nearest_b = dist_bb.masked_fill(~negative_bb, torch.inf).amin(dim=1)
    return mean_of(F.relu(dist_bb.diagonal() - nearest_b + margin), counts_b)


def centroid_triplet_as_published(feat_bd: Tensor, label_b: Tensor, margin: float = 0.5) -> Tensor:
    """Return the centroid triplet loss as the authors' program computes it, for comparison with its scores.

    For each place images and centroids are mined together: an anchor may be a centroid, and a negative an image.

    Args:
        feat_bd: Features [B, D].
        label_b: The id of each [B].
        margin: In units of the distance.
    """
    check_factor(margin, "margin")
    center_bd, place_b, counts_b = _centroids(feat_bd, label_b)
    both_ed = torch.cat((feat_bd, center_bd))
    label_e, place_e, counts_e = (of_b.repeat(2) for of_b in (label_b, place_b, counts_b))
    dist_ee = euclidean(both_ed, both_ed)
    same_ee = label_e[:, None] == label_e
    here_ee = (place_e[:, None] == place_e) & counts_e
    farthest_e = dist_ee.masked_fill(~(same_ee & here_ee), 0.0).amax(dim=1)
    nearest_e = dist_ee.masked_fill(same_ee | ~here_ee, torch.inf).amin(dim=1)
    return mean_of(F.relu(farthest_e - nearest_e + margin), counts_e)


def _cosines(feat_bd: Tensor, label_b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines [B, B], which of them are of two images of one id, and which of two ids."""
    check_labels(feat_bd, label_b)
    unit_bd = F.normalize(feat_bd, dim=1)
    return unit_bd @ unit_bd.T, *same_and_other(label_b)


def _centroids(feat_bd: Tensor, label_b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each image the centroid of the others of its id, its place in its id, and whether there are others."""
    check_labels(feat_bd, label_b)
    same_bb = label_b[:, None] == label_b
    count_b = same_bb.sum(dim=1)
    place_b = same_bb.tril(-1).sum(dim=1)
    sum_bd = same_bb.to(feat_bd.dtype) @ feat_bd
    center_bd = (sum_bd - feat_bd) / (count_b - 1).clamp_min(1)[:, None]
    return center_bd, place_b, count_b > 1
