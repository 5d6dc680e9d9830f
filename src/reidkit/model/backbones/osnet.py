"""OSNet (Zhou et al., ICCV 2019) and OSNet-AIN (TPAMI 2021), with torchreid's names of their weights.

A block looks at its input through four streams of one to four light 3x3 convolutions, so at four sizes of the field of
view, and adds them up, each weighted by one gate that all four share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from torch import Tensor, nn

from reidkit.arguments import check_choice
from reidkit.model.blocks import InstanceNorm, MixStyle, SqueezeExcite, initialise_convolutions, widened
from reidkit.recipe.network_section import OSNets

if TYPE_CHECKING:
    from reidkit import recipe

STREAMS = 4
WIDTHS = {"x1_0": (64, 256, 384, 512), "x0_75": (48, 192, 288, 384), "x0_5": (32, 128, 192, 256)}
WIDTHS["x0_25"] = (16, 64, 96, 128)
"""The channels of the stem and of the three stages."""

Norm = Literal["batch", "instance", "both"]


class Kind(NamedTuple):
    """How the stem and the two blocks of each stage normalise.

    `batch`: batch norms alone. `instance`: an instance norm in the place of the last batch norm in the residual branch
    (AIN). `both`: an instance norm behind the sum as well (IBN-b's place).
    """

    stem: Norm
    stages: tuple[tuple[Norm, Norm], tuple[Norm, Norm], tuple[Norm, Norm]]
    ain_names: bool = False


_PLAIN: tuple[Norm, Norm] = ("batch", "batch")
KINDS = {
    "osnet": Kind("batch", (_PLAIN, _PLAIN, _PLAIN)),
    "osnet-ibn": Kind("instance", (("both", "both"), _PLAIN, _PLAIN)),
    "osnet-ain": Kind(
        "instance", (("instance", "instance"), ("batch", "instance"), ("instance", "batch")), ain_names=True
    ),
}


class ConvNorm(nn.Module):
    """A convolution without bias, a norm or none, a ReLU or none."""

    def __init__(
        self, channels: int, out: int, size: int = 1, *, norm: Norm | None = "batch", relu: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, size, 2 if size == 7 else 1, size // 2, bias=False)
        self.bn = InstanceNorm(out) if norm == "instance" else nn.BatchNorm2d(out) if norm else None
        self.relu = nn.ReLU(inplace=True) if relu else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to [B, out, H, W]; half of that each way for the 7x7 of the stem."""
        x = self.conv(x)
        x = x if self.bn is None else self.bn(x)
        return x if self.relu is None else self.relu(x)


class LightConv(nn.Module):
    """A 3x3 convolution in two: 1x1 across the channels, then 3x3 in each of them; batch norm, ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to the same shape."""
        return cast("Tensor", self.relu(self.bn(self.conv2(self.conv1(x)))))


class LightStream(nn.Module):
    """Light convolutions in a row, under the name that OSNet-AIN's weights have."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(LightConv(channels) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to the same shape."""
        return cast("Tensor", self.layers(x))


class OSBlock(nn.Module):
    """1x1 down to a quarter, four streams through one gate, 1x1 up, beside a shortcut (equation 2, Figure 4)."""

    def __init__(self, channels: int, out: int, norm: Norm, *, ain_names: bool = False) -> None:
        super().__init__()
        inner = max(1, out // 4)
        self.conv1 = ConvNorm(channels, inner)
        if ain_names:
            self.conv2 = nn.ModuleList(LightStream(inner, depth) for depth in range(1, STREAMS + 1))
        else:
            self.conv2a = LightConv(inner)
            for depth, letter in enumerate("bcd", start=2):
                setattr(self, f"conv2{letter}", nn.Sequential(*(LightConv(inner) for _ in range(depth))))
        self.gate = SqueezeExcite(inner)
        self.conv3 = ConvNorm(inner, out, norm=None if norm == "instance" else "batch", relu=False)
        self.downsample = ConvNorm(channels, out, relu=False) if channels != out else None
        self.IN = None if norm == "batch" else InstanceNorm(out)
        self._norm = norm
        self.relu = nn.ReLU(inplace=True)
        self.after: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to [B, out, H, W]."""
        y = self.conv1(x)
        first, *others = self._streams()
        total = self.gate(first(y))
        for stream in others:
            total = total + self.gate(stream(y))
        y = self.conv3(total)
        if self._norm == "instance":
            y = cast("nn.Module", self.IN)(y)
        y = y + (x if self.downsample is None else self.downsample(x))
        if self._norm == "both":
            y = cast("nn.Module", self.IN)(y)
        return cast("Tensor", self.after(self.relu(y)))

    def _streams(self) -> list[nn.Module]:
        if hasattr(self, "conv2"):
            return list(self.conv2)
        return [cast("nn.Module", getattr(self, f"conv2{letter}")) for letter in "abcd"]


class OSNet(nn.Module):
    """The backbone: images [B, 3, H, W] to a feature map [B, channels, H/16, W/16], 512 channels at x1_0.

    The published feature is 512 numbers behind a linear layer, a batch norm and a ReLU: those belong to the head.

    Args:
        name: One of `OSNets`.
        width: Multiplies the channels once more, for small runs.
        mixstyle: The probability of `MixStyle` behind conv2 and conv3 in training.
    """

    def __init__(self, name: str = "osnet-x1_0", *, width: float = 1.0, mixstyle: float = 0.0) -> None:
        super().__init__()
        family, _, size = check_choice(name, OSNets, "name").rpartition("-")
        kind = KINDS[family]
        stem, *widths = (widened(channels, width) for channels in WIDTHS[size])
        self.conv1 = ConvNorm(3, stem, 7, norm=kind.stem)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for number, (channels, norms) in enumerate(zip(widths, kind.stages, strict=True), start=2):
            before = stem if number == 2 else widths[number - 3]
            blocks = [
                OSBlock(before if i == 0 else channels, channels, norm, ain_names=kind.ain_names)
                for i, norm in enumerate(norms)
            ]
            if mixstyle and number < 4:
                blocks[-1].after = MixStyle(mixstyle)
            # Behind the first two stages a 1x1 convolution, and the mean of each 2x2 places.
            half = [nn.Sequential(ConvNorm(channels, channels), nn.AvgPool2d(2, 2))] if number < 4 else []
            if kind.ain_names:
                setattr(self, f"conv{number}", nn.Sequential(*blocks))
                if half:
                    setattr(self, f"pool{number}", half[0])
            else:
                setattr(self, f"conv{number}", nn.Sequential(*blocks, *half))
        self.conv5 = ConvNorm(widths[-1], widths[-1])
        self.channels: int = widths[-1]
        initialise_convolutions(self)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Images, normalised, to the last feature map."""
        x = images
        for stage in self.children():
            x = stage(x)
        return x


def build_backbone(recipe: recipe.Network) -> OSNet:
    """Make the backbone of a recipe, initialised from torch's random state."""
    return OSNet(recipe.backbone, width=recipe.width, mixstyle=recipe.mixstyle)
