"""The network with and without its neck."""

import pytest
import torch

from reidkit import recipe
from reidkit.errors import UsageError
from reidkit.model.network import build_network
from reidkit.recipes import get_recipe

SMALL = {"backbone": "resnet18", "width": 0.125}


def test_without_a_neck_there_is_one_feature():
    f_t, f_i, _ = build_network(recipe.Network(**SMALL)).eval()(torch.randn(2, 3, 64, 32))
    assert f_t is f_i
    assert f_t.shape == (2, 64)


def test_feature_is_the_mean_of_the_last_map():
    network = build_network(recipe.Network(**SMALL)).eval()
    images = torch.randn(2, 3, 64, 32)
    torch.testing.assert_close(network(images).f_t, network.backbone(images).flatten(2).mean(2))


def test_bnneck_normalises_the_search_feature_alone():
    torch.manual_seed(0)
    network = build_network(recipe.Network(**SMALL, neck="bnneck")).train()
    f_t, f_i, _ = network(torch.randn(16, 3, 64, 32))
    torch.testing.assert_close(f_i.mean(0), torch.zeros(64), atol=1e-5, rtol=0)
    torch.testing.assert_close(f_i, (f_t - f_t.mean(0)) / (f_t.var(0, unbiased=False) + 1e-5).sqrt())


def test_shift_of_bnneck_is_frozen_at_zero():
    neck = build_network(recipe.Network(**SMALL, neck="bnneck")).head.neck
    assert not neck.bias.requires_grad
    assert neck.weight.requires_grad
    assert torch.equal(neck.bias, torch.zeros(64))
    assert torch.equal(neck.weight, torch.ones(64))


def test_same_seed_same_network():
    def first():
        torch.manual_seed(3)
        return build_network(recipe.Network(**SMALL)).backbone.conv1.weight

    assert torch.equal(first(), first())


@pytest.mark.parametrize("stride_in", ["auto", "3x3"])
def test_auto_stride_is_torchvisions(stride_in):
    network = build_network(recipe.Network(backbone="resnet50", width=0.125, stride_in=stride_in))
    assert network.backbone.layer3[0].conv2.stride == (2, 2)


def test_embedding_is_linear_in_the_pooled_feature_and_comes_before_the_neck():
    network = build_network(recipe.Network(**SMALL, neck="bnneck", embedding=2)).eval()
    images = torch.randn(3, 3, 64, 32)
    f_t, f_i, _ = network(images)
    pooled = network.backbone(images).mean(dim=(2, 3))
    torch.testing.assert_close(f_t, pooled @ network.head.embedding.weight.T + network.head.embedding.bias)
    assert f_i.shape == (3, 2)
    assert network.channels == 2
    assert network.head.neck.num_features == 2


def test_without_an_embedding_a_state_has_the_keys_it_always_had():
    keys = build_network(recipe.Network(**SMALL, neck="bnneck")).state_dict().keys()
    assert {key.split(".")[0] for key in keys} == {"backbone", "neck"}
    added = build_network(recipe.Network(**SMALL, neck="bnneck", embedding=2)).state_dict().keys() - keys
    assert added == {"embedding.weight", "embedding.bias"}


def test_what_is_no_section_of_a_recipe():
    for wrong in ("strong-baseline", get_recipe("strong-baseline")):
        with pytest.raises(UsageError, match=r"pass get_recipe\('strong-baseline'\)\.network"):
            build_network(wrong)
