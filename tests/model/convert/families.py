"""A state dict of each family, and what its project's network makes of images in [0, 1]: features [B, D]."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F

from tests.model.convert.theirs import (
    DEEP,
    Maker,
    block,
    conv,
    gem,
    imagenet,
    layer_norm,
    linear,
    norm,
    resnet,
    stem,
    tokens,
    transformer_block,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    State = dict[str, Tensor]


class Case(NamedTuple):
    """What a file of a family holds, what its network computes, and the size that reidkit has to take its images in."""

    state: State
    forward: Callable[[State, Tensor], Tensor]
    size: tuple[int, int] = (256, 128)
    resize: str = "bilinear"


def strong_baseline() -> Case:
    """No ReLU in the stem, last stride 1, batch norm as the neck."""
    make = Maker()
    dim = make.resnet("base.")
    make.norm("bottleneck", dim)
    make.linear("classifier", 5, dim, bias=False)

    def forward(s: State, pixels: Tensor) -> Tensor:
        found = resnet(s, "base.", imagenet(pixels), last=1, relu=False).mean((2, 3))
        return norm(s, "bottleneck", found)

    return Case(make.state, forward)


def strong_baseline_ibn() -> Case:
    """IBN-a has the ReLU; without a neck."""
    make = Maker()
    dim = make.resnet("base.", DEEP, ibn=True)
    make.linear("classifier", 5, dim)
    make.linear("base.fc", 5, dim)
    return Case(make.state, lambda s, x: resnet(s, "base.", imagenet(x), last=1).mean((2, 3)))


def agw() -> Case:
    """Non-local blocks of one channel, a mean of powers, and no ReLU in the stem."""
    make = Maker()
    dim = make.resnet("base.", DEEP, nonlocal_="published")
    make.state["global_pool.p"] = torch.tensor([2.7])
    make.norm("bottleneck", dim)
    make.linear("classifier", 5, dim, bias=False)

    def forward(s: State, pixels: Tensor) -> Tensor:
        found = resnet(s, "base.", imagenet(pixels), last=1, relu=False)
        return norm(s, "bottleneck", gem(found, s["global_pool.p"]))

    return Case(make.state, forward)


def fast_reid_bot() -> Case:
    """Max pooling without padding, rounded up; a BN behind the mean."""
    make = Maker()
    dim = make.resnet("backbone.")
    make.norm("heads.bottleneck.0", dim)
    make.tensor("heads.weight", 5, dim)
    make.state["pixel_mean"] = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)
    make.state["pixel_std"] = torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1)

    def forward(s: State, pixels: Tensor) -> Tensor:
        found = resnet(s, "backbone.", imagenet(pixels), last=1, ceil=True).mean((2, 3))
        return norm(s, "heads.bottleneck.0", found)

    return Case(
        {f"model.{name}": tensor for name, tensor in make.state.items()},
        under("model.", forward),
        (256, 128),
        "bicubic",
    )


def fast_reid_agw() -> Case:
    """Non-local blocks, a mean of powers, and an embedding that is a convolution without a shift."""
    make = Maker()
    dim = make.resnet("backbone.", DEEP, nonlocal_="published", ibn=True)
    make.state["heads.pool_layer.p"] = torch.tensor([3.2])
    make.conv("heads.bottleneck.0", 16, dim)
    make.norm("heads.bottleneck.1", 16)
    make.tensor("heads.weight", 5, 16)

    def forward(s: State, pixels: Tensor) -> Tensor:
        found = gem(resnet(s, "backbone.", imagenet(pixels), last=1, ceil=True), s["heads.pool_layer.p"])
        return norm(s, "heads.bottleneck.1", conv(s, "heads.bottleneck.0", found[:, :, None, None])[:, :, 0, 0])

    return Case(make.state, forward, (256, 128), "bicubic")


def fast_reid_se() -> Case:
    """Squeeze and excitation of linear layers without a shift; an older name of the neck."""
    make = Maker()
    dim = make.resnet("backbone.", DEEP, base=16)
    for stage, depth in enumerate(DEEP, 1):
        for number in range(depth):
            name, channels = f"backbone.layer{stage}.{number}.se.fc", 64 << (stage - 1)
            make.linear(f"{name}.0", channels // 16, channels, bias=False)
            make.linear(f"{name}.2", channels, channels // 16, bias=False)
    make.norm("heads.bnneck", dim)
    make.linear("heads.classifier", 5, dim, bias=False)

    def forward(s: State, pixels: Tensor) -> Tensor:
        found = resnet(s, "backbone.", imagenet(pixels), last=1, ceil=True).mean((2, 3))
        return norm(s, "heads.bnneck", found)

    return Case(make.state, forward, (256, 128), "bicubic")


MGN_HEADS = ("b1", "b2", "b21", "b22", "b3", "b31", "b32", "b33")


def fast_reid_mgn() -> Case:
    """Three copies of the last blocks, whole, in halves and in thirds; the order of the parts is reidkit's."""
    make, trunk = Maker(), Maker(1)
    trunk.resnet("", DEEP)
    named = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3.0": "6"}
    for ours, theirs in named.items():
        own = {name: tensor for name, tensor in trunk.state.items() if name.startswith(f"{ours}.")}
        make.state |= {f"backbone.{theirs}.{name.removeprefix(ours + '.')}": tensor for name, tensor in own.items()}
    for branch in ("b1", "b2", "b3"):
        for number in range(5):
            make.block(f"{branch}.0.{number}", 128, 32, deep=True, first=False)
        for number in range(3):
            make.block(f"{branch}.1.{number}", 128 if number == 0 else 256, 64, deep=True, first=number == 0)
    for head in MGN_HEADS:
        make.state[f"{head}_head.pool_layer.p"] = torch.tensor([3.0])
        make.conv(f"{head}_head.bottleneck.0", 8, 256)
        make.norm(f"{head}_head.bottleneck.1", 8)
        make.tensor(f"{head}_head.weight", 5, 8)

    return Case(make.state, _mgn_forward, (384, 128), "bicubic")


