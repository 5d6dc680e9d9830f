"""Other projects' weights, made up, with the names and shapes that they have; and what those projects compute of them.

Each forward is written from the description of the network, with functions alone, and shares nothing with reidkit's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    State = dict[str, Tensor]
    Forward = Callable[[State, Tensor], Tensor]

MEAN, STD = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
SHALLOW, DEEP = (2, 2, 2, 2), (3, 4, 6, 3)


class Maker:
    """Makes tensors under names; every statistic differs from a fresh layer's, so that a lost one is noticed."""

    def __init__(self, seed: int = 0) -> None:
        self.state: State = {}
        self.generator = torch.Generator().manual_seed(seed)

    def tensor(self, name: str, *shape: int, scale: float = 1.0) -> None:
        self.state[name] = scale * torch.randn(shape, generator=self.generator)

    def conv(self, name: str, out: int, channels: int, size: int = 1, *, bias: bool = False) -> None:
        self.tensor(f"{name}.weight", out, channels, size, size, scale=(2 / (channels * size * size)) ** 0.5)
        if bias:
            self.tensor(f"{name}.bias", out, scale=0.1)

    def linear(self, name: str, out: int, channels: int, *, bias: bool = True) -> None:
        self.tensor(f"{name}.weight", out, channels, scale=channels**-0.5)
        if bias:
            self.tensor(f"{name}.bias", out, scale=0.1)

    def affine(self, name: str, channels: int) -> None:
        self.state[f"{name}.weight"] = 1 + 0.2 * torch.rand(channels, generator=self.generator)
        self.tensor(f"{name}.bias", channels, scale=0.1)

    def norm(self, name: str, channels: int) -> None:
        self.affine(name, channels)
        self.tensor(f"{name}.running_mean", channels, scale=0.1)
        self.state[f"{name}.running_var"] = 0.5 + torch.rand(channels, generator=self.generator)
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def norm_a(self, name: str, channels: int, *, ibn: bool) -> None:
        """IBN-a: instance norm for the first half."""
        if not ibn:
            self.norm(name, channels)
            return
        self.affine(f"{name}.IN", channels // 2)
        self.norm(f"{name}.BN", channels - channels // 2)

    def block(self, name: str, channels: int, width: int, *, deep: bool, first: bool, ibn: bool = False) -> int:
        out = 4 * width if deep else width
        sizes = (
            [(channels, width, 1), (width, width, 3), (width, out, 1)]
            if deep
            else [(channels, width, 3), (width, out, 3)]
        )
        for number, (before, after, size) in enumerate(sizes, 1):
            self.conv(f"{name}.conv{number}", after, before, size)
            self.norm_a(f"{name}.bn{number}", after, ibn=ibn and number == 1)
        if first:
            self.conv(f"{name}.downsample.0", out, channels)
            self.norm(f"{name}.downsample.1", out)
        return out

    def resnet(
        self, prefix: str, depths: Sequence[int] = SHALLOW, *, base: int = 8, ibn: bool = False, nonlocal_: str = ""
    ) -> int:
        deep, channels = depths == DEEP, base
        self.conv(f"{prefix}conv1", base, 3, 7)
        self.norm(f"{prefix}bn1", base)
        for stage, depth in enumerate(depths, 1):
            width = base << (stage - 1)
            for number in range(depth):
                first = number == 0 and (deep or stage > 1)
                name = f"{prefix}layer{stage}.{number}"
                channels = self.block(name, channels, width, deep=deep, first=first, ibn=ibn and stage < 4)
            for number in range({2: 2, 3: 3}.get(stage, 0) if nonlocal_ else 0):
                self.nonlocal_block(f"{prefix}NL_{stage}.{number}", channels)
        return channels

    def nonlocal_block(self, name: str, channels: int) -> None:
        for part in ("g", "theta", "phi"):
            self.conv(f"{name}.{part}", 1, channels, bias=True)
            self.state[f"{name}.{part}.weight"] *= 0.05  # their product grows with the cube of the map
        self.conv(f"{name}.W.0", channels, 1, bias=True)
        self.norm(f"{name}.W.1", channels)

    def transformer(self, prefix: str, places: int, dim: int = 192, depth: int = 12) -> None:
        self.tensor(f"{prefix}cls_token", 1, 1, dim, scale=0.1)
        self.tensor(f"{prefix}pos_embed", 1, 1 + places, dim, scale=0.1)
        self.conv(f"{prefix}patch_embed.proj", dim, 3, 16, bias=True)
        for number in range(depth):
            self.transformer_block(f"{prefix}blocks.{number}", dim)
        self.affine(f"{prefix}norm", dim)

    def transformer_block(self, name: str, dim: int) -> None:
        self.affine(f"{name}.norm1", dim)
        self.linear(f"{name}.attn.qkv", 3 * dim, dim)
        self.linear(f"{name}.attn.proj", dim, dim)
        self.affine(f"{name}.norm2", dim)
        self.linear(f"{name}.mlp.fc1", 4 * dim, dim)
        self.linear(f"{name}.mlp.fc2", dim, 4 * dim)


# --- What they compute. A convolution or a norm is found by its name.


def conv(s: State, name: str, x: Tensor, stride: int = 1, padding: int = 0, groups: int = 1) -> Tensor:
    return F.conv2d(x, s[f"{name}.weight"], s.get(f"{name}.bias"), stride, padding, groups=groups)


def norm(s: State, name: str, x: Tensor) -> Tensor:
    """A batch norm in evaluation; IBN-a's pair; or an instance norm, which keeps no statistics."""
    if f"{name}.IN.weight" in s:
        half = len(s[f"{name}.IN.weight"])
        return torch.cat([norm(s, f"{name}.IN", x[:, :half]), norm(s, f"{name}.BN", x[:, half:])], dim=1)
    if f"{name}.running_mean" not in s:
        return F.instance_norm(x, weight=s[f"{name}.weight"], bias=s[f"{name}.bias"])
    mean, var, weight, bias = (s[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, var, weight, bias)


def linear(s: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, s[f"{name}.weight"], s.get(f"{name}.bias"))


def blocks(s: State, name: str) -> int:
    return len({key.split(".")[name.count(".")] for key in s if key.startswith(name)})


def block(s: State, name: str, x: Tensor, stride: int) -> Tensor:
    if f"{name}.conv3.weight" in s:
        y = norm(s, f"{name}.bn1", conv(s, f"{name}.conv1", x)).relu()
        y = norm(s, f"{name}.bn2", conv(s, f"{name}.conv2", y, stride, 1)).relu()
        y = norm(s, f"{name}.bn3", conv(s, f"{name}.conv3", y))
    else:
        y = norm(s, f"{name}.bn1", conv(s, f"{name}.conv1", x, stride, 1)).relu()
        y = norm(s, f"{name}.bn2", conv(s, f"{name}.conv2", y, 1, 1))
    if f"{name}.se.fc.0.weight" in s:
        scale = linear(s, f"{name}.se.fc.2", linear(s, f"{name}.se.fc.0", y.mean((2, 3))).relu())
        y = y * scale.sigmoid()[:, :, None, None]
    if f"{name}.downsample.0.weight" in s:
        x = norm(s, f"{name}.downsample.1", conv(s, f"{name}.downsample.0", x, stride))
    return (x + y).relu()


def nonlocal_block(s: State, name: str, x: Tensor) -> Tensor:
    """x + W(y), y_i the sum over j of (theta_i phi_j / N) g_j, written with the matrix of all pairs."""
    batch, _, height, width = x.shape
    g, theta, phi = (conv(s, f"{name}.{part}", x).flatten(2) for part in ("g", "theta", "phi"))
    pairs_bij = theta.transpose(1, 2) @ phi / (height * width)
    y = (pairs_bij @ g.transpose(1, 2)).transpose(1, 2).reshape(batch, -1, height, width)
    return x + norm(s, f"{name}.W.1", conv(s, f"{name}.W.0", y))


def stages(s: State, prefix: str, x: Tensor, numbers: Sequence[int], last_stride: int) -> Tensor:
    for stage in numbers:
        depth, after = blocks(s, f"{prefix}layer{stage}."), blocks(s, f"{prefix}NL_{stage}.")
        for number in range(depth):
            stride = 1 if number or stage == 1 else last_stride if stage == 4 else 2
            x = block(s, f"{prefix}layer{stage}.{number}", x, stride)
            if number >= depth - after:
                x = nonlocal_block(s, f"{prefix}NL_{stage}.{number - (depth - after)}", x)
    return x


def stem(s: State, conv1: str, bn1: str, x: Tensor, *, relu: bool, ceil: bool) -> Tensor:
    x = norm(s, bn1, conv(s, conv1, x, 2, 3))
    x = x.relu() if relu else x
    return F.max_pool2d(x, 3, 2, 0, ceil_mode=True) if ceil else F.max_pool2d(x, 3, 2, 1)


def resnet(s: State, prefix: str, x: Tensor, *, last: int, relu: bool = True, ceil: bool = False) -> Tensor:
    x = stem(s, f"{prefix}conv1", f"{prefix}bn1", x, relu=relu, ceil=ceil)
    return stages(s, prefix, x, (1, 2, 3, 4), last)


def gem(x: Tensor, p: Tensor) -> Tensor:
    return x.clamp(min=1e-6).pow(p).mean((2, 3)).pow(1 / p)


def imagenet(pixels: Tensor) -> Tensor:
    return (pixels - MEAN) / STD


def transformer_block(s: State, name: str, x: Tensor) -> Tensor:
    dim = x.shape[2]
    heads = dim // 64
    y = F.layer_norm(x, (dim,), s[f"{name}.norm1.weight"], s[f"{name}.norm1.bias"], 1e-6)
    q, k, v = linear(s, f"{name}.attn.qkv", y).chunk(3, dim=2)
    q, k, v = (each.unflatten(2, (heads, 64)).transpose(1, 2) for each in (q, k, v))
    weights = (q @ k.transpose(2, 3) / 8).softmax(3)
    x = x + linear(s, f"{name}.attn.proj", (weights @ v).transpose(1, 2).flatten(2))
    y = F.layer_norm(x, (dim,), s[f"{name}.norm2.weight"], s[f"{name}.norm2.bias"], 1e-6)
    return x + linear(s, f"{name}.mlp.fc2", F.gelu(linear(s, f"{name}.mlp.fc1", y)))


def tokens(s: State, prefix: str, pixels: Tensor, camera: int | None = None) -> Tensor:
    """The tokens before the first block, of images (x - 0.5) / 0.5."""
    x = conv(s, f"{prefix}patch_embed.proj", (pixels - 0.5) / 0.5, 16).flatten(2).transpose(1, 2)
    x = torch.cat([s[f"{prefix}cls_token"].expand(len(x), -1, -1), x], dim=1) + s[f"{prefix}pos_embed"]
    return x if camera is None else x + 3.0 * s[f"{prefix}sie_embed"][camera]


def layer_norm(s: State, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], s[f"{name}.weight"], s[f"{name}.bias"], 1e-6)
