"""Pooling: a feature map [B, C, h, w] to one number for each channel, [B, C]."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MeanPooling(nn.Module):
    """Global average pooling."""

    def forward(self, map_bchw: Tensor) -> Tensor:
        """[B, C, h, w] to [B, C]."""
        return map_bchw.mean(dim=(2, 3))


class MaxPooling(nn.Module):
    """Global max pooling."""

    def forward(self, map_bchw: Tensor) -> Tensor:
        """[B, C, h, w] to [B, C]."""
        return map_bchw.amax(dim=(2, 3))


class MeanMaxPooling(nn.Module):
    """The sum of the mean and the maximum of each channel (as Pyramid has it, Zheng et al., CVPR 2019)."""

    def forward(self, map_bchw: Tensor) -> Tensor:
        """[B, C, h, w] to [B, C]."""
        return map_bchw.mean(dim=(2, 3)) + map_bchw.amax(dim=(2, 3))


class GeMPooling(nn.Module):
    """Generalised mean (Radenovic et al., TPAMI 2019, equation 3): (mean of x^p)^(1/p), x held at `eps` or above.

    p = 1 is the mean of a map that is nowhere negative, and p towards infinity the maximum. Computed in float32
    whatever the network computes in, as the cube of a small number is nothing in half of that.

    Args:
        p: The exponent, at the start where it is learned.
        learned: Whether the optimizer learns p. Weight decay would pull it to 0: see `undecayed`.
        eps: The least value that is raised to p.
    """

    undecayed = ("p",)
    """Parameters of this module that weight decay leaves alone."""

    def __init__(self, p: float = 3.0, *, learned: bool = True, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), float(p)), requires_grad=learned)
        self.eps = eps

    def forward(self, map_bchw: Tensor) -> Tensor:
        """[B, C, h, w] to [B, C], at least float32."""
        # No autocast takes these operations to a half type.
        wide_bchw = map_bchw.to(torch.promote_types(map_bchw.dtype, torch.float32)).clamp_min(self.eps)
        return wide_bchw.pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)


def make_pooling(name: str) -> nn.Module:
    """Make the pooling of a name that recipes have (`network.pool`)."""
    if name == "gem":
        return GeMPooling()
    if name == "gem-3":
        return GeMPooling(learned=False)
    poolings: dict[str, type[nn.Module]] = {"mean": MeanPooling, "max": MaxPooling, "mean+max": MeanMaxPooling}
    return poolings[name]()
