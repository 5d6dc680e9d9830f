"""Regions: one feature of the whole map, and one of each region that masks beside the image show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.model.heads.several import Several
from reidkit.model.heads.single import build_leaf
from reidkit.recipe.mask_channels import JOINTS, mask_channels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reidkit import recipe
    from reidkit.model.contracts import Features

LEAST = 1e-6
"""The least sum of weights that is divided by: a region that is nowhere in the image gives zeros."""


def pool_region(map_bchw: Tensor, weight_bhw: Tensor) -> Tensor:
    """Mean of a map [B, C, h, w] by the weights [B, h, w], which are normalised to a sum of 1: [B, C], in float32."""
    weight = weight_bhw.float()
    total_b = weight.sum(dim=(1, 2)).clamp_min(LEAST)
    return torch.einsum("bchw,bhw->bc", map_bchw.float(), weight) / total_b[:, None]


class Region(nn.Module):
    """A view: the map pooled where any of some masks lies.

    Args:
        channels: Which masks, by their number from 0; the region is the largest of them at each place.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = tuple(channels)

    def forward(self, map_bchw: Tensor, mask_bkhw: Tensor) -> Tensor:
        """[B, C, h, w] and masks [B, K, h, w] of the map's size to [B, C, 1, 1]."""
        return pool_region(map_bchw, mask_bkhw[:, self.channels].amax(dim=1))[:, :, None, None]

    def extra_repr(self) -> str:
        """Return the masks."""
        return str(self.channels)


class MaxOfRegions(nn.Module):
    """A view: the largest of what several masks pool, channel by channel (SPReID)."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = tuple(channels)

    def forward(self, map_bchw: Tensor, mask_bkhw: Tensor) -> Tensor:
        """[B, C, h, w] and masks [B, K, h, w] of the map's size to [B, C, 1, 1]."""
        pooled = [pool_region(map_bchw, mask_bkhw[:, each]) for each in self.channels]
        return torch.stack(pooled).amax(dim=0)[:, :, None, None]


class Whole(nn.Module):
    """A view: the map without a look at the masks."""

    def forward(self, map_bchw: Tensor, mask_bkhw: Tensor) -> Tensor:  # noqa: ARG002
        """[B, C, h, w] to the same."""
        return map_bchw


class Regions(Several):
    """Branches side by side (see `Several`) whose views make a map of a map and the masks of the image."""

    takes_masks = True

    def forward(self, map_bchw: Tensor, masks: Tensor | None = None) -> Features:
        """[B, C, h, w] and masks [B, K, H, W] to f_t and f_i, [B, D] each, in the order of the branches.

        Each mask is brought to the size of the map by the mean of what lies under each place.
        """
        if masks is None:  # of a map alone, as where somebody looks at it, the whole image is every region
            masks = map_bchw.new_ones((len(map_bchw), 1, *map_bchw.shape[2:])).expand(-1, self._wanted(), -1, -1)
        mask_bkhw = F.adaptive_avg_pool2d(masks.float(), map_bchw.shape[2:])  # type: ignore[arg-type]
        found = [self.heads[name](view(map_bchw, mask_bkhw)) for name, view in self.views.items()]
        return self._concatenated(found)

    def _wanted(self) -> int:
        """How many masks the views ask for."""
        return 1 + max(max(getattr(view, "channels", (0,))) for view in self.views.values())


def build_regions(recipe: recipe.Network, channels: int, views: Mapping[str, nn.Module]) -> Regions:
    """Make a head of the whole map and these views, each branch with embedding and neck as a recipe has them."""
    every = {"whole": Whole(), **views}
    branches = {name: (view, build_leaf(recipe, channels, recipe.embedding)) for name, view in every.items()}
    return Regions(branches, unit=recipe.unit)


def build_body_parts(recipe: recipe.Network, channels: int, parts: Mapping[str, Sequence[str]]) -> Regions:
    """Make a head of the whole map and of parts of the body, each where its joints are."""
    return build_regions(recipe, channels, {part: Region(joints(names)) for part, names in parts.items()})


def joints(names: Sequence[str]) -> tuple[int, ...]:
    """Return the channels of joints, of both sides where there are two."""
    return tuple(at for at, joint in enumerate(JOINTS) if joint.rpartition("_")[2] in names)


def build_head(recipe: recipe.Network, channels: int) -> Regions:
    """Make a branch for each mask: of label images one for each number from 1 on."""
    views = {f"region{number + 1}": Region((number,)) for number in range(mask_channels(recipe))}
    return build_regions(recipe, channels, views)
