"""HA-CNN against its published size and its windows by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from reidkit.model.backbones.hacnn import HACNN, SCALE, HardAttention, SpatialAttention, windows


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_size_is_the_published_one() -> None:
    """With both layers to 512: 4.5 million as torchreid prints it, which counts what four windows share four times.

    3.7 million with the classifiers of 751 ids, and each parameter once. 1.0 GFLOP at 160x64.
    """
    with torch.device("meta"):
        network = HACNN().eval()
    whole = size(network) + (network.channels + 3) * 512 + (4 * network.channels + 3) * 512
    shared = sum(size(module) for name, module in network.named_children() if name.startswith("local_conv"))
    assert round((whole + 3 * shared) / 1e6, 1) == 4.5
    assert round((whole + 2 * 513 * 751) / 1e6, 1) == 3.7
    counter = FlopCounterMode(display=False)
    with counter:
        assert network(torch.empty(1, 3, 160, 64, device="meta")).shape == (1, 384, 1, 5)
    assert counter.get_total_flops() / 1e9 == pytest.approx(1.0, abs=0.1)


def test_names_are_those_of_torchreid() -> None:
    with torch.device("meta"):
        names = set(HACNN().state_dict())
    assert {
        "conv.conv.bias", "inception1.0.stream1.1.conv.weight", "inception3.1.stream3.1.bn.weight",
        "ha2.soft_attn.spatial_attn.conv2.bn.running_var", "ha2.soft_attn.channel_attn.conv1.conv.weight",
        "ha3.hard_attn.fc.bias", "local_conv2.stream2.2.conv.weight",
    } <= names  # fmt: skip


def test_windows_begin_at_the_tanh_of_their_biases() -> None:
    """At +-0.635 and +-0.245, and not at the quarters, which +-0.973 and +-0.255 would give."""
    places = HardAttention(8)(torch.randn(2, 8, 3, 3))
    assert places[1, :, 1].tolist() == pytest.approx([-0.635149, -0.244919, 0.244919, 0.635149], abs=1e-6)
    assert not places[..., 0].any()
    assert [math.atanh(0.75), math.atanh(0.25)] == pytest.approx([0.972955, 0.255413], abs=1e-6)


def test_a_window_sees_a_quarter_of_a_ramp() -> None:
    """Rows 0..8 in [-1, 1]; a window at y = 0.5 is from 0.5 - 0.25 to 0.5 + 0.25: rows 5 to 7, full width."""
    assert SCALE == (1.0, 0.25)
    ramp = torch.arange(9.0).view(1, 1, 9, 1).expand(1, 1, 9, 4)
    seen = windows(ramp, torch.tensor([[[0.0, 0.5]]]).expand(1, 4, 2), (3, 4))
    torch.testing.assert_close(seen[2, 0], torch.tensor([5.0, 6.0, 7.0])[:, None].expand(3, 4))


def test_the_windows_of_an_image_stay_with_it() -> None:
    network = HACNN(0.25).eval()
    images = torch.randn(3, 3, 160, 64)
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]), rtol=1e-4, atol=1e-5)


def test_a_region_moves_with_its_place_alone() -> None:
    """Another place of the last window in the last stage changes the fifth place of the map and no other."""
    network, images = HACNN(0.25).eval(), torch.randn(1, 3, 160, 64)
    before = network(images)
    network.get_parameter("ha3.hard_attn.fc.bias").data[7] = 0.0
    changed = (network(images) != before).any(dim=1).flatten()
    assert changed.tolist() == [False, False, False, False, True]


@pytest.mark.parametrize("size", [(5, 3), (6, 4)])
def test_the_spatial_attention_has_the_size_of_its_map(size: tuple[int, int]) -> None:
    assert SpatialAttention().eval()(torch.randn(2, 8, *size)).shape == (2, 1, *size)
