"""OSNet against its published size and names, and a block by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from reidkit.model.backbones.osnet import ConvNorm, LightConv, OSBlock, OSNet
from reidkit.model.blocks import MixStyle, SqueezeExcite


def meta(name: str) -> OSNet:
    with torch.device("meta"):
        return OSNet(name).eval()


# torchreid prints parameters, with the layer to 512 and the gate of each block once for each of its four streams, and
# multiply-adds of a 256x128 image, in millions.
@pytest.mark.parametrize(
    ("name", "printed", "multiply_adds"),
    [
        ("osnet-x1_0", 2_193_616, 978.9),
        ("osnet-x0_75", None, 571.8),
        ("osnet-x0_5", None, 272.9),
        ("osnet-x0_25", 203_568, 82.3),
        ("osnet-ain-x1_0", 2_193_616, 978.9),
    ],
)
def test_size_is_the_published_one(name: str, printed: int | None, multiply_adds: float) -> None:
    network = meta(name)
    gates = sum(
        p.numel() for module in network.modules() if isinstance(module, SqueezeExcite) for p in module.parameters()
    )
    embedding = (network.channels + 3) * 512  # linear, with a bias, and a batch norm
    if printed:
        assert sum(p.numel() for p in network.parameters()) + 3 * gates + embedding == printed
    counter = FlopCounterMode(display=False)
    with counter:
        network(torch.empty(1, 3, 256, 128, device="meta"))
    found = counter.get_total_flops() / 2e6 + network.channels * 512 / 1e6
    assert found == pytest.approx(multiply_adds, rel=1e-3)


def test_size_of_the_smallest_to_the_unit() -> None:
    assert sum(p.numel() for p in meta("osnet-x0_25").parameters()) == 134_792


def test_names_are_those_of_torchreid() -> None:
    plain, ain = set(meta("osnet-x1_0").state_dict()), set(meta("osnet-ain-x1_0").state_dict())
    assert {
        "conv1.conv.weight", "conv1.bn.running_mean", "conv2.0.conv2a.conv1.weight", "conv2.1.conv2d.3.bn.weight",
        "conv2.0.gate.fc1.bias", "conv2.0.downsample.conv.weight", "conv2.2.0.conv.weight", "conv3.2.0.bn.weight",
        "conv4.1.conv3.bn.running_var", "conv5.bn.weight",
    } <= plain  # fmt: skip
    assert {
        "conv1.bn.weight", "conv2.0.conv2.3.layers.3.conv2.weight", "conv2.0.IN.weight", "pool2.0.conv.weight",
        "conv3.1.IN.bias", "conv4.0.IN.weight", "conv3.0.conv3.bn.weight",
    } <= ain  # fmt: skip
    assert not {"conv3.0.IN.weight", "conv4.1.IN.weight", "conv2.0.conv3.bn.weight", "conv1.bn.running_mean"} & ain
    assert "conv2.0.IN.weight" in set(meta("osnet-ibn-x1_0").state_dict())


def test_a_map_of_16_by_8_with_512_channels() -> None:
    network = meta("osnet-x1_0")
    assert network(torch.empty(1, 3, 256, 128, device="meta")).shape == (1, 512, 16, 8)


def test_a_gate_of_zeros_halves_all_streams() -> None:
    """sigmoid(0) = 1/2, for all four alike, as the gate is one: the branch is conv3 of half their sum."""
    block = OSBlock(8, 8, "batch").eval()
    for parameter in block.gate.parameters():
        nn.init.zeros_(parameter)
    x = torch.rand(2, 8, 4, 3)
    y = block.conv1(x)
    streams = [getattr(block, f"conv2{letter}")(y) for letter in "abcd"]
    torch.testing.assert_close(block(x), torch.relu(block.conv3(torch.stack(streams).sum(0) / 2) + x))


def test_a_light_convolution_is_a_sum_over_channels_and_then_over_places() -> None:
    """1x1 adds both channels up in each; ones in 3x3 add the nine around: in the middle of 3x3 ones, 2 x 9."""
    light = LightConv(2).eval()
    for convolution in (light.conv1, light.conv2):
        nn.init.ones_(convolution.weight)
    light.bn.eps = 0.0
    assert light(torch.ones(1, 2, 3, 3))[0, 0, 1, 1] == 18


def test_the_instance_norm_of_ain_stands_in_the_residual() -> None:
    block = OSBlock(8, 8, "instance", ain_names=True).eval()
    assert block.conv3.bn is None
    nn.init.zeros_(block.IN.weight)  # type: ignore[union-attr]
    x = torch.rand(2, 8, 4, 3)
    torch.testing.assert_close(block(x), x)


def test_the_instance_norm_of_ibn_stands_behind_the_sum() -> None:
    block = OSBlock(8, 8, "both").eval()
    nn.init.zeros_(block.IN.weight)  # type: ignore[union-attr]
    assert not block(torch.rand(2, 8, 4, 3)).any()


def test_styles_are_mixed_behind_conv2_and_conv3() -> None:
    network = OSNet("osnet-x0_25", mixstyle=0.5)
    found = [name for name, module in network.named_modules() if isinstance(module, MixStyle)]
    assert found == ["conv2.1.after", "conv3.1.after"]
    assert set(network.state_dict()) == set(OSNet("osnet-x0_25").state_dict())


def test_the_stem_halves() -> None:
    assert ConvNorm(3, 8, 7)(torch.rand(1, 3, 32, 16)).shape == (1, 8, 16, 8)
