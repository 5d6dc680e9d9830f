"""What every backbone and every head promises."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from reidkit import recipe
from reidkit.model import BNNeck, Features, L2Neck, Network, Several, Single, build_network
from reidkit.recipe import BACKBONES, BackboneName


def single(**options):
    return lambda: Single(8, **options)


HEADS = {
    "plain": single(),
    "bnneck": lambda: Single(8, neck=BNNeck(8)),
    "embedding": lambda: Single(8, embedding=nn.Linear(8, 5), neck=L2Neck()),
    "several": lambda: Several({"a": (nn.Identity(), Single(8)), "b": (nn.Identity(), Single(8, neck=BNNeck(8)))}),
}


def leaves(spans):
    return [name for name in spans if name and not any(other.startswith(f"{name}.") for other in spans)] or [""]


@pytest.mark.parametrize("make", HEADS.values(), ids=HEADS)
class TestHead:
    def test_both_features_are_as_long_as_it_says(self, make):
        head = make().train()
        features = head(torch.randn(3, 8, 4, 2))
        assert isinstance(features, Features)
        assert features.f_t.shape == features.f_i.shape == (3, head.channels)

    def test_its_branches_fill_the_vector_side_by_side(self, make):
        head = make()
        ends = [(head.spans[name].start, head.spans[name].stop) for name in leaves(head.spans)]
        assert head.spans[""] == slice(0, head.channels)
        assert [ends[0][0], *(stop for _, stop in ends)] == [*(start for start, _ in ends), head.channels]

    def test_images_do_not_see_each_other_in_evaluation(self, make):
        head, map_bchw = make().eval(), torch.randn(3, 8, 4, 2)
        one_by_one = torch.cat([head(one[None]).f_i for one in map_bchw])
        torch.testing.assert_close(head(map_bchw).f_i, one_by_one)

    def test_a_network_with_it_leaves_head_out_of_the_names_of_its_state(self, make):
        backbone = nn.Conv2d(3, 8, 1)
        backbone.channels = 8
        network, other = Network(backbone, make()), Network(nn.Conv2d(3, 8, 1), make())
        assert not [name for name in network.state_dict() if name.startswith("head.")]
        assert list(network.state_dict())[:2] == ["backbone.weight", "backbone.bias"]
        other.load_state_dict(network.state_dict())
        images = torch.randn(2, 3, 4, 2)
        assert torch.equal(network.eval()(images).f_i, other.eval()(images).f_i)


def test_every_backbone_belongs_to_one_family():
    assert sorted(name for names in BACKBONES.values() for name in names) == sorted(get_args(BackboneName))


@pytest.mark.parametrize("name", [name for name in get_args(BackboneName) if not name.endswith(":NAME")])
def test_a_backbone_gives_one_map_with_its_channels(name):
    """The same whether two images are in it or one; from equal random states equal weights."""
    torch.manual_seed(0)
    backbone = build_network(recipe.Network(backbone=name, width=0.125)).backbone.eval()
    images = torch.randn(2, 3, 64, 32)
    map_bchw = backbone(images)
    assert (map_bchw.dim(), map_bchw.shape[:2]) == (4, (2, backbone.channels))
    torch.testing.assert_close(backbone(images[:1]), map_bchw[:1], rtol=1e-3, atol=1e-4)
    torch.manual_seed(0)
    again = build_network(recipe.Network(backbone=name, width=0.125)).backbone.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in backbone.state_dict().items())


@pytest.mark.parametrize("wrap", [lambda network: network, torch.optim.swa_utils.AveragedModel])
def test_states_of_every_release_have_the_same_names(wrap):
    """Those that files and checkpoints have held from the first release on, in their order; also of an average."""
    network = build_network(recipe.Network(backbone="resnet18", width=0.125, neck="bnneck", embedding=4))
    state = wrap(network).state_dict()
    names = [name.removeprefix("module.") for name in state if not name.startswith("n_averaged")]
    assert names[0] == "backbone.conv1.weight"
    assert [name for name in names if not name.startswith("backbone.")] == [
        "embedding.weight",
        "embedding.bias",
        *(f"neck.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
    ]
    fresh = wrap(build_network(recipe.Network(backbone="resnet18", width=0.125, neck="bnneck", embedding=4)))
    fresh.load_state_dict(dict(state))
    assert all(torch.equal(fresh.state_dict()[name], value) for name, value in state.items())
    with pytest.raises(RuntimeError, match="Missing key"):
        fresh.load_state_dict({name: value for name, value in state.items() if "neck" not in name})
