"""What backbones share: parts inside their blocks, and blocks of others that stand behind those of a stage."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from reidkit.arguments import check_number
from reidkit.errors import UsageError
from reidkit.model.chance import Chance


def widened(channels: int, width: float) -> int:
    """Return so many channels times `width`, to the nearest multiple of 8 and at least 8.

    Raises:
        UsageError: `width` is not above 0.
    """
    if not check_number(width, "width") > 0:
        raise UsageError(f"width multiplies the channels, and {width} leaves none: pass 1, or 0.25", argument="width")
    return max(8, round(channels * width / 8) * 8)


def initialise_convolutions(network: nn.Module) -> None:
    """Draw the weights of all convolutions as He et al. do (arXiv:1502.01852), by the outgoing connections."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class InstanceNorm(nn.GroupNorm):
    """Each channel of each image at mean 0 and variance 1 over its places, then scaled and shifted as is learned.

    A group norm with as many groups as channels is the same, and several times as fast as torch's `InstanceNorm2d`
    where channels lie last in memory. It remembers nothing, so that training and evaluation do not differ.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)


class SqueezeExcite(nn.Module):
    """Each channel times a number in (0, 1) that depends on the means of all channels (Hu et al., arXiv:1709.01507).

    Equations 2 to 4: s = sigmoid(W2 relu(W1 z)), with z_c the mean of channel c; W1 has a sixteenth of the channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        between = max(1, channels // 16)
        self.fc1 = nn.Conv2d(channels, between, 1)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(between, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to the same."""
        scale = self.fc2(self.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True))))
        return x * torch.sigmoid(scale)


class NonLocal(nn.Module):
    """Each place plus a sum over all places, weighted by their dot product (Wang et al., CVPR 2018, AGW).

    y_i = (1/N) sum_j (theta_i . phi_j) g_j, and x + W y, with 1x1 convolutions and a batch norm in W that starts at 0.
    The sum over j is taken first, so that no matrix of all pairs of places is made.

    Args:
        channels: C, of the map.
        inner: The channels of theta, phi and g; AGW's program has 1 where its paper means C/2.
    """

    added = True
    """No published weights of a backbone hold it."""

    def __init__(self, channels: int, inner: int = 0) -> None:
        super().__init__()
        inner = inner or max(1, channels // 2)
        self.g = nn.Conv2d(channels, inner, 1)
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1)
        self.W = nn.Sequential(nn.Conv2d(inner, channels, 1), nn.BatchNorm2d(channels))
        self.begin()

    def begin(self) -> None:
        """Make it the identity."""
        nn.init.zeros_(cast("nn.BatchNorm2d", self.W[1]).weight)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to the same shape."""
        g, theta, phi = (conv(x).flatten(2) for conv in (self.g, self.theta, self.phi))
        pairs_bcc = (g / g.shape[2]) @ phi.transpose(1, 2)
        return x + cast("Tensor", self.W((pairs_bcc @ theta).unflatten(2, x.shape[2:])))


class FullAttention(nn.Module):
    """A factor for each channel and place (Mancs, Wang et al., ECCV 2018, by its paper: its program is not public).

    Squeeze and excitation without the mean over the places: z = conv(relu(conv(x))), with a sixteenth of the channels
    between, and x + x (2 sigmoid(z) - 1). The last convolution starts at 0, and so the factor at 1.
    """

    added = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        between = max(1, channels // 16)
        self.conv1 = nn.Conv2d(channels, between, 1)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(between, channels, 1)
        self.begin()

    def begin(self) -> None:
        """Make it the identity."""
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(cast("Tensor", self.conv2.bias))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to the same shape."""
        return x + x * (2 * torch.sigmoid(self.conv2(self.relu(self.conv1(x)))) - 1)


class MixStyle(Chance):
    """Mix mean and deviation of each channel with those of another image (Zhou et al., ICLR 2021).

    In training, with a probability p for a whole batch: x' = (m s + (1-m) s') (x - u) / s + (m u + (1-m) u'), where u
    and s are mean and deviation of the image over its places, u' and s' those of its partner, and m ~ Beta(0.1, 0.1)
    for each image. No gradient goes through u and s. The partners are a permutation of the images that a batch norm
    would see together, so that the result depends on `batch.micro_batches` as theirs does.

    Args:
        probability: p.
        alpha: Both parameters of the Beta distribution.
        eps: Added to the variance.
    """

    def __init__(self, probability: float = 0.5, alpha: float = 0.1, eps: float = 1e-6) -> None:
        super().__init__()
        self.probability, self.alpha, self.eps = probability, alpha, eps

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to the same shape; the same x in evaluation mode."""
        if not self.training or float(torch.rand((), generator=self.generator())) >= self.probability:
            return x
        mixed: Tensor = mix_styles(x, *self._partners(x), self.eps)
        return mixed

    def _partners(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The partner's mean and deviation [B, C], and the own share m [B]."""
        styles_b2c = self.group.gather(torch.stack(style(x, self.eps), dim=1))
        order = torch.randperm(len(styles_b2c), generator=self.generator_of_part())
        here = order[self.group.rank * len(x) : (self.group.rank + 1) * len(x)]
        share_b = self.of_batch(self._betas, x, stream=1).to(x.device)
        mean_bc, deviation_bc = styles_b2c[here.to(x.device)].unbind(1)
        return mean_bc, deviation_bc, share_b

    def _betas(self, count: int, generator: torch.Generator) -> Tensor:
        """A Beta variable is g/(g + g') of two Gamma variables; in double precision small ones are no zeros."""
        gammas = torch._standard_gamma(torch.full((2, count), self.alpha, dtype=torch.float64), generator)
        return (gammas[0] / gammas.sum(0)).float()


def style(x: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Return mean and deviation [B, C] of each channel of [B, C, h, w] over its places, in float32, without gradient.

    The variance is divided by the places less one.
    """
    x = x.detach()
    x = x if x.dtype == torch.float64 else x.float()
    return x.mean(dim=(2, 3)), (x.var(dim=(2, 3)) + eps).sqrt()


def mix_styles(x: Tensor, mean_bc: Tensor, deviation_bc: Tensor, share_b: Tensor, eps: float = 1e-6) -> Tensor:
    """Return x [B, C, h, w] with `share_b` [B] of its own style and the rest of the style that is given [B, C]."""
    own_mean, own_deviation = style(x, eps)
    share = share_b[:, None].to(own_mean.dtype)
    scale = share + (1 - share) * deviation_bc / own_deviation
    shift = (1 - share) * mean_bc + share * own_mean - own_mean * scale
    return x * scale[:, :, None, None].to(x.dtype) + shift[:, :, None, None].to(x.dtype)
