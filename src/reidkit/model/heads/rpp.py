"""PCB with refined part pooling (RPP): each place belongs to every part by a learned probability (arXiv:1711.09349).

The paper trains PCB first, then the assignment alone, then all; the authors' program goes on from PCB at one rate.
Here the backbone of a trained PCB can be the weights that this head starts with. No third party reports the gain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reidkit.model.heads.pcb import STRIPES, build_stripes
from reidkit.model.heads.several import Several
from reidkit.model.views import SoftParts

if TYPE_CHECKING:
    from reidkit import recipe


def build_head(recipe: recipe.Network, channels: int) -> Several:
    """Make the head of a recipe for a map of so many channels, initialised from torch's random state."""
    count = recipe.stripes or STRIPES
    return Several({"parts": (SoftParts(channels, count), build_stripes(recipe, channels, count))})
