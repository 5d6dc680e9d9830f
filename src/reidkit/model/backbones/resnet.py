"""Residual networks (He et al., arXiv:1512.03385) up to the last feature map, with torchvision's key names.

Options are what re-identification needs: the stride of the last stage, the convolution that carries a stride, the ReLU
of the stem, a width multiplier for small runs, and the variants on the page of the paper's program: squeeze and
excitation (SE), grouped convolutions (ResNeXt, arXiv:1611.05431), instance norm for half of the channels (IBN-a) or
behind the sum of two blocks (IBN-b). Behind the blocks can stand what others have put there (see `model.blocks`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from reidkit.arguments import check_choice
from reidkit.model.blocks import (
    FullAttention,
    InstanceNorm,
    MixStyle,
    NonLocal,
    SqueezeExcite,
    initialise_convolutions,
    widened,
)
from reidkit.recipe import BackboneName, BlocksName
from reidkit.recipe.network_section import ResNets

if TYPE_CHECKING:
    from collections.abc import Callable

    from reidkit import recipe


class InstanceBatchNorm(nn.Module):
    """The first half of the channels normalised image by image, the rest by the batch (Pan et al., arXiv:1807.09441).

    Instance norm removes what differs from camera to camera, light and tint. What it also removes of the person is
    kept by the other half.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.IN = nn.InstanceNorm2d(channels // 2, affine=True)
        self.BN = nn.BatchNorm2d(channels - channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to the same."""
        own, shared = x.split((self.IN.num_features, self.BN.num_features), dim=1)
        return torch.cat((cast("Tensor", self.IN(own)), cast("Tensor", self.BN(shared))), dim=1)


class Kind(NamedTuple):
    """A published network: blocks in each of its four stages, two or three convolutions a block, and its variant.

    The 3x3 convolution has `groups` of `group_width` channels, at a stage of 64.
    """

    depths: tuple[int, int, int, int]
    bottleneck: bool = True
    groups: int = 1
    group_width: int = 64
    squeeze: bool = False
    ibn: Literal["", "a", "b"] = ""

    @property
    def expansion(self) -> int:
        """The channels that a block returns for each of its width."""
        return 4 if self.bottleneck else 1


LastStride = Literal[1, 2]
StemPool = Literal["padded", "ceil"]
StrideIn = Literal["3x3", "1x1"]

_50, _101 = (3, 4, 6, 3), (3, 4, 23, 3)
KINDS: dict[BackboneName, Kind] = {
    "resnet18": Kind((2, 2, 2, 2), bottleneck=False),
    "resnet34": Kind(_50, bottleneck=False),
    "resnet50": Kind(_50),
    "resnet101": Kind(_101),
    "resnet152": Kind((3, 8, 36, 3)),
    "seresnet50": Kind(_50, squeeze=True),
    "seresnet101": Kind(_101, squeeze=True),
    "seresnext50": Kind(_50, squeeze=True, groups=32, group_width=4),
    "seresnext101": Kind(_101, squeeze=True, groups=32, group_width=4),
    "resnet18-ibn-a": Kind((2, 2, 2, 2), bottleneck=False, ibn="a"),
    "resnet34-ibn-a": Kind(_50, bottleneck=False, ibn="a"),
    "resnet50-ibn-a": Kind(_50, ibn="a"),
    "resnet101-ibn-a": Kind(_101, ibn="a"),
    "resnet18-ibn-b": Kind((2, 2, 2, 2), bottleneck=False, ibn="b"),
    "resnet34-ibn-b": Kind(_50, bottleneck=False, ibn="b"),
    "resnet50-ibn-b": Kind(_50, ibn="b"),
    "resnet101-ibn-b": Kind(_101, ibn="b"),
}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the first carries the stride. Behind it may stand a block of another."""

    def __init__(self, channels: int, width: int, stride: int, kind: Kind) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = InstanceBatchNorm(width) if kind.ibn == "a" else nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.IN: nn.Module = InstanceNorm(width) if kind.ibn == "b" else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels, width, stride)
        self.after: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to [B, width, H/stride, W/stride]."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return cast("Tensor", self.after(self.relu(self.IN(y + self.downsample(x)))))


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up by four, beside a shortcut; `stride_in` is the one of the first two with the stride.

    Behind it may stand a block of another kind.
    """

    def __init__(self, channels: int, width: int, stride: int, stride_in: str, kind: Kind) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
        inner, out = max(1, width * kind.group_width // 64) * kind.groups, width * kind.expansion
        self.conv1 = nn.Conv2d(channels, inner, 1, first, bias=False)
        self.bn1 = InstanceBatchNorm(inner) if kind.ibn == "a" else nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, second, 1, groups=kind.groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.se_module = SqueezeExcite(out) if kind.squeeze else nn.Identity()
        self.IN: nn.Module = InstanceNorm(out) if kind.ibn == "b" else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels, out, stride)
        self.after: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to [B, 4*width, H/stride, W/stride]."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.se_module(self.bn3(self.conv3(y)))
        return cast("Tensor", self.after(self.relu(self.IN(y + self.downsample(x)))))


BEHIND: dict[BlocksName, tuple[tuple[int, int], ...]] = {
    "none": (),
    "nonlocal": ((2, 2), (3, 3)),
    "nonlocal-as-published": ((2, 2), (3, 3)),
    "attention": ((2, 1), (3, 1)),
}
"""Behind how many of the last blocks of which stages they stand: non-local ones as in AGW, attention as in Mancs."""

MIXED = (1, 2)
"""The stages whose maps `MixStyle` mixes."""


class ResNet(nn.Module):
    """The backbone: images [B, 3, H, W] to a feature map [B, channels, H/16, W/16] (H/32, W/32 with `last_stride` 2).

    Attributes are named as torchvision names them, without `fc`.

    Args:
        name: One of `KINDS`.
        width: Multiplies the channels of every stage, for small runs.
        last_stride: The stride of the last stage; 1 makes the map twice as high and wide.
        stride_in: The convolution of a bottleneck block that carries its stride: `3x3` as in torchvision, `1x1` as in
            caffe.
        stem_relu: False leaves out the ReLU after the first batch norm, as the authors' published weights need.
        stem_pool: `padded` as in torchvision, or `ceil`: without padding, the size rounded up, as in fast-reid.
        blocks: What stands behind the blocks of inner stages (see `BEHIND`).
        mixstyle: The probability of `MixStyle` behind layer1 and layer2 in training.
    """

    def __init__(  # noqa: PLR0913
        self,
        name: BackboneName = "resnet50",
        *,
        width: float = 1.0,
        last_stride: LastStride = 2,
        stride_in: StrideIn = "3x3",
        stem_relu: bool = True,
        stem_pool: StemPool = "padded",
        blocks: BlocksName = "none",
        mixstyle: float = 0.0,
    ) -> None:
        super().__init__()
        kind = KINDS[check_choice(name, ResNets, "name")]
        check_choice(last_stride, LastStride, "last_stride")
        check_choice(stride_in, StrideIn, "stride_in")
        check_choice(stem_pool, StemPool, "stem_pool")
        base = widened(64, width)
        self.conv1 = nn.Conv2d(3, base, 7, 2, 3, bias=False)
        self.bn1 = InstanceNorm(base) if kind.ibn == "b" else nn.BatchNorm2d(base)
        self.relu = nn.ReLU(inplace=True) if stem_relu else nn.Identity()
        # The published SE networks were trained to pool without padding, too; the map has the same size either way.
        ceil = kind.squeeze or stem_pool == "ceil"
        self.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True) if ceil else nn.MaxPool2d(3, 2, 1)
        self.channels = base
        block = partial(Bottleneck, stride_in=stride_in) if kind.bottleneck else BasicBlock
        self.layer1 = self._stage(block, base, 1, 1, kind)
        self.layer2 = self._stage(block, base * 2, 2, 2, kind)
        self.layer3 = self._stage(block, base * 4, 2, 3, kind)
        self.layer4 = self._stage(block, base * 8, last_stride, 4, kind)
        initialise_convolutions(self)  # for runs from scratch
        self._put_behind(blocks, mixstyle)

    def forward(self, images: Tensor) -> Tensor:
        """Images, normalised, to the last feature map."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return cast("Tensor", self.layer4(self.layer3(self.layer2(self.layer1(x)))))

    def _stage(self, make: Callable[..., nn.Module], width: int, stride: int, stage: int, kind: Kind) -> nn.Sequential:
        """IBN-a has none in the last stage; IBN-b one in the last block of the first two."""
        depth, blocks = kind.depths[stage - 1], []
        for number in range(depth):
            instance = (kind.ibn == "a" and stage < 4) or (kind.ibn == "b" and stage < 3 and number == depth - 1)
            own = kind if instance else kind._replace(ibn="")
            blocks.append(make(self.channels, width, stride if number == 0 else 1, kind=own))
            self.channels = width * kind.expansion
        return nn.Sequential(*blocks)

    def _put_behind(self, name: BlocksName, mixstyle: float) -> None:
        """Put what another paper adds behind the blocks, so that the names of their own weights stay."""
        for stage, last in BEHIND[check_choice(name, BlocksName, "blocks")]:
            blocks = list(cast("nn.Sequential", getattr(self, f"layer{stage}")))
            channels = self.channels >> (4 - stage)
            for block in blocks[-last:]:
                if name == "attention":
                    block.after = FullAttention(channels)
                else:
                    block.after = NonLocal(channels, 1 if name == "nonlocal-as-published" else 0)
        for stage in MIXED if mixstyle else ():
            block = cast("Any", getattr(self, f"layer{stage}"))[-1]
            mix = MixStyle(mixstyle)
            block.after = mix if isinstance(block.after, nn.Identity) else nn.Sequential(block.after, mix)


def _shortcut(channels: int, out: int, stride: int) -> nn.Module:
    if stride == 1 and channels == out:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))


resnet50 = partial(ResNet, "resnet50")
"""The backbone of the paper, as `resnet50(last_stride=1)`; others are `ResNet("resnet18")`."""


def build_backbone(recipe: recipe.Network) -> ResNet:
    """Make the backbone of a recipe, initialised from torch's random state. `stride_in` auto is torchvision's."""
    return ResNet(
        recipe.backbone,
        width=recipe.width,
        last_stride=recipe.last_stride,
        stride_in="1x1" if recipe.stride_in == "1x1" else "3x3",
        stem_relu=recipe.stem_relu,
        stem_pool=recipe.stem_pool,
        blocks=recipe.blocks,
        mixstyle=recipe.mixstyle,
    )