def _mgn_forward(s: State, pixels: Tensor) -> Tensor:
    x = stem(s, "backbone.0", "backbone.1", imagenet(pixels), relu=True, ceil=True)
    x = _mgn_blocks(s, "backbone.5", _mgn_blocks(s, "backbone.4", x, 3, 1), 4, 2)
    x = block(s, "backbone.6", x, 2)
    maps = {b: _mgn_blocks(s, f"{b}.1", _mgn_blocks(s, f"{b}.0", x, 5, 1), 3, 1) for b in ("b1", "b2", "b3")}
    views = dict(maps)
    views |= {f"b2{i}": part for i, part in enumerate(maps["b2"].chunk(2, dim=2), 1)}
    views |= {f"b3{i}": part for i, part in enumerate(maps["b3"].chunk(3, dim=2), 1)}
    found = []
    for head in MGN_HEADS:
        pooled = gem(views[head], s[f"{head}_head.pool_layer.p"])[:, :, None, None]
        found.append(norm(s, f"{head}_head.bottleneck.1", conv(s, f"{head}_head.bottleneck.0", pooled)[:, :, 0, 0]))
    return torch.cat(found, dim=1)


def _mgn_blocks(s: State, name: str, x: Tensor, depth: int, stride: int) -> Tensor:
    for number in range(depth):
        x = block(s, f"{name}.{number}", x, 1 if number else stride)
    return x


def layumi() -> Case:
    """An embedding with a shift, and a BN; last stride 2."""
    make = Maker()
    dim = make.resnet("model.")
    make.linear("model.fc", 5, dim)
    make.linear("classifier.add_block.0", 16, dim)
    make.norm("classifier.add_block.1", 16)
    make.linear("classifier.classifier.0", 5, 16)

    def forward(s: State, pixels: Tensor) -> Tensor:
        found = resnet(s, "model.", imagenet(pixels), last=2).mean((2, 3))
        return norm(s, "classifier.add_block.1", linear(s, "classifier.add_block.0", found))

    return Case(make.state, forward, (256, 128), "bicubic")


def layumi_pcb() -> Case:
    """Six stripes, each with an embedding and a BN; last stride 1."""
    make = Maker()
    dim = make.resnet("model.")
    for part in range(6):
        make.linear(f"classifier{part}.add_block.0", 8, dim)
        make.norm(f"classifier{part}.add_block.1", 8)
        make.linear(f"classifier{part}.classifier.0", 5, 8)

    def forward(s: State, pixels: Tensor) -> Tensor:
        parts = F.adaptive_avg_pool2d(resnet(s, "model.", imagenet(pixels), last=1), (6, 1))[:, :, :, 0]
        found = [linear(s, f"classifier{i}.add_block.0", parts[:, :, i]) for i in range(6)]
        return torch.cat([norm(s, f"classifier{i}.add_block.1", each) for i, each in enumerate(found)], dim=1)

    return Case(make.state, forward, (384, 192), "bicubic")


def torchreid() -> Case:
    """resnet50: the pooled map, last stride 2."""
    make = Maker()
    dim = make.resnet("")
    make.linear("classifier", 5, dim)
    state = {f"module.{name}": tensor for name, tensor in make.state.items()}
    return Case(state, under("module.", lambda s, x: resnet(s, "", imagenet(x), last=2).mean((2, 3))))


