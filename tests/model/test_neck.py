"""The neck that keeps directions only."""

import math

import pytest
import torch

from reidkit.errors import UsageError
from reidkit.model.neck import BNNeck, BNReLUNeck, L2Neck
from reidkit.model.network import build_network
from reidkit.recipe import Network


def test_by_hand():
    """(3, 4, 0, 0) has length 5; sqrt(4) times its direction is (1.2, 1.6, 0, 0)."""
    assert L2Neck()(torch.tensor([[3.0, 4.0, 0.0, 0.0]])).tolist() == [pytest.approx([1.2, 1.6, 0.0, 0.0])]


def test_length_is_that_of_a_normalised_batch():
    feat = torch.randn(64, 256, generator=torch.Generator().manual_seed(0)) * 7 + 3
    lengths = L2Neck()(feat).norm(dim=1)
    assert lengths.tolist() == pytest.approx([16.0] * 64)
    batch_norm = torch.nn.BatchNorm1d(256)(feat)
    assert batch_norm.square().sum(1).mean().sqrt().item() == pytest.approx(math.sqrt(256), rel=1e-3)


def test_nothing_to_scale():
    feat = torch.zeros(2, 8, requires_grad=True)
    out = L2Neck()(feat)
    out.sum().backward()
    assert out.tolist() == [[0.0] * 8] * 2
    assert torch.isfinite(feat.grad).all()


def test_in_the_network():
    """f_t stays as it is; f_i points the same way; there is nothing to learn in between."""
    network = build_network(Network(backbone="resnet18", width=0.125, neck="l2")).eval()
    f_t, f_i, _ = network(torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(f_i, f_t / f_t.norm(dim=1, keepdim=True) * network.channels**0.5)
    assert not list(network.head.neck.state_dict())


@pytest.mark.parametrize("neck", [BNNeck, BNReLUNeck])
@pytest.mark.parametrize("channels", [0, "2048", 2.5, None])
def test_channels_that_are_no_count(neck, channels):
    with pytest.raises(UsageError, match="channels must be a whole number from 1 on"):
        neck(channels)
