"""Views of a feature map, from map to map, that branches of a head see: stripes, dropped rows, soft parts, tails."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from reidkit.errors import UsageError
from reidkit.model.chance import Chance

if TYPE_CHECKING:
    from reidkit.model.contracts import Backbone


class Rows(nn.Module):
    """The stripes from `first` up to, and without, `last` of a map whose rows are cut into `count` stripes.

    Stripe i has the rows from floor(i h / count) up to ceil((i + 1) h / count), as torch's adaptive pooling: where
    `count` does not divide h, neighbours share a row.

    Raises:
        UsageError: there are no such stripes.
    """

    def __init__(self, first: int, last: int, count: int) -> None:
        super().__init__()
        if not 0 <= first < last <= count:
            raise UsageError(
                f"there are no stripes from {first} up to, and without, {last} of {count}: the first of them is "
                f"Rows(0, 1, {count})",
                argument="last",
            )
        self.first, self.last, self.count = first, last, count

    def forward(self, map_bchw: Tensor) -> Tensor:
        """[B, C, h, w] to [B, C, rows, w]."""
        height = map_bchw.shape[2]
        return map_bchw[:, :, self.first * height // self.count : -(-self.last * height // self.count)]

    def extra_repr(self) -> str:
        """Return the stripes."""
        return f"{self.first}, {self.last}, {self.count}"


class DropRows(Chance):
    """Zero one block of rows, full width, in training: the same block for the whole batch (BDB, arXiv:1811.07130).

    The block has round(`share` h) of the h rows, at least one, and its top is drawn uniformly. The rest is not scaled:
    a maximum follows, which the zeros of a map behind a ReLU do not change.

    Raises:
        UsageError: a share that is not from 0 to 1.
    """

    def __init__(self, share: float = 0.33) -> None:
        super().__init__()
        if not 0 <= share <= 1:
            raise UsageError(f"a share of {share} of the rows: it must be from 0 to 1", argument="share")
        self.share = share

    def forward(self, map_bchw: Tensor) -> Tensor:
        """[B, C, h, w] to the same shape; the same map in evaluation mode."""
        height = map_bchw.shape[2]
        rows = max(1, round(self.share * height))
        if not self.training or rows >= height:  # a map of one row would be nothing without it
            return map_bchw
        top = int(torch.randint(height - rows + 1, (), generator=self.generator(), device="cpu"))
        kept_h = torch.ones(height, dtype=map_bchw.dtype, device=map_bchw.device)
        kept_h[top : top + rows] = 0
        return map_bchw * kept_h[:, None]


class SoftParts(nn.Module):
    """Parts that every place belongs to by a probability (RPP, arXiv:1711.09349, section 3.3), as rows of a map.

    part_i = mean over the places of n p_i f, where p is a softmax over the n parts of a linear function of the place's
    feature, less its mean over the places. As in the authors' program that function sees means of 8 neighbouring
    channels; one of fewer than 64 sees each.
    """

    def __init__(self, channels: int, parts: int) -> None:
        super().__init__()
        self.each = 8 if channels >= 64 and channels % 8 == 0 else 1
        self.assign = nn.Conv2d(channels // self.each, parts, 1)

    def forward(self, map_bchw: Tensor) -> Tensor:
        """[B, C, h, w] to [B, C, n, 1]: part i is row i."""
        batch, channels, height, width = map_bchw.shape
        fewer = map_bchw.reshape(batch, channels // self.each, self.each, height, width).mean(dim=2)
        part_bnp = self.assign(fewer - fewer.mean(dim=(2, 3), keepdim=True)).softmax(dim=1).flatten(2)
        count, places = part_bnp.shape[1:]
        pooled_bcn: Tensor = map_bchw.flatten(2) @ part_bnp.transpose(1, 2) * (count / places)
        return pooled_bcn.unsqueeze(3)


class Tail(nn.Module):
    """The last stages of a ResNet, with the names that they have there: `load_backbone` fills each from one file.

    Args:
        stages: Stages by name, in their order.
        channels: C, of the map that the last one gives.
    """

    def __init__(self, stages: OrderedDict[str, nn.Module], channels: int) -> None:
        super().__init__()
        self.channels = channels
        for name, stage in stages.items():
            self.add_module(name, stage)

    def forward(self, map_bchw: Tensor) -> Tensor:
        """The map before the stages to that behind the last one."""
        for stage in self.children():
            map_bchw = stage(map_bchw)
        return map_bchw

    def copy(self, *, stride: bool = True) -> Tail:
        """Return a copy with weights of its own; without `stride` none of its convolutions has one."""
        other = copy.deepcopy(self)
        if not stride:
            for module in other.modules():
                if isinstance(module, nn.Conv2d):
                    module.stride = (1, 1)
        return other


def take_tail(backbone: Backbone, stage: str, block: int = 0) -> Tail:
    """Take what stands from block `block` of `stage` on off a ResNet, in place, and return it.

    The backbone gives the map before that from then on, and `channels` is that map's.

    Raises:
        UsageError: the backbone has no such stages.
    """
    names = [f"layer{number}" for number in range(int(stage[-1]), 5)]
    module = cast("nn.Module", backbone)
    if not all(isinstance(getattr(module, name, None), nn.Sequential) for name in names):
        raise UsageError(
            f"a {type(backbone).__name__} has no stages that this head could take: set network.backbone to a ResNet",
            argument="network.backbone",
        )
    tail = Tail(OrderedDict(), backbone.channels)
    for name in names:
        blocks = cast("nn.Sequential", getattr(module, name))
        cut = block if name == stage else 0
        kept = list(blocks.named_children())
        setattr(module, name, nn.Sequential(OrderedDict(kept[:cut])))
        tail.add_module(name, nn.Sequential(OrderedDict(kept[cut:])))
    first = next(module for module in tail.modules() if isinstance(module, nn.Conv2d))
    backbone.channels = first.in_channels  # type: ignore[misc]
    return tail