def torchreid_fc512() -> Case:
    """resnet50_fc512: linear, BN, ReLU; last stride 1."""
    make = Maker()
    dim = make.resnet("")
    make.linear("fc.0", 16, dim)
    make.norm("fc.1", 16)
    make.linear("classifier", 5, 16)

    def forward(s: State, pixels: Tensor) -> Tensor:
        found = resnet(s, "", imagenet(pixels), last=1).mean((2, 3))
        return norm(s, "fc.1", linear(s, "fc.0", found)).relu()

    return Case(make.state, forward)


def torchvision() -> Case:
    make = Maker()
    make.linear("fc", 5, make.resnet(""))
    return Case(make.state, lambda s, x: resnet(s, "", imagenet(x), last=2).mean((2, 3)))


def pretraining() -> Case:
    """MoCo's query encoder; the key encoder and the queue are of no use."""
    make, other = Maker(), Maker(1)
    dim = make.resnet("encoder_q.")
    make.linear("encoder_q.fc.0", 8, dim)
    other.resnet("encoder_k.")
    state = {f"state_dict.module.{name}": tensor for name, tensor in (other.state | make.state).items()}
    state["state_dict.module.queue"] = torch.zeros(8, 4)
    start = "state_dict.module.encoder_q."
    return Case(state, lambda s, x: resnet(s, start, imagenet(x), last=2).mean((2, 3)))


def transreid() -> Case:
    """The class token behind the last norm, BN; images (x - 0.5) / 0.5; without a camera the mean embedding."""
    make = Maker()
    make.transformer("base.", 8)
    make.tensor("base.sie_embed", 3, 1, 192, scale=0.1)
    make.linear("base.fc", 5, 192)
    make.norm("bottleneck", 192)
    make.linear("classifier", 5, 192, bias=False)

    def forward(s: State, pixels: Tensor) -> Tensor:
        x = tokens(s, "base.", pixels) + 3.0 * s["base.sie_embed"].mean(0)
        for number in range(12):
            x = transformer_block(s, f"base.blocks.{number}", x)
        return norm(s, "bottleneck", layer_norm(s, "base.norm", x)[:, 0])

    return Case(make.state, forward, (64, 32))


def transreid_jpm() -> Case:
    """The tokens before the last block go through one copy of it whole, and through another in four quarters."""
    make = Maker()
    make.transformer("base.", 8)
    for branch in ("b1", "b2"):
        make.transformer_block(f"{branch}.0", 192)
        make.affine(f"{branch}.1", 192)
    for end in ("", "_1", "_2", "_3", "_4"):
        make.norm(f"bottleneck{end}", 192)
        make.linear(f"classifier{end}", 5, 192, bias=False)

    def forward(s: State, pixels: Tensor) -> Tensor:
        x = tokens(s, "base.", pixels)
        for number in range(11):
            x = transformer_block(s, f"base.blocks.{number}", x)
        whole = layer_norm(s, "b1.1", transformer_block(s, "b1.0", x))[:, 0]
        order = torch.tensor([5, 1, 6, 2, 7, 3, 8, 4])  # moved by 4 (5..8, 1..4), dealt out from two halves in turn
        found = [norm(s, "bottleneck", whole)]
        for part in range(4):
            some = torch.cat([x[:, :1], x[:, order[2 * part : 2 * part + 2]]], dim=1)
            token = layer_norm(s, "b2.1", transformer_block(s, "b2.0", some))[:, 0]
            found.append(norm(s, f"bottleneck_{part + 1}", token) / 4)
        return torch.cat(found, dim=1)

    return Case(make.state, forward, (64, 32))


def timm_vit() -> Case:
    make = Maker()
    make.transformer("", 8)
    make.linear("head", 5, 192)

    def forward(s: State, pixels: Tensor) -> Tensor:
        x = tokens(s, "", pixels)
        for number in range(12):
            x = transformer_block(s, f"blocks.{number}", x)
        return layer_norm(s, "norm", x)[:, 0]

    return Case(make.state, forward, (64, 32))


