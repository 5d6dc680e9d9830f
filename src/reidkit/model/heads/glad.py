"""GLAD: the whole, head, upper and lower body, where keypoints put them (Wei et al., arXiv:1709.04329)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reidkit.model.heads.regions import build_body_parts

if TYPE_CHECKING:
    from reidkit import recipe
    from reidkit.model.heads.regions import Regions

PARTS = {
    "head": ("head", "neck"),
    "upper": ("neck", "shoulder", "elbow", "wrist", "hip"),
    "lower": ("hip", "knee", "ankle"),
}
"""The joints of each part, on both sides. The paper cuts boxes between them; here places near them are pooled."""


def build_head(recipe: recipe.Network, channels: int) -> Regions:
    """Make the four branches."""
    return build_body_parts(recipe, channels, PARTS)
