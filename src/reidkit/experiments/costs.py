"""What a network costs: parameters, operations for one image, and images a second as its training has logged them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from reidkit.model.network import build_network
from reidkit.train import log

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from reidkit.recipe import Network


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Parameters in millions, without classifiers; GFLOP for one image, two for each multiply-add."""

    parameters: float
    gflop: float


@cache
def network_cost(network: Network, size: tuple[int, int]) -> Cost:
    """Count what a network of a recipe costs for one image of `size` (height, width), without making its weights."""
    with torch.device("meta"):
        made = build_network(network).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            made(torch.empty(1, 3 + made.mask_channels, *size))
    parameters = sum(parameter.numel() for parameter in made.parameters())
    return Cost(parameters=parameters / 1e6, gflop=counter.get_total_flops() / 1e9)


def training_speed(folders: Sequence[Path]) -> float | None:
    """Return the images a second that nine of ten logged steps of runs stay below; None where there are none.

    Not the mean: a run that shares its machine is slowed down, and none is sped up.
    """
    rates: list[float] = []
    for folder in folders:
        rows = log.read(folder / "log.jsonl")
        rates += [float(row["images_per_s"]) for row in rows if row["kind"] == "step" and row.get("images_per_s")]
    return statistics.quantiles(rates, n=10, method="inclusive")[-1] if len(rates) > 1 else None
