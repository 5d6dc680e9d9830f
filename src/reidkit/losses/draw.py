"""Who of the others enters a step: a function of seed and step that needs no generator, and is one on every device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

_GAMMA = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def draw_people(seed: Tensor, step: Tensor, people: int, count: int, label_b: Tensor) -> Tensor:
    """`count` of the numbers 0 to `people` - 1, int64 [count], rising: those of `label_b` [B], and others drawn.

    Each of the others is drawn with the same odds, and none twice: every person has a random number of 62 bits, and
    the largest `count` win, where those of the batch stand above all. `seed` and `step` are int64 scalars on the device
    of the labels, so that nothing waits for it. No more than `count` different people may be in the batch.
    """
    start = splitmix64(seed, step)
    numbers = torch.arange(people, device=label_b.device)
    keys = _shifted(splitmix64(start, numbers), 2)
    keys[label_b] = torch.iinfo(torch.int64).max
    return keys.topk(count, sorted=False).indices.sort().values


def splitmix64(seed: Tensor, place: Tensor) -> Tensor:
    """What stands at `place`, from 0 on, in the sequence that `seed` begins (Steele, Lea and Flood, OOPSLA 2014).

    Sixty-four random bits, as int64: the arithmetic wraps.
    """
    bits = seed + (place + 1) * _signed(_GAMMA)
    bits = (bits ^ _shifted(bits, 30)) * _signed(_FIRST)
    bits = (bits ^ _shifted(bits, 27)) * _signed(_SECOND)
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """To the right, with zeros from the left, where torch would repeat the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _signed(constant: int) -> int:
    return constant - (1 << 64) if constant >> 63 else constant
