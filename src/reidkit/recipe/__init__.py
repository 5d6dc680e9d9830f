"""Everything that changes the result of a training run, and nothing else.

A recipe is a frozen tree of dataclasses. What does not change the result (device, workers, folders) is an option of the
command. An ablation is a ladder of `dataclasses.replace`, each rung one change from its parent.
"""

from __future__ import annotations

from reidkit.recipe.checks import Section
from reidkit.recipe.network_section import BACKBONES, BackboneName, BlocksName, Network, family_of
from reidkit.recipe.sections import (
    Adapt,
    Aside,
    Batch,
    Center,
    Distil,
    Erasing,
    Identity,
    Images,
    Optim,
    Pair,
    Recipe,
    Triplet,
)
from reidkit.recipe.text import changes, differences, digest, from_json, leaves, load, override, to_json

__all__ = [
    "BACKBONES",
    "Adapt",
    "Aside",
    "BackboneName",
    "Batch",
    "BlocksName",
    "Center",
    "Distil",
    "Erasing",
    "Identity",
    "Images",
    "Network",
    "Optim",
    "Pair",
    "Recipe",
    "Section",
    "Triplet",
    "changes",
    "differences",
    "digest",
    "family_of",
    "from_json",
    "leaves",
    "load",
    "override",
    "to_json",
]
