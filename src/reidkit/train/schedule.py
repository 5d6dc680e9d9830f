"""The learning rate of an epoch (paper, section 3.1, equation 1 and Figure 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reidkit.recipe import Optim


def learning_rate(optim: Optim, epoch: int, step: int) -> float:
    """The rate at `epoch`, counted from 1: a linear warm-up, then `lr` times `gamma` after each drop.

    `step` counts all steps from 0. Where the warm-up is told in steps, it is lr * (0.1 + 0.9 * step/T) at the first T
    of them, as fast-reid has it; else the rate is one for the whole epoch.

    The readings of the warm-up over T epochs, at epoch t <= T:
    `paper` lr * t/T, as the text and Figure 3 have it (3.5e-5 at epoch 1, 3.5e-4 at epoch 10);
    `code` lr * (0.01 + 0.99 * (t-1)/T), as the authors' program (3.5e-6 at epoch 1, 3.1535e-4 at epoch 10);
    `equation-1` lr/10 * t/T, as equation 1 is printed, a tenth of the text's.
    A drop at epoch 40 means that epoch 40 is the last one before it.
    """
    base = optim.lr * optim.gamma ** sum(epoch > drop for drop in optim.drops)
    if step < optim.warmup_steps:
        return base * (0.1 + 0.9 * step / optim.warmup_steps)
    if epoch > optim.warmup_epochs:
        return base
    share = epoch / optim.warmup_epochs
    factors = {
        "paper": share,
        "code": 0.01 + 0.99 * (epoch - 1) / optim.warmup_epochs,
        "equation-1": share / 10,
    }
    return base * factors[optim.warmup]
