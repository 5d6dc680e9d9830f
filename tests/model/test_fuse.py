"""Batch norms folded into convolutions: a case by hand, then the features of whole networks before and after."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from reidkit import recipe
from reidkit.model.backbones.resnet import BasicBlock, Kind
from reidkit.model.fuse import fuse_batch_norms
from reidkit.model.network import build_network


def moved(**options):
    """A network whose norms are not at their beginning."""
    torch.manual_seed(0)
    network = build_network(recipe.Network(width=0.125, **options)).eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(std=0.2)
            part.running_var.uniform_(0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.2)
    return network


def norms(network):
    return sum(isinstance(part, nn.BatchNorm2d) for part in network.modules())


def test_by_hand():
    """The norm takes 1 from x, divides by 2 and adds 5: behind a weight of 6 that is a weight of 3 and a bias of 4.5.

    The other convolution is 0, so that the block gives relu(0 + x).
    """
    block = BasicBlock(1, 1, 1, kind=Kind((1, 1, 1, 1), bottleneck=False)).eval()
    with torch.no_grad():
        block.conv1.weight.zero_()[0, 0, 1, 1] = 6
        block.conv2.weight.zero_()
    block.bn1.running_mean.fill_(1)
    block.bn1.running_var.fill_(4)
    block.bn1.eps = 0.0
    nn.init.constant_(block.bn1.bias, 5)
    made = fuse_batch_norms(block)
    assert made.conv1.weight[0, 0, 1, 1].item() == 3
    assert made.conv1.bias.item() == 4.5
    assert isinstance(made.bn1, nn.Identity)
    x = torch.tensor([[[[2.0, 7.0]]]])
    assert torch.equal(made(x), block(x))


@pytest.mark.parametrize(
    "options",
    [
        {"backbone": "resnet18", "neck": "bnneck"},
        {"backbone": "resnet50", "last_stride": 1, "stride_in": "1x1"},
        {"backbone": "resnet50", "stem_relu": False, "embedding": 16, "neck": "l2"},
        {"backbone": "seresnext50", "last_stride": 1},
        {"backbone": "resnet50-ibn-a"},
    ],
)
def test_the_same_features(options):
    network = moved(**options)
    made = fuse_batch_norms(network.train())
    assert norms(network) >= 20
    assert norms(made) == (13 if "ibn" in options["backbone"] else 0), "beside an instance norm it stays"
    assert network.training
    assert not made.training
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        wanted, found = network.eval()(images), made(images)
    for before, after in zip(wanted[:2], found[:2], strict=True):
        torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4 * before.abs().max().item())
        assert not torch.equal(after, torch.zeros_like(after))


def test_the_network_itself_is_left_alone():
    network = moved(backbone="resnet18")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fuse_batch_norms(network)
    after = network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in after.items())


def test_pairs_are_found_in_any_network_and_no_others():
    """By the graph of operations: a norm before a convolution, behind a ReLU or beside another reader stays."""

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.folded = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
            self.second, self.beside = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
            self.norm_first = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.BatchNorm2d(4))

        def forward(self, x):
            x = self.second(self.folded(self.first(x)))
            return self.norm_first(self.beside(x) + x)

    other = Own()
    for part in other.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    made = fuse_batch_norms(other)
    assert isinstance(made.folded, nn.Identity)
    assert norms(made) == 3
    images = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(made(images), other.eval()(images))


def test_a_network_that_no_graph_can_show_is_searched_part_by_part():
    """What it does depends on values; its stem is plain."""

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
            self.lone = nn.BatchNorm2d(4)

        def forward(self, x):
            x = self.stem(x)
            return self.lone(x) if x.mean() > 0 else x

    other = Own()
    made = fuse_batch_norms(other)
    assert norms(made) == 1
    images = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(made(images), other.eval()(images))


def test_a_convolution_that_runs_twice_keeps_its_norm():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(self.shared(self.shared(x)))

    assert norms(fuse_batch_norms(Own())) == 1


def test_other_threads_run_their_networks_meanwhile():
    """Whatever calls a module while another thread reads a graph gets numbers, and not that graph's symbols."""
    reading, done = threading.Event(), threading.Event()

    class Slow(nn.Module):
        def forward(self, x):
            reading.set()
            assert done.wait(60)
            return x

    def run():
        try:
            assert reading.wait(60)
            return nn.Linear(3, 2)(torch.zeros(1, 3)).shape
        finally:
            done.set()

    with ThreadPoolExecutor(2) as threads:
        other, fused = threads.submit(run), threads.submit(fuse_batch_norms, Slow())
        assert other.result() == (1, 2)
        assert isinstance(fused.result(), Slow)


def test_several_threads_fuse_at_once():
    network = moved(backbone="resnet18")
    call = nn.Module.__call__
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        wanted = fuse_batch_norms(network)(images).f_i
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(lambda _: fuse_batch_norms(network)(images).f_i, range(12)))
    assert all(torch.equal(each, wanted) for each in found)
    assert nn.Module.__call__ is call
