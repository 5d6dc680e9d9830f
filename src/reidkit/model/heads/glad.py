"""GLAD: the whole, head, upper and lower body, where keypoints put them (Wei et al., arXiv:1709.04329)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reidkit.model.heads.regions import Region, Regions, make_regions
from reidkit.recipe.mask_channels import JOINTS

if TYPE_CHECKING:
    from reidkit import recipe

PARTS = {
    "head": ("head", "neck"),
    "upper": ("neck", "shoulder", "elbow", "wrist", "hip"),
    "lower": ("hip", "knee", "ankle"),
}
"""The joints of each part, on both sides. The paper cuts boxes between them; here places near them are pooled."""


def build_head(recipe: recipe.Network, channels: int) -> Regions:
    """Make the four branches."""
    return make_regions(recipe, channels, {name: Region(joints(names)) for name, names in PARTS.items()})


def joints(names: tuple[str, ...]) -> tuple[int, ...]:
    """Return the channels of joints, of both sides where there are two."""
    return tuple(at for at, joint in enumerate(JOINTS) if joint.rpartition("_")[2] in names)
