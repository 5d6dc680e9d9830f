"""Pyramid: a feature of every run of neighbouring stripes, from single ones to the whole (Zheng et al., CVPR 2019).

Six stripes have 21 runs, of 128 numbers each; each has an ID and a triplet loss. The paper chooses the losses of a step
by a running performance of each; here all of them count in every step, as in most epochs of the authors' program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reidkit.model.heads.several import Several
from reidkit.model.heads.single import build_leaf
from reidkit.model.views import Rows

if TYPE_CHECKING:
    from torch import nn

    from reidkit import recipe
    from reidkit.model.contracts import Head

STRIPES, DIM, POOL = 6, 128, "mean+max"


def build_head(recipe: recipe.Network, channels: int) -> Several:
    """Make the head of a recipe for a map of so many channels, initialised from torch's random state.

    The branch `run2_3` has two stripes from number 3 on, counted from 0. `network.pool` mean stands for the paper's
    mean+max.
    """
    count, pool = recipe.stripes or STRIPES, POOL if recipe.pool == "mean" else recipe.pool
    branches: dict[str, tuple[nn.Module, Head]] = {}
    for length in range(1, count + 1):
        for first in range(count - length + 1):
            leaf = build_leaf(recipe, channels, recipe.embedding or DIM, pool)
            branches[f"run{length}_{first}"] = Rows(first, first + length, count), leaf
    return Several(branches, ranked=tuple(branches), unit=recipe.unit)
