"""What variants of the residual network put into its blocks, named as the weights of their authors name it."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    """Each channel times a number in (0, 1) that the means of all channels decide (Hu et al., arXiv:1709.01507).

    Equations 2 to 4: s = sigmoid(W2 relu(W1 z)), z_c the mean of channel c; W1 leads to a sixteenth of the channels.
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


class InstanceBatchNorm(nn.Module):
    """The first half of the channels normalised image by image, the rest by the batch (Pan et al., arXiv:1807.09441).

    Instance norm takes away what differs from camera to camera, light and tint; what it takes of the person, too, the
    other half keeps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.IN = nn.InstanceNorm2d(channels // 2, affine=True)
        self.BN = nn.BatchNorm2d(channels - channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to the same."""
        own, shared = x.split((self.IN.num_features, self.BN.num_features), dim=1)
        return torch.cat((cast("Tensor", self.IN(own)), cast("Tensor", self.BN(shared))), dim=1)
