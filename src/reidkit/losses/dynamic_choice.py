"""Pyramid's dynamic choice of losses (Zheng et al., CVPR 2019): in some steps the ID loss learns alone.

Each task, ID and triplet, has a running loss k and a focal loss of how much it has just fallen. Where the triplet
loss falls far slower than the ID loss, it is left out of the step. The paper also samples such a batch without regard
to ids; its program, which this follows, does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping

KEPT = 0.75
"""The part of a running loss that a step leaves in place."""

LEAST = 0.16
"""Below this ratio of the focal losses, triplet to ID, the triplet loss is left out."""


def running(before: Tensor, loss: Tensor) -> Tensor:
    """Return the running loss k after a step with this loss: (1 - `KEPT`) L + `KEPT` k."""
    return (1 - KEPT) * loss + KEPT * before


def focal(before: Tensor, after: Tensor) -> Tensor:
    """Return -(1 - p)^2 ln p with p = min(k', k) / k: 0 where the running loss has not fallen."""
    p = torch.minimum(after, before) / before
    return (1 - p) ** 2 * p.log().abs()  # abs: no zero is negative, by which the ratio would be -inf


class DynamicChoice(nn.Module):
    """Takes the triplet terms out of a step, or not; what it remembers, k of both tasks, is saved with a run.

    In the first step, and where neither loss falls, both are used.
    """

    k: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("k", torch.zeros(2))

    def forward(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weighted terms by name, those of the triplet loss times 0 or 1; nothing waits for the device."""
        now = torch.stack([_sum_of(terms, task).detach().float() for task in ("identity", "triplet")])
        before = torch.where(self.k > 0, self.k, now)
        after = running(before, now)
        of_identity, of_triplet = focal(before, after)
        self.k = after
        # 0 / 0 is NaN, which is below nothing: both.
        used = torch.where(of_triplet / of_identity < LEAST, 0.0, 1.0)
        return {name: value * used if _task(name) == "triplet" else value for name, value in terms.items()}


def _task(name: str) -> str:
    return name.partition(".")[0]


def _sum_of(terms: Mapping[str, Tensor], task: str) -> Tensor:
    return torch.stack([value for name, value in terms.items() if _task(name) == task]).sum()
