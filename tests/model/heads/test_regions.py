"""Features pooled where masks say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reidkit.model.heads import glad, pie
from reidkit.model.heads.regions import MaxOfRegions, Region, joints, pool_region
from reidkit.model.network import build_network
from reidkit.recipe import Network
from reidkit.recipe.mask_channels import JOINTS, mask_channels

TINY = Network(backbone="resnet18", width=0.125, last_stride=1, neck="bnneck", masks="labels", head="regions")


def test_pooling_by_hand():
    """Values 1, 2, 3, 4 with weights 1, 0, 1, 2 of a sum of 4: (1 + 3 + 8) / 4."""
    values, weights = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), torch.tensor([[[1.0, 0.0], [1.0, 2.0]]])
    assert pool_region(values, weights).item() == 3.0
    assert pool_region(values, 0 * weights).item() == 0.0


@settings(max_examples=30, deadline=None)
@given(
    arrays(np.float32, (2, 3, 2, 2), elements=st.floats(-4, 4, width=32)),
    arrays(np.float32, (2, 2, 2, 2), elements=st.sampled_from([0.0, 0.5, 1.0])),
)
def test_pooling_is_the_weighted_mean_of_the_union(values, weights):
    found = Region((0, 1))(torch.from_numpy(values), torch.from_numpy(weights))[:, :, 0, 0].numpy()
    for b in range(2):
        union = np.maximum(weights[b, 0], weights[b, 1])
        for c in range(3):
            wanted = (values[b, c] * union).sum() / union.sum() if union.any() else 0.0
            assert found[b, c] == pytest.approx(wanted, abs=1e-5)


def test_the_largest_of_regions():
    values = torch.tensor([[[[1.0, 5.0]], [[4.0, 2.0]]]])
    masks = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    assert MaxOfRegions((0, 1))(values, masks).flatten().tolist() == [5.0, 4.0]


def test_under_masks_of_ones_every_region_is_the_whole():
    torch.manual_seed(0)
    network = build_network(replace(TINY, neck="none")).eval()
    with torch.no_grad():
        features = network(torch.cat((torch.randn(2, 3, 64, 32), torch.ones(2, 4, 64, 32)), dim=1))
    whole = features.f_t[:, network.spans["whole"]]
    for number in range(1, 5):
        torch.testing.assert_close(features.f_t[:, network.spans[f"region{number}"]], whole)


def test_a_region_looks_at_its_place_alone():
    """What changes in the lower half of the map changes nothing of a region in the upper half, but the whole."""
    torch.manual_seed(0)
    head = build_network(replace(TINY, regions=1, neck="none")).head.eval()
    upper = torch.zeros(1, 1, 8, 4)
    upper[:, :, :4] = 1
    one = torch.randn(1, 64, 4, 2)
    other = one.clone()
    other[:, :, 2:] += 1
    first, second = head(one, upper).f_t, head(other, upper).f_t
    assert torch.equal(first[:, head.spans["region1"]], second[:, head.spans["region1"]])
    assert not torch.equal(first[:, head.spans["whole"]], second[:, head.spans["whole"]])


@pytest.mark.parametrize(
    ("head", "masks", "branches"),
    [
        ("regions", "labels", ["whole", "region1", "region2", "region3", "region4"]),
        ("regions", "grey", ["whole", "region1"]),
        ("spreid", "labels", ["whole", "person", "parts"]),
        ("glad", "keypoints", ["whole", "head", "upper", "lower"]),
        ("pie", "keypoints", ["whole", "torso", "arms", "legs"]),
    ],
)
def test_branches_stand_side_by_side_and_learn(head, masks, branches):
    recipe = replace(TINY, head=head, masks=masks, unit=True)
    network = build_network(recipe)
    assert [name for name in network.spans if name] == branches
    images = torch.rand(4, 3 + mask_channels(recipe), 64, 32)
    network(images).f_i.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters() if parameter.requires_grad)
    features = network.eval()(images).f_i.detach()
    for name in branches:
        torch.testing.assert_close(features[:, network.spans[name]].norm(dim=1), torch.ones(4))


def test_the_parts_of_glad_and_pie_are_joints_of_both_sides():
    for parts in (glad.PARTS, pie.PARTS):
        named = {JOINTS[at] for names in parts.values() for at in joints(names)}
        assert {name.replace("left", "right") for name in named if "left" in name} <= named
    assert [JOINTS[at] for at in joints(("head", "knee"))] == ["head", "left_knee", "right_knee"]
