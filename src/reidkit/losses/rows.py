"""The rows of a large classifier, of which a step moves those that it used, and touches no other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.999)
EPSILON = 1e-8
"""torch's own for Adam."""

CACHED = 1 << 18
"""Numbers that a processor steps at once, so that what it has read is at hand until it is done with."""


class Rows(nn.Module):
    """A matrix [N, D] that takes steps of Adam by itself, as far as it was used: the lazy, or sparse, Adam.

    A dense Adam reads and writes weights, gradient and both moments of all N rows in every step; this one those of the
    rows that were taken. What follows from it: a row that is not taken is not moved, neither by what its moments
    remember nor by weight decay; its moments wait. Each row counts its own steps, which is what the correction of the
    moments' bias needs. With all rows taken in every step it is Adam with coupled weight decay.
    """

    weight: Tensor
    mean: Tensor
    square: Tensor
    visits: Tensor

    def __init__(self, weight: Tensor, weight_decay: float) -> None:
        super().__init__()
        self.weight_decay = weight_decay
        self.register_buffer("weight", weight)
        self.register_buffer("mean", torch.zeros_like(weight))
        self.register_buffer("square", torch.zeros_like(weight))
        self.register_buffer("visits", torch.zeros(len(weight), dtype=torch.int64))
        self._taken: tuple[Tensor, Tensor] | None = None

    def take(self, index_s: Tensor) -> Tensor:
        """A copy [S, D] of the rows with these numbers [S], none twice, whose gradient `step` will use."""
        rows_sd = self.weight[index_s].requires_grad_()
        self._taken = index_s, rows_sd
        return rows_sd

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move the rows that were taken last by their gradient; once for each `take`, and not without a gradient."""
        if self._taken is None:
            return
        (index_s, rows_sd), self._taken = self._taken, None
        if rows_sd.grad is None:
            return
        self.visits[index_s] += 1
        width = rows_sd.shape[1]
        size = len(index_s) if rows_sd.device.type == "cuda" else max(CACHED // width, 1)
        parts = zip(index_s.split(size), rows_sd.detach().split(size), rows_sd.grad.split(size), strict=True)
        for index, rows, grad in parts:
            self._step(index, rows, grad, lr)

    def _step(self, index_s: Tensor, rows_sd: Tensor, grad_sd: Tensor, lr: float) -> None:
        """Adam (Kingma and Ba, ICLR 2015, algorithm 1), t being a row's own count."""
        first, second = BETAS
        visits_s = self.visits[index_s].double()[:, None]  # 1 - 0.999**1 has three digits left in single precision
        mean_scale_s, square_scale_s = ((1 - beta**visits_s).to(rows_sd.dtype) for beta in BETAS)
        grad_sd.add_(rows_sd, alpha=self.weight_decay)
        mean_sd = self.mean[index_s].lerp_(grad_sd, 1 - first)
        square_sd = self.square[index_s].mul_(second).addcmul_(grad_sd, grad_sd, value=1 - second)
        self.mean.index_copy_(0, index_s, mean_sd)
        self.square.index_copy_(0, index_s, square_sd)
        root_sd = square_sd.sqrt_().div_(square_scale_s.sqrt_()).add_(EPSILON)
        self.weight.index_copy_(0, index_s, rows_sd.addcdiv_(mean_sd.div_(mean_scale_s), root_sd, value=-lr))
