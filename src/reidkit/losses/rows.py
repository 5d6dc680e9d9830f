"""The rows of a large classifier, of which a step moves those that it used, and touches no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from reidkit.distributed import ALONE
from reidkit.losses.sharded import collected

if TYPE_CHECKING:
    from collections.abc import Callable

    from reidkit.distributed import Group

BETAS = (0.9, 0.999)
EPSILON = 1e-8
"""torch's own for Adam."""

CACHED = 1 << 18
"""Numbers that a processor steps at once, so that what it has read is at hand until it is done with."""

_STATE = ("weight", "mean", "square", "visits")


class Rows(nn.Module):
    """A matrix [N, D] that takes steps of Adam by itself, as far as it was used: the lazy, or sparse, Adam.

    A dense Adam reads and writes weights, gradient and both moments of all N rows in every step; this one those of the
    rows that were taken. What follows from it: a row that is not taken is not moved, neither by what its moments
    remember nor by weight decay; its moments wait. Each row counts its own steps, which is what the correction of the
    moments' bias needs. With all rows taken in every step it is Adam with coupled weight decay.

    Of a `group` of processes each holds its share of the rows, with their moments, and steps them. They are no buffers,
    because buffers are what all processes have alike. The state is that of one process, so that another number of them
    can go on with it; `collect` brings it together.
    """

    weight: Tensor
    """Those that lie here [n, D]."""
    mean: Tensor
    square: Tensor
    visits: Tensor

    def __init__(self, weight: Tensor, weight_decay: float, group: Group = ALONE) -> None:
        """All rows [N, D], of which a copy of the own share is kept."""
        super().__init__()
        self.weight_decay, self.group, self.total = weight_decay, group, len(weight)
        self._here = group.share(self.total)
        self.weight = weight if group.size == 1 else weight[self._here].clone()
        self.mean, self.square = torch.zeros_like(self.weight), torch.zeros_like(self.weight)
        self.visits = torch.zeros(len(self.weight), dtype=torch.int64)
        self._taken: tuple[Tensor, Tensor] | None = None
        self._whole: dict[str, Tensor] = {}

    def take(self, index_s: Tensor) -> tuple[Tensor, int]:
        """A copy of the rows with these numbers [S], none twice and rising, whose gradient `step` will use.

        Returns:
            Those that lie here [s, D], and the place of the first of them among the S.
        """
        start = 0
        if self.group.size > 1:
            ends = torch.tensor((self._here.start, self._here.stop), device=index_s.device)
            start, stop = torch.searchsorted(index_s, ends).tolist()
            index_s = index_s[start:stop] - self._here.start
        rows_sd = self.weight[index_s].requires_grad_()
        self._taken = index_s, rows_sd
        return rows_sd, start

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move the rows that were taken last by their gradient; once for each `take`, and not without a gradient."""
        if self._taken is None:
            return
        (index_s, rows_sd), self._taken = self._taken, None
        if rows_sd.grad is None:
            return
        self._whole = {}
        self.visits[index_s] += 1
        width = rows_sd.shape[1]
        size = max(len(index_s) if rows_sd.device.type == "cuda" else CACHED // width, 1)
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

    def collect(self) -> None:
        """Bring the state of all processes together in the first one, in the host's memory, until the next step.

        Every process of the group has to call this before the first one's `state_dict` is asked for.
        """
        if self.group.size > 1:
            self._whole = {name: collected(getattr(self, name), self.group) for name in _STATE}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Rows:
        """What `to` and its kin do to parameters and buffers."""
        super()._apply(fn, recurse)
        for name in _STATE:
            setattr(self, name, fn(getattr(self, name)))
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """The first process's state is whole; that of the others is what lies there, and is never written."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.group.size > 1 and self.group.rank == 0 and not self._whole:
            raise RuntimeError("the rows of the other processes are not here: let every process call `collect` before")
        for name in _STATE:
            destination[prefix + name] = self._whole[name] if self._whole else getattr(self, name)

    def _load_from_state_dict(  # noqa: PLR0913, PLR0917 (torch's signature)
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],  # noqa: ARG002
        strict: bool,  # noqa: ARG002
        missing_keys: list[str],
        unexpected_keys: list[str],  # noqa: ARG002
        error_msgs: list[str],
    ) -> None:
        """Take the own share of a whole state."""
        for name in _STATE:
            whole, mine = state_dict.get(prefix + name), getattr(self, name)
            if whole is None:
                missing_keys.append(prefix + name)
            elif whole.shape != (self.total, *mine.shape[1:]):
                error_msgs.append(f"size mismatch for {prefix + name}: {tuple(whole.shape)}")
            else:
                mine.copy_(whole[self._here])
        self._whole = {}
