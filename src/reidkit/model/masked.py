"""Masks beside images: what a network does with the channels that follow the three colours.

A head that `takes_masks` pools by them (see `model.heads.regions`). For any other they are more channels of the input:
the first convolution gets weights for them that begin at 0, so that the network begins as the one without masks.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from reidkit.errors import UsageError

if TYPE_CHECKING:
    from reidkit.model.contracts import Backbone, Features

COLOURS = 3


def masked_features(backbone: nn.Module, head: nn.Module, channels: int, images: Tensor) -> Features:
    """Run the backbone and the head of a network on images with so many masks, [B, 3 + `channels`, H, W].

    Raises:
        UsageError: the masks are not there.
    """
    if images.shape[1] != COLOURS + channels:
        raise UsageError(
            f"the network takes {channels} {'map' if channels == 1 else 'maps'} beside each image: give the folder of "
            "masks as masks, to train, evaluate, embed or calibrate",
            argument="masks",
        )
    if not getattr(head, "takes_masks", False):
        found: Features = head(backbone(images))
        return found
    colours = images[:, :COLOURS].contiguous(memory_format=torch.channels_last)
    pooled: Features = head(backbone(colours), images[:, COLOURS:])
    return pooled


def widen(backbone: Backbone, channels: int) -> None:
    """Give the first convolution of a ResNet so many more channels, with weights of 0, in place.

    Weights files with three colours still fit: `adapt`, which `load_backbone` calls, adds zeros to theirs.
    """
    module = cast("Any", backbone)
    narrow: nn.Conv2d = module.conv1
    wide = nn.Conv2d(
        narrow.in_channels + channels,
        narrow.out_channels,
        narrow.kernel_size,  # type: ignore[arg-type]
        narrow.stride,  # type: ignore[arg-type]
        narrow.padding,  # type: ignore[arg-type]
        bias=False,
        device="meta",  # draws nothing from torch's random state
    )
    wide.weight = nn.Parameter(_with_zeros(narrow.weight.detach(), channels))
    module.conv1 = wide
    module.adapt = partial(_adapt, channels=channels)


def _with_zeros(weight: Tensor, channels: int) -> Tensor:
    out, _, *kernel = weight.shape
    return torch.cat((weight, weight.new_zeros((out, channels, *kernel))), dim=1)


def _adapt(tensors: dict[str, Tensor], channels: int) -> dict[str, Tensor]:
    weight = tensors.get("conv1.weight")
    if weight is None or weight.ndim != 4 or weight.shape[1] != COLOURS:
        return tensors
    return {**tensors, "conv1.weight": _with_zeros(weight, channels)}


def mirror(images: Tensor, order: tuple[int, ...]) -> Tensor:
    """Mirror images [B, C, H, W], with masks or without; `order` says which mask comes from which (see `MIRRORED`)."""
    flipped = images.flip(3)
    if not order or images.shape[1] == COLOURS:
        return flipped
    return flipped[:, [*range(COLOURS), *(COLOURS + each for each in order)]]
