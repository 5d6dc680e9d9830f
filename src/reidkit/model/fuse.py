"""Batch norms folded into the convolutions before them, for search: the same function with fewer passes over memory."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from reidkit.model.backbones.resnet import BasicBlock, Bottleneck, ResNet

if TYPE_CHECKING:
    from collections.abc import Iterator

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def fuse_batch_norms(network: AnyModule) -> AnyModule:
    """A copy of `network` in evaluation mode, channels last in memory, that gives the same features up to rounding.

    In evaluation a batch norm is y = (x - mean) / sqrt(var + eps) * gamma + beta, which is linear in x: behind a
    convolution it is a factor of each filter, and a bias. Other norms, the neck's among them, stay as they are; what
    is not a ResNet is copied only.
    """
    made = copy.deepcopy(network).eval()
    for holder, convolution, norm in list(_pairs(made)):
        fused = fuse_conv_bn_eval(getattr(holder, convolution), getattr(holder, norm))
        setattr(holder, convolution, fused)
        setattr(holder, norm, nn.Identity())
    return made.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _pairs(network: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """Every module that holds a convolution and the norm right behind it, and the names of both."""
    for module in network.modules():
        if isinstance(module, ResNet | BasicBlock | Bottleneck):
            for convolution, norm in (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")):
                if isinstance(getattr(module, norm, None), nn.BatchNorm2d):  # an instance norm depends on the image
                    yield module, convolution, norm
        if isinstance(module, BasicBlock | Bottleneck) and isinstance(module.downsample, nn.Sequential):
            yield module.downsample, "0", "1"
