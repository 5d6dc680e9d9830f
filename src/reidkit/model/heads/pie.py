"""PIE: the whole beside torso, arms and legs, where keypoints put them (Zheng et al., arXiv:1701.07732).

The paper warps limbs into a box, the PoseBox, which passes through a network of its own. Here they are pooled out of
one map: which pixels make up a part is the same, what turns them upright is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reidkit.model.heads.regions import build_body_parts

if TYPE_CHECKING:
    from reidkit import recipe
    from reidkit.model.heads.regions import Regions

PARTS = {
    "torso": ("neck", "shoulder", "hip"),
    "arms": ("shoulder", "elbow", "wrist"),
    "legs": ("hip", "knee", "ankle"),
}
"""The joints of each part, on both sides."""


def build_head(recipe: recipe.Network, channels: int) -> Regions:
    """Make the four branches."""
    return build_body_parts(recipe, channels, PARTS)
