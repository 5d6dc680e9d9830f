"""Losses of what a head has beside its features: AlignedReID's shortest path and SCPNet's stripes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from reidkit.losses.loss_inputs import check_factor, check_labels
from reidkit.losses.triplet import euclidean

if TYPE_CHECKING:
    from torch import Tensor


def shortest_path(first_prd: Tensor, second_psd: Tensor) -> Tensor:
    """Return the local distances [P] of P pairs of sequences of rows [P, R, D] and [P, S, D] (arXiv:1711.08184, eq. 2).

    Rows get length 1. The cell (i, j) costs tanh(d/2) of the Euclidean distance d of row i and row j, and the shortest
    path goes from (0, 0) to (R-1, S-1) by steps down or to the right: R + S - 1 cells. Where rows differ among
    themselves, the distance of a sequence to itself is not 0.
    """
    first_prd, second_psd = F.normalize(first_prd, dim=2), F.normalize(second_psd, dim=2)
    square_prs = (first_prd[:, :, None] - second_psd[:, None]).square().sum(dim=3)
    cell_prs = (square_prs.clamp_min(1e-12).sqrt() / 2).tanh()
    rows, columns = cell_prs.shape[1:]
    # The shortest way to each cell of one row, from that of the row above.
    above: list[Tensor] = []
    for i in range(rows):
        row: list[Tensor] = []
        for j in range(columns):
            ways = ([above[j]] if i else []) + ([row[-1]] if j else [])
            shortest = torch.minimum(ways[0], ways[-1]) if ways else torch.zeros_like(cell_prs[:, 0, 0])
            row.append(cell_prs[:, i, j] + shortest)
        above = row
    return above[-1]


def aligned_triplet(f_t: Tensor, aside: Tensor, label_b: Tensor, rows: int, margin: float = 0.3) -> Tensor:
    """Return the triplet loss of local distances, of the pairs that are the hardest by the global feature.

    The mean over the anchors of [l_p - l_n + margin]+, where l are shortest paths to the farthest image of the anchor's
    id and to the nearest one of another by f_t (AlignedReID++, PR 2019, section 3.3).

    Args:
        f_t: Global features [B, D].
        aside: Rows side by side, [B, rows * d].
        label_b: The id of each [B]; images of two ids at least, or the loss is 0.
        rows: The number of rows.
        margin: In units of the local distance.
    """
    check_labels(f_t, label_b)
    check_factor(margin, "margin")
    same_bb = label_b[:, None] == label_b
    with torch.no_grad():
        dist_bb = euclidean(f_t, f_t)
        positive_b = dist_bb.masked_fill(~same_bb, -1.0).argmax(dim=1)
        negative_b = dist_bb.masked_fill(same_bb, torch.inf).argmin(dim=1)
    row_brd = aside.unflatten(1, (rows, -1))
    local_pos_b = shortest_path(row_brd, row_brd[positive_b])
    local_neg_b = shortest_path(row_brd, row_brd[negative_b])
    # Without a second id the "nearest" is any image; whether there is one is asked on the device, for nobody to wait.
    return torch.where(same_bb.all(), 0.0, F.relu(local_pos_b - local_neg_b + margin).mean())


def stripe_error(f_t: Tensor, aside: Tensor, parts: int) -> Tensor:
    """Return the sum over the parts of the mean squared error of f_t's part and the stripe's (arXiv:1810.06996, eq. 3).

    Args:
        f_t: Features of `parts` branches of C numbers, [B, parts * C].
        aside: Features of as many stripes, [B, parts * C].
        parts: Their number.
    """
    return parts * F.mse_loss(f_t, aside)
