"""A softmax whose classes are shared out over processes: each has the logits of its own, and none has all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from reidkit.distributed import Group

COLUMNS = 64
"""Columns of a matrix that are brought together at once: every process receives them, and one keeps them."""


def for_all(feat_bd: Tensor, group: Group) -> Tensor:
    """The same features [B, D], of which every process makes logits of its own: their gradients are summed."""
    return feat_bd if group.size == 1 else _ForAll.apply(feat_bd, group)


def cross_entropy(logits_bs: Tensor, place_b: Tensor, total: int, smoothing: float, group: Group) -> Tensor:
    """Cross entropy with label smoothing over the classes of all processes, the mean over the batch, in each of them.

    L = log sum_k exp(z_k) - (1 - eps) z_y - eps/S sum_k z_k, with its sums and its maximum taken over the processes.

    Args:
        logits_bs: z of the classes that lie here [B, s], s of S, or none.
        place_b: Where among them the true class of each image lies [B]; below 0 or above s - 1 where it lies elsewhere.
        total: S, the number of classes in all.
        smoothing: eps, shared among all S.
        group: The processes.
    """
    loss: Tensor = _CrossEntropy.apply(logits_bs, place_b, total, smoothing, group)
    return loss


def collected(part: Tensor, group: Group) -> Tensor:
    """The parts [n, ...] of all processes behind each other [N, ...], in the first process and in the host's memory.

    The others get their own part back. Every process has to call this.
    """
    mine = part.detach().cpu()
    blocks = []
    for block in mine.reshape(len(mine), -1).split(COLUMNS, dim=1):
        found = group.gather_rows(block)
        blocks += [found] if group.rank == 0 else []
    return torch.cat(blocks, dim=1).reshape(-1, *mine.shape[1:]) if blocks else mine


class _ForAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, feat_bd: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return feat_bd.view_as(feat_bd)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        total = grads[0].clone()
        ctx.group.add_in_place([total])
        return total, None


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_bs: Tensor, place_b: Tensor, total: int, smoothing: float, group: Group) -> Tensor:
        count = logits_bs.shape[1]
        lowest = logits_bs.new_full((len(logits_bs), 1), -torch.inf)
        largest_1b = torch.cat((logits_bs, lowest), dim=1).amax(dim=1)[None]
        largest_b1 = group.gather(largest_1b).amax(dim=0)[:, None]
        powers_bs = (logits_bs - largest_b1).exp_()
        here_b = (place_b >= 0) & (place_b < count)
        true_b = torch.where(here_b, torch.cat((logits_bs, lowest), 1).gather(1, _column(place_b, count))[:, 0], 0.0)
        sums_3b = torch.stack((powers_bs.sum(1), true_b, logits_bs.sum(1)))
        group.add_in_place([sums_3b])
        ctx.save_for_backward(powers_bs.div_(sums_3b[0][:, None]), place_b)
        ctx.total, ctx.smoothing = total, smoothing
        log_sum_b = largest_b1[:, 0] + sums_3b[0].log()
        return (log_sum_b - (1 - smoothing) * sums_3b[1] - smoothing / total * sums_3b[2]).mean()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        """What the softmax gives less what label smoothing wants: p - q."""
        share_bs, place_b = ctx.saved_tensors
        count = share_bs.shape[1]
        target_bs = torch.full((len(share_bs), count + 1), ctx.smoothing / ctx.total).to(share_bs)
        column_b1 = _column(place_b, count)
        target_bs.scatter_add_(1, column_b1, torch.full_like(target_bs[:, :1], 1 - ctx.smoothing))
        return (share_bs - target_bs[:, :count]) * (grads[0] / len(share_bs)), None, None, None, None


def _column(place_b: Tensor, count: int) -> Tensor:
    """The column [B, 1] of the true class, or one behind the last where it lies elsewhere."""
    here_b = (place_b >= 0) & (place_b < count)
    return torch.where(here_b, place_b, count)[:, None]
