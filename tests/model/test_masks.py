"""Masks as more channels of the input: the network begins as the one without them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from reidkit.errors import UsageError, WeightsError
from reidkit.model.masked import mirror
from reidkit.model.network import build_network
from reidkit.model.weights import load_backbone
from reidkit.recipe import Network
from reidkit.recipe.mask_channels import JOINTS, MIRRORED, mask_channels

PLAIN = Network(backbone="resnet18", width=0.125, last_stride=1, neck="bnneck")


def made(recipe, seed=0):
    torch.manual_seed(seed)
    return build_network(recipe).eval()


@pytest.mark.parametrize("kind", ["grey", "labels", "keypoints"])
def test_it_begins_as_the_plain_network_of_the_same_seed(kind):
    recipe = replace(PLAIN, masks=kind)
    plain, masked = made(PLAIN), made(recipe)
    images, maps = torch.randn(2, 3, 64, 32), torch.rand(2, mask_channels(recipe), 64, 32)
    with torch.no_grad():
        one, other = plain(images), masked(torch.cat((images, maps), dim=1))
    torch.testing.assert_close(one.f_i, other.f_i)
    for name, value in plain.state_dict().items():
        if name != "backbone.conv1.weight":
            assert torch.equal(value, masked.state_dict()[name]), name


def test_the_weights_of_the_masks_learn_from_the_first_step():
    network = made(replace(PLAIN, masks="grey")).train()
    network(torch.randn(4, 4, 64, 32)).f_i.square().sum().backward()
    assert network.backbone.conv1.weight.grad[:, 3].abs().max() > 0
    assert not network.backbone.conv1.weight[:, 3].any()


def test_weights_of_three_colours_fit(tmp_path):
    plain = made(PLAIN, seed=1)
    save_file(dict(plain.backbone.state_dict()), tmp_path / "plain.safetensors")
    masked = made(replace(PLAIN, masks="labels"))
    load_backbone(masked, tmp_path / "plain.safetensors")
    assert torch.equal(masked.backbone.conv1.weight[:, :3], plain.backbone.conv1.weight)
    assert not masked.backbone.conv1.weight[:, 3:].any()
    assert "backbone.conv1.weight" in masked.filled
    # Those of a network with masks fit one with as many.
    save_file(dict(masked.backbone.state_dict()), tmp_path / "masked.safetensors")
    load_backbone(made(replace(PLAIN, masks="labels"), seed=2), tmp_path / "masked.safetensors")
    with pytest.raises(WeightsError, match=r"shapes differ at conv1\.weight"):
        load_backbone(made(PLAIN), tmp_path / "masked.safetensors")


@pytest.mark.parametrize("channels", [3, 5])
def test_without_its_masks_it_says_what_it_wants(channels):
    with pytest.raises(UsageError, match="takes 1 map beside each image: give the folder of masks"):
        made(replace(PLAIN, masks="grey"))(torch.zeros(1, channels, 64, 32))


def test_a_mirror_moves_joints():
    images = torch.arange(17.0).view(1, 17, 1, 1) + torch.tensor([0.0, 0.5])
    found = mirror(images, MIRRORED)
    assert found[0, :3, 0, 0].tolist() == [0.5, 1.5, 2.5]
    assert found[0, 3 + JOINTS.index("left_hip"), 0, 0] == 3.5 + JOINTS.index("right_hip")
    assert torch.equal(mirror(images, ()), images.flip(3))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"masks": "grey", "backbone": "osnet-x1_0"}, "network.backbone must be a ResNet for network.masks"),
        ({"head": "regions"}, "network.masks must not be none for the head regions"),
        ({"head": "glad", "masks": "grey"}, "network.masks must be keypoints for the head glad"),
        ({"masks": "labels", "regions": 0}, "network.regions must be between 1 and 64"),
        ({"masks": "labels", "reduced": 8}, r"network.reduced must be 0 \(none\) with network.masks"),
    ],
    ids=["osnet", "none", "glad", "regions", "reduced"],
)
def test_what_cannot_be(changes, sentence):
    with pytest.raises(UsageError, match=sentence):
        replace(PLAIN, **changes)