def osnet(*, ain: bool) -> Case:
    """OSNet x0.25: four streams through one gate in each block; AIN with instance norms in the residual branch."""
    make, widths = Maker(), (16, 64, 96, 128)
    instance = ((True, True), (False, True), (True, False)) if ain else ((False, False),) * 3
    make.conv("conv1.conv", 16, 3, 7)
    (make.affine if ain else make.norm)("conv1.bn", 16)
    for number, out in enumerate(widths[1:], 2):
        for i in range(2):
            _os_block(
                make, f"conv{number}.{i}", widths[number - 2] if i == 0 else out, out, instance[number - 2][i], ain
            )
        if number < 4:
            half = f"pool{number}.0" if ain else f"conv{number}.2.0"
            make.conv(f"{half}.conv", out, out)
            make.norm(f"{half}.bn", out)
    make.conv("conv5.conv", 128, 128)
    make.norm("conv5.bn", 128)
    make.linear("fc.0", 512, 128)
    make.norm("fc.1", 512)
    make.linear("classifier", 5, 512)

    def forward(s: State, pixels: Tensor) -> Tensor:
        x = norm(s, "conv1.bn", conv(s, "conv1.conv", imagenet(pixels), 2, 3)).relu()
        x = F.max_pool2d(x, 3, 2, 1)
        for number in range(2, 5):
            for i in range(2):
                x = _os_forward(s, f"conv{number}.{i}", x)
            if number < 4:
                half = f"pool{number}.0" if ain else f"conv{number}.2.0"
                x = F.avg_pool2d(norm(s, f"{half}.bn", conv(s, f"{half}.conv", x)).relu(), 2)
        x = norm(s, "conv5.bn", conv(s, "conv5.conv", x)).relu().mean((2, 3))
        return norm(s, "fc.1", linear(s, "fc.0", x)).relu()

    return Case(make.state, forward)


def _streams(name: str, ain: bool) -> list[list[str]]:
    """The names of the light convolutions of each stream."""
    if ain:
        return [[f"{name}.conv2.{i}.layers.{j}" for j in range(i + 1)] for i in range(4)]
    return [[f"{name}.conv2a"], *([f"{name}.conv2{letter}.{j}" for j in range(i)] for i, letter in enumerate("bcd", 2))]


def _os_block(make: Maker, name: str, channels: int, out: int, instance: bool, ain: bool) -> None:
    inner = out // 4
    make.conv(f"{name}.conv1.conv", inner, channels)
    make.norm(f"{name}.conv1.bn", inner)
    for stream in _streams(name, ain):
        for light in stream:
            make.conv(f"{light}.conv1", inner, inner)
            make.tensor(f"{light}.conv2.weight", inner, 1, 3, 3, scale=0.4)
            make.norm(f"{light}.bn", inner)
    make.conv(f"{name}.gate.fc1", max(1, inner // 16), inner, bias=True)
    make.conv(f"{name}.gate.fc2", inner, max(1, inner // 16), bias=True)
    make.conv(f"{name}.conv3.conv", out, inner)
    if instance:
        make.affine(f"{name}.IN", out)
    else:
        make.norm(f"{name}.conv3.bn", out)
    if channels != out:
        make.conv(f"{name}.downsample.conv", out, channels)
        make.norm(f"{name}.downsample.bn", out)


def _os_forward(s: State, name: str, x: Tensor) -> Tensor:
    first = norm(s, f"{name}.conv1.bn", conv(s, f"{name}.conv1.conv", x)).relu()
    total = torch.zeros_like(first)
    for stream in _streams(name, f"{name}.conv2.0.layers.0.conv1.weight" in s):
        y = first
        for light in stream:
            y = conv(s, f"{light}.conv2", conv(s, f"{light}.conv1", y), 1, 1, groups=y.shape[1])
            y = norm(s, f"{light}.bn", y).relu()
        scale = conv(s, f"{name}.gate.fc2", conv(s, f"{name}.gate.fc1", y.mean((2, 3), keepdim=True)).relu())
        total = total + y * scale.sigmoid()
    y = conv(s, f"{name}.conv3.conv", total)
    y = norm(s, f"{name}.IN" if f"{name}.IN.weight" in s else f"{name}.conv3.bn", y)
    if f"{name}.downsample.conv.weight" in s:
        x = norm(s, f"{name}.downsample.bn", conv(s, f"{name}.downsample.conv", x))
    return (x + y).relu()


def under(prefix: str, forward: Callable[[State, Tensor], Tensor]) -> Callable[[State, Tensor], Tensor]:
    """The same of tensors under a prefix."""
    return lambda s, x: forward({name.removeprefix(prefix): tensor for name, tensor in s.items()}, x)


CASES: dict[str, Callable[[], Case]] = {
    "strong-baseline": strong_baseline,
    "strong-baseline ibn": strong_baseline_ibn,
    "agw": agw,
    "fast-reid": fast_reid_bot,
    "fast-reid agw": fast_reid_agw,
    "fast-reid se": fast_reid_se,
    "fast-reid-mgn": fast_reid_mgn,
    "layumi": layumi,
    "layumi-pcb": layumi_pcb,
    "torchreid": torchreid,
    "torchreid fc512": torchreid_fc512,
    "torchvision": torchvision,
    "pretraining": pretraining,
    "transreid": transreid,
    "transreid jpm": transreid_jpm,
    "timm-vit": timm_vit,
    "torchreid-osnet": lambda: osnet(ain=False),
    "torchreid-osnet ain": lambda: osnet(ain=True),
}
"""A case of each family, by the family's name and what is special about it."""
