"""The network as it stands in an exported file: its input made in the graph, norms folded, plain operations alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.model.fuse import fuse_batch_norms
from reidkit.model.neck import L2Neck

if TYPE_CHECKING:
    from reidkit.encoder.input_spec import InputSpec
    from reidkit.export.presets import Front

SMALLEST = 1e-24
"""The square of the shortest length that a feature is divided by."""


class Affine(nn.Module):
    """A batch norm in evaluation mode, y = x * a + b with a = gamma / sqrt(var + eps) and b = beta - mean * a."""

    def __init__(self, norm: nn.BatchNorm1d) -> None:
        super().__init__()
        mean, var = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
        factor = (torch.ones_like(var) if norm.weight is None else norm.weight.detach()) / (var + norm.eps).sqrt()
        shift = (torch.zeros_like(mean) if norm.bias is None else norm.bias.detach()) - mean * factor
        self.register_buffer("factor", factor)
        self.register_buffer("shift", shift)

    def forward(self, feat_bd: Tensor) -> Tensor:
        """Features [B, D] to [B, D]."""
        return feat_bd * cast("Tensor", self.factor) + cast("Tensor", self.shift)


class UnitLength(nn.Module):
    """f / |f| times `length`, of multiplications and a sum: `F.normalize` would bring a graph of shapes along.

    Args:
        length: The length; None: the root of D, which the neck `l2` gives its feature.
    """

    def __init__(self, length: float | None = 1.0) -> None:
        super().__init__()
        self.length = length

    def forward(self, feat_bd: Tensor) -> Tensor:
        """Features [B, D] to [B, D]; one of length 0 stays at 0."""
        unit_bd = feat_bd * torch.rsqrt((feat_bd * feat_bd).sum(1, keepdim=True).clamp_min(SMALLEST))
        length = feat_bd.shape[1] ** 0.5 if self.length is None else self.length
        return unit_bd if length == 1 else unit_bd * length


class ExportedNetwork(nn.Module):
    """Images as a file takes them to the features f_i [B, D] of a network.

    The mean is never folded into the first convolution, whose border of zeros is added after the normalisation.

    Args:
        network: The trained network; it stays as it is.
        spec: What the network takes: size, mean and deviation.
        front: What the file takes.
    """

    def __init__(self, network: nn.Module, spec: InputSpec, front: Front) -> None:
        super().__init__()
        self.network = _plain(network)
        self.front, self.size, self.filter = front, (spec.height, spec.width), spec.resize
        # (pixel / s - mean) / std as pixel * a + b, with the range that comes in: s is 255 for 0 to 255 and 1 else.
        std, mean = torch.tensor(spec.std), torch.tensor(spec.mean)
        known = {"0-255": spec.scale, "uint8": spec.scale, "0-1": spec.scale / 255}
        scale = known.get(front.values)
        self.normalises = scale is not None
        self.register_buffer("gain", (1 / (std * (scale or 1))).reshape(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).reshape(1, 3, 1, 1))  # which is what black becomes, too
        self.register_buffer("brightest", ((255 / spec.scale - mean) / std).reshape(1, 3, 1, 1))
        self.register_buffer("order", torch.tensor([2, 1, 0]))
        self.unit = UnitLength()

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] or [B, H, W, 3] as `front` says, to features [B, D]."""
        front = self.front
        pixels = images.float() if front.values == "uint8" else images
        if front.channels_last:
            pixels = pixels.permute(0, 3, 1, 2)
        if front.resize:
            pixels = F.interpolate(pixels, size=self.size, mode=self.filter, antialias=True)
        elif front.square:
            # A person in a square was widened before: bicubic undoes that with less blur than bilinear does.
            pixels = F.interpolate(pixels, size=self.size, mode="bicubic")
        if front.bgr:
            pixels = pixels.index_select(1, cast("Tensor", self.order))
        if self.normalises:
            pixels = pixels * cast("Tensor", self.gain) + cast("Tensor", self.shift)
        if front.resize and self.filter == "bicubic":  # which overshoots at edges, where bytes end at 0 and 255
            pixels = pixels.maximum(cast("Tensor", self.shift)).minimum(cast("Tensor", self.brightest))
        feat_bd: Tensor = self.network(pixels).f_i
        return self.unit(feat_bd) if front.unit else feat_bd


def _plain(network: nn.Module) -> nn.Module:
    """Return a copy with folded norms whose necks are multiplications and additions."""
    made = fuse_batch_norms(network).cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for name, module in list(made.named_modules()):
        if isinstance(module, nn.BatchNorm1d) and module.running_mean is not None:
            made.set_submodule(name, Affine(module))
        elif isinstance(module, L2Neck):
            made.set_submodule(name, UnitLength(None))
    return cast("nn.Module", made.eval())
