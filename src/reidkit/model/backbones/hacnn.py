"""HA-CNN (Li et al., CVPR 2018): a small network with soft attention and four windows; torchreid's names of weights.

Its input is 160x64. Three stages give a map; each stage's input is also looked at through four windows, whose places
the attention of that stage decides. What the head gets is one map with one row and five places: the mean of the global
map, and the mean of each window's (see `model.heads.windows`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.model.blocks import widened

if TYPE_CHECKING:
    from reidkit import recipe

REGIONS = 4
SCALE = (1.0, 0.25)
"""Width and height of a window, as shares of the map's. They are fixed."""

START = ((0.0, -0.75), (0.0, -0.25), (0.0, 0.25), (0.0, 0.75))
"""The biases of the windows' places (x, y), before the tanh: they start at tanh(0.75) = 0.635 and not at 0.75."""

SIZES = ((24, 28), (12, 14), (6, 7))
"""Height and width that a window has before each stage of the local branch."""


class ConvBlock(nn.Module):
    """A convolution with a bias, batch norm, ReLU: also inside the attention, as in the program."""

    def __init__(self, channels: int, out: int, size: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, size, stride, size // 2)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to [B, out, H/stride, W/stride]."""
        return F.relu(self.bn(self.conv(x)))


class InceptionA(nn.Module):
    """Three streams of 1x1 and 3x3, and a mean over 3x3 with a 1x1, a quarter of the channels each."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        part = out // 4
        for number in (1, 2, 3):
            setattr(self, f"stream{number}", nn.Sequential(ConvBlock(channels, part), ConvBlock(part, part, 3)))
        self.stream4 = nn.Sequential(nn.AvgPool2d(3, 1, 1), ConvBlock(channels, part))

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to [B, out, H, W]."""
        return torch.cat([stream(x) for stream in self.children()], dim=1)


class InceptionB(nn.Module):
    """Three streams that halve the map."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        part = out // 4
        self.stream1 = nn.Sequential(ConvBlock(channels, part), ConvBlock(part, part, 3, 2))
        self.stream2 = nn.Sequential(ConvBlock(channels, part), ConvBlock(part, part, 3), ConvBlock(part, part, 3, 2))
        self.stream3 = nn.Sequential(nn.MaxPool2d(3, 2, 1), ConvBlock(channels, 2 * part))

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to [B, out, ceil(H/2), ceil(W/2)]."""
        return torch.cat([stream(x) for stream in self.children()], dim=1)


class SpatialAttention(nn.Module):
    """A number for each place, from the mean over the channels: 3x3 at half the size, resized, 1x1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvBlock(1, 1, 3, 2)
        self.conv2 = ConvBlock(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, 1, H, W]."""
        half = self.conv1(x.mean(dim=1, keepdim=True))
        return cast("Tensor", self.conv2(F.interpolate(half, x.shape[2:], mode="bilinear", align_corners=True)))


class ChannelAttention(nn.Module):
    """A number for each channel, from the means over the places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        between = max(1, channels // 16)
        self.conv1 = ConvBlock(channels, between)
        self.conv2 = ConvBlock(between, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, 1, 1]."""
        return cast("Tensor", self.conv2(self.conv1(x.mean(dim=(2, 3), keepdim=True))))


class SoftAttention(nn.Module):
    """A factor in (0, 1) for each channel and place: sigmoid of a 1x1 of the product of both."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial_attn = SpatialAttention()
        self.channel_attn = ChannelAttention(channels)
        self.conv = ConvBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        return torch.sigmoid(self.conv(self.spatial_attn(x) * self.channel_attn(x)))


class HardAttention(nn.Module):
    """Where the four windows are: places (x, y) in [-1, 1]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, 2 * REGIONS)
        self.begin()

    def begin(self) -> None:
        """Let the windows lie below each other, whatever the image."""
        nn.init.zeros_(self.fc.weight)
        with torch.no_grad():
            self.fc.bias.copy_(torch.tensor(START).flatten())

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, 4, 2]."""
        places: Tensor = torch.tanh(self.fc(x.mean(dim=(2, 3)))).unflatten(1, (REGIONS, 2))
        return places


class HarmoniousAttention(nn.Module):
    """Soft attention of a map, and the places of the windows by hard attention."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.soft_attn = SoftAttention(channels)
        self.hard_attn = HardAttention(channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] to the map with its factors, and the places [B, 4, 2]."""
        return x * self.soft_attn(x), self.hard_attn(x)


class HACNN(nn.Module):
    """The backbone: images [B, 3, H, W] to [B, channels, 1, 5]; 384 channels.

    Args:
        width: Multiplies the channels, for small runs.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        stem, *widths = (widened(channels, width) for channels in (32, 128, 256, 384))
        self.conv = ConvBlock(3, stem, 3, 2)
        for number, (before, channels) in enumerate(zip((stem, *widths), widths, strict=False), start=1):
            block = nn.Sequential(InceptionA(before, channels), InceptionB(channels, channels))
            setattr(self, f"inception{number}", block)
            setattr(self, f"ha{number}", HarmoniousAttention(channels))
            setattr(self, f"local_conv{number}", InceptionB(before, channels))
        self.channels: int = widths[-1]

    def forward(self, images: Tensor) -> Tensor:
        """Images, normalised, to the means of the map and of the four windows, side by side."""
        x = self.conv(images)
        local: Tensor | None = None
        for number, size in enumerate(SIZES, start=1):
            attended, places_br2 = getattr(self, f"ha{number}")(getattr(self, f"inception{number}")(x))
            seen = windows(x, places_br2, size)
            local = getattr(self, f"local_conv{number}")(seen if local is None else seen + local)
            x = attended
        regions_cbr = cast("Tensor", local).mean(dim=(2, 3)).unflatten(0, (-1, REGIONS)).transpose(1, 2)
        return torch.cat([x.mean(dim=(2, 3)).unsqueeze(2), regions_cbr], dim=2).unsqueeze(2)


def windows(map_bchw: Tensor, places_br2: Tensor, size: tuple[int, int]) -> Tensor:
    """Look at a map through windows of the fixed `SCALE` at the places (x, y) in [-1, 1].

    Each is resampled at the size of the map and then resized, as in the program. Places are counted from the middle of
    the first pixel to that of the last one (`align_corners`), as torch did when the program was written.

    Returns:
        [B*4, C, *size], the windows of an image side by side.
    """
    batch, regions = places_br2.shape[:2]
    theta = places_br2.new_zeros(batch, regions, 2, 3)
    theta[:, :, 0, 0], theta[:, :, 1, 1] = SCALE
    theta = torch.cat([theta[..., :2], places_br2[..., None]], dim=3).flatten(0, 1)
    repeated = map_bchw.repeat_interleave(regions, dim=0)
    grid = F.affine_grid(theta, list(repeated.shape), align_corners=True)
    seen = F.grid_sample(repeated, grid.to(repeated.dtype), align_corners=True)
    return F.interpolate(seen, size, mode="bilinear", align_corners=True)


def build_backbone(recipe: recipe.Network) -> HACNN:
    """Make the backbone of a recipe, initialised from torch's random state."""
    return HACNN(recipe.width)
