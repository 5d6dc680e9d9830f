"""SPReID: the whole, the person, and the largest of the person's regions (Kalayeh et al., arXiv:1804.00216)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reidkit.model.heads.regions import MaxOfRegions, Region, Regions, build_regions

if TYPE_CHECKING:
    from reidkit import recipe


def build_head(recipe: recipe.Network, channels: int) -> Regions:
    """Make the three branches; `network.regions` labels are a person's, in the paper head, upper, lower and shoes."""
    every = range(recipe.regions)
    return build_regions(recipe, channels, {"person": Region(every), "parts": MaxOfRegions(every)})
