"""What stands behind the stages of a backbone: cases by hand, the definition, and that it begins as nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from reidkit import recipe
from reidkit.errors import UsageError
from reidkit.model.backbones.hacnn import HACNN
from reidkit.model.backbones.osnet import OSNet
from reidkit.model.backbones.resnet import ResNet, resnet50
from reidkit.model.blocks import FullAttention, InstanceNorm, MixStyle, NonLocal, mix_styles
from reidkit.model.chance import Place, placed, reseed
from reidkit.model.network import build_network
from reidkit.model.weights import load_backbone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def ones(block: nn.Module) -> None:
    """All convolutions 1, without a bias."""
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]


def test_an_instance_norm_by_hand() -> None:
    """Places 1 and 3 have mean 2 and deviation 1, so do 5 and 7 of another image: -1 and 1 for both."""
    norm = InstanceNorm(1)
    norm.eps = 0.0
    x = torch.tensor([[1.0, 3.0], [5.0, 7.0]]).view(2, 1, 2, 1)
    assert norm(x).flatten().tolist() == [-1, 1, -1, 1]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_an_instance_norm_is_that_of_torch(layout: torch.memory_format) -> None:
    ours, theirs = InstanceNorm(5), nn.InstanceNorm2d(5, affine=True)
    nn.init.uniform_(ours.weight, 0.5, 2)
    nn.init.normal_(ours.bias)
    theirs.load_state_dict(ours.state_dict())
    one, two = (torch.randn(3, 5, 4, 2, generator=torch.Generator().manual_seed(0)) for _ in range(2))
    one, two = (x.to(memory_format=layout).requires_grad_() for x in (one, two))
    torch.testing.assert_close(ours(one), theirs(two))
    ours(one).square().sum().backward()
    theirs(two).square().sum().backward()
    torch.testing.assert_close(one.grad, two.grad)


def test_a_non_local_block_by_hand() -> None:
    """One channel, theta = phi = g = 1, x = (1, 3): y_i = x_i (1 + 9)/2 = 5, 15. At the start the output is x."""
    block, x = NonLocal(1, 1).eval(), torch.tensor([1.0, 3.0]).view(1, 1, 2, 1)
    assert torch.equal(block(x), x)
    ones(block)
    nn.init.ones_(block.W[1].weight)  # type: ignore[arg-type]
    block.W[1].eps = 0.0  # type: ignore[assignment]
    torch.testing.assert_close(block(x).flatten(), torch.tensor([6.0, 18.0]))


def test_a_non_local_block_is_its_definition() -> None:
    block, x = NonLocal(6).eval(), torch.randn(2, 6, 3, 2)
    nn.init.ones_(block.W[1].weight)  # type: ignore[arg-type]
    g, theta, phi = (conv(x).flatten(2) for conv in (block.g, block.theta, block.phi))
    wanted = torch.zeros_like(g)
    for b in range(2):
        for i in range(6):
            for j in range(6):
                wanted[b, :, i] += (theta[b, :, i] @ phi[b, :, j]) * g[b, :, j] / 6
    torch.testing.assert_close(block(x), x + block.W(wanted.unflatten(2, (3, 2))))


def test_attention_by_hand() -> None:
    """z = conv(relu(conv(x))) = 0 at the start, so that the factor is 1; for z = ln 3 it is 2 * 3/4 = 1.5."""
    block, x = FullAttention(16).eval(), torch.rand(2, 16, 3, 2)
    assert torch.equal(block(x), x)
    nn.init.constant_(block.conv2.bias, torch.log(torch.tensor(3.0)).item())  # type: ignore[arg-type]
    torch.testing.assert_close(block(x), 1.5 * x)


def test_mixed_styles_by_hand() -> None:
    """(1, 3) with a quarter of its own style, three quarters of that of (10, 30): (7.75, 23.25)."""
    x = torch.tensor([1.0, 3.0]).view(1, 1, 2, 1)
    partner = torch.tensor([10.0, 30.0])
    mixed = mix_styles(x, partner.mean().view(1, 1), partner.std().view(1, 1), torch.tensor([0.25]), eps=0.0)
    torch.testing.assert_close(mixed.flatten(), torch.tensor([7.75, 23.25]))


def mixing(probability: float = 1.0) -> MixStyle:
    block = MixStyle(probability).train()
    reseed(block, 0, 0)
    return block


def test_styles_are_those_of_images_of_the_batch() -> None:
    """Each mixed mean lies between its own and that of one partner; the partners are a permutation."""
    x = torch.randn(6, 1, 8, 8) * 0.01 + torch.arange(6.0).view(6, 1, 1, 1)
    block = mixing()
    means, share = block(x).mean((1, 2, 3)), block.of_batch(block._betas, x, stream=1)
    partners = (means - share * torch.arange(6.0)) / (1 - share)
    certain = share < 0.9
    assert int(certain.sum()) >= 2
    torch.testing.assert_close(partners[certain], partners[certain].round(), rtol=0, atol=0.05)
    assert not torch.allclose(means, torch.arange(6.0), atol=0.05)


def test_no_gradient_goes_through_a_style() -> None:
    """With them fixed the output is linear in x: its gradient is the scale, for each channel one number."""
    x = torch.randn(4, 2, 3, 3, requires_grad=True)
    mixing()(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, x.grad[:, :, :1, :1].expand_as(x))


def test_nothing_is_mixed_in_evaluation_or_with_probability_0() -> None:
    x = torch.randn(4, 2, 3, 3)
    assert mixing(0.0)(x) is x
    assert mixing().eval()(x) is x


def test_every_other_batch_is_mixed() -> None:
    block, x = MixStyle(0.5).train(), torch.randn(4, 2, 3, 3)
    mixed = 0
    for step in range(100):
        reseed(block, 0, step)
        mixed += block(x) is not x
    assert 30 < mixed < 70


def test_the_share_of_an_image_is_its_own_whatever_the_parts_are() -> None:
    block, x = mixing(), torch.randn(4, 1, 2, 2)
    whole = block.of_batch(block._betas, x, stream=1)
    with placed(block, Place(2, 4, 1)):
        assert torch.equal(block.of_batch(block._betas, x[2:], stream=1), whole[2:])
    assert ((whole > 0) & (whole < 1)).all()


@pytest.mark.parametrize(
    ("blocks", "millions"), [("nonlocal-as-published", 0.0287), ("nonlocal", 7.36), ("attention", 0.1655)]
)
def test_parameters_of_a_resnet50(blocks: recipe.BlocksName, millions: float) -> None:
    """AGW's five non-local blocks, with one inner channel and with C/2; Mancs' two blocks, C^2/8 + 17/16 C each."""
    with torch.device("meta"):
        plain, with_blocks = (ResNet("resnet50", blocks=name) for name in ("none", blocks))
    added = sum(p.numel() for p in with_blocks.parameters()) - sum(p.numel() for p in plain.parameters())
    assert added / 1e6 == pytest.approx(millions, rel=2e-3)


@pytest.mark.parametrize("blocks", ["nonlocal", "nonlocal-as-published", "attention"])
def test_a_pretrained_network_begins_as_it_was(blocks: recipe.BlocksName, tmp_path: Path) -> None:
    """Its weights fit under their names, and the map is the same; only what came in the file counts as filled."""
    plain = build_network(recipe.Network(backbone="resnet18", width=0.125))
    torch.save(plain.backbone.state_dict(), tmp_path / "plain.pth")
    network = build_network(recipe.Network(backbone="resnet18", width=0.125, blocks=blocks, mixstyle=0.5))
    load_backbone(network, tmp_path / "plain.pth")
    images = torch.randn(2, 3, 64, 32)
    assert torch.equal(network.eval().backbone(images), plain.eval().backbone(images))
    others = {name for name, _ in network.named_parameters()} - network.filled
    assert others
    assert all(".after." in name for name in others)


def test_where_they_stand() -> None:
    """Non-local: the last two of layer2 and the last three of layer3; MixStyle behind layer1 and layer2."""
    network = ResNet("resnet50", width=0.125, blocks="nonlocal", mixstyle=0.5)
    named = {name for name, module in network.named_modules() if isinstance(module, NonLocal | MixStyle)}
    assert named == {
        "layer1.2.after", "layer2.2.after", "layer2.3.after.0", "layer2.3.after.1",
        "layer3.3.after", "layer3.4.after", "layer3.5.after",
    }  # fmt: skip


def test_blocks_belong_to_a_resnet_alone() -> None:
    with pytest.raises(UsageError, match=r"network\.blocks must be none"):
        recipe.Network(backbone="osnet-x1_0", blocks="nonlocal")


@pytest.mark.parametrize("make", [resnet50, OSNet, HACNN])
@pytest.mark.parametrize("width", [0, -1.0, math.nan, "0.5", None, True])
def test_a_width_that_is_none(make: Callable[..., nn.Module], width: Any) -> None:
    """0 made 8 channels, and text ended in an error of Python's."""
    with pytest.raises(UsageError, match="width"):
        make(width=width)
