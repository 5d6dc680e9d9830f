"""A network that is none of reidkit's."""

import copy
import sys

import pytest
import torch
from torch import nn

from reidkit.distributed import ALONE
from reidkit.errors import UsageError
from reidkit.model import Features, Network, Several, Single
from reidkit.model.own_network import OwnNetwork, import_network, network_name, own_network
from reidkit.recipe import Batch
from reidkit.train.parallel import MicroBatches

SIZE = (8, 4)


class Plain(nn.Module):
    """One feature of five numbers."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(3 * 8 * 4, 5)

    def forward(self, images):
        return self.last(images.flatten(1))


class Both(Plain):
    """Both features."""

    def forward(self, images):
        f_t = super().forward(images)
        return Features(f_t, 2 * f_t)


class Pair(Both):
    """Both features, and the spans of two branches."""

    spans = {"": slice(0, 5), "left": slice(0, 2), "right": slice(2, 5)}  # noqa: RUF012

    def forward(self, images):
        return tuple(super().forward(images)[:2])


class Odd(nn.Module):
    """Whatever it is told to give."""

    def __init__(self, given):
        super().__init__()
        self.given = given

    def forward(self, _images):
        return self.given


@pytest.mark.parametrize("given", [Plain, Plain()])
def test_one_feature_is_both(given):
    network, images = own_network(given, SIZE), torch.randn(2, 3, *SIZE)
    f_t, f_i, _ = network(images)
    assert f_t is f_i
    assert torch.equal(f_t, network.network(images))
    assert (network.channels, network.spans) == (5, {"": slice(0, 5)})


@pytest.mark.parametrize("kind", [Both, Pair])
def test_both_features_stay_as_they_are(kind):
    network = own_network(kind, SIZE)
    f_t, f_i, _ = network(torch.randn(2, 3, *SIZE))
    assert torch.equal(f_i, 2 * f_t)
    assert network.spans == getattr(kind, "spans", {"": slice(0, 5)})


def test_the_names_of_its_state_are_its_own():
    network = own_network(Plain, SIZE)
    assert list(network.state_dict()) == ["last.weight", "last.bias"]
    again = own_network(Plain, SIZE)
    again.load_state_dict(copy.deepcopy(network).state_dict())
    assert torch.equal(again.network.last.weight, network.network.last.weight)


def test_a_network_of_reidkit_is_taken_as_it_is():
    backbone = nn.Conv2d(3, 8, 1)
    backbone.channels = 8
    network = Network(backbone, Several({"a": (nn.Identity(), Single(8)), "b": (nn.Identity(), Single(8))}))
    assert own_network(network, SIZE) is network
    wrapped = OwnNetwork(Plain(), 5)
    assert own_network(wrapped, SIZE) is wrapped
    assert network_name(wrapped) == f"{__name__}.Plain"


def test_the_trial_leaves_it_as_it_was():
    """Its mode, and what its norms remember."""
    inner = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(96)).train()
    own_network(inner, SIZE)
    assert inner.training
    assert inner[1].num_batches_tracked == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda: 3, "the network is of int: give a torch.nn.Module"),
        (Odd(torch.zeros(2)), r"gives \(2,\) for two images"),
        (Odd(torch.zeros(2, 3, 4)), r"gives \(2, 3, 4\) for two images"),
        (Odd((torch.zeros(2, 3), torch.zeros(2, 4))), r"gives \(2, 3\) and \(2, 4\) for two images"),
        (Odd({"f_t": torch.zeros(2, 3)}), "gives dict: let it give a tensor"),
        (Odd(torch.zeros(2, 3, dtype=torch.int64)), "gives int64: let it give real numbers"),
        (Odd((torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.complex64))), "gives complex64"),
        (nn.Linear(7, 2), "cannot take images of the shape"),
    ],
)
def test_what_is_no_network_is_refused_by_what_it_gives(given, words):
    with pytest.raises(UsageError, match=words) as caught:
        own_network(given, SIZE)
    assert caught.value.argument == "network"


class Changed(Plain):
    """Features that something is done to in training alone."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, images):
        feat_bd = super().forward(images)
        return self.change(feat_bd) if self.training else feat_bd


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda feat_bd: feat_bd[:, :3], r"in training the network gives \[4, 3\] for 4 images: let it give \[4, 5\]"),
        (lambda feat_bd: feat_bd[:-1], r"in training the network gives \[3, 5\] for 4 images"),
        (lambda feat_bd: feat_bd[:, :, None], r"in training the network gives \[4, 5, 1\] for 4 images"),
        (lambda feat_bd: feat_bd.detach(), "have no gradient"),
    ],
)
def test_what_a_network_must_not_give_in_training(change, words):
    network = own_network(Changed(change), SIZE)
    assert network.eval()(torch.zeros(4, 3, *SIZE)).f_t.shape == (4, 5)
    with pytest.raises(UsageError, match=words) as caught:
        network.train()(torch.zeros(4, 3, *SIZE))
    assert caught.value.argument == "network"


def test_a_network_that_cannot_learn():
    """Without parameters, or with frozen ones; what the recipe freezes for a while is no mistake."""
    frozen = Plain().requires_grad_(False)
    for given in (nn.Flatten(), frozen):
        with pytest.raises(UsageError, match="have no gradient"):
            own_network(given, SIZE).train()(torch.zeros(4, 3, *SIZE))
    network = own_network(Plain, SIZE).train()
    network.requires_grad_(False)
    assert not network(torch.zeros(4, 3, *SIZE)).f_t.requires_grad


@pytest.mark.parametrize("kind", [torch.float16, torch.float64])
def test_features_of_another_precision(kind):
    """Put together from parts under bfloat16, half and double precision ended in an error of torch."""
    network = own_network(Changed(lambda feat_bd: feat_bd.to(kind)), SIZE).train()
    batched = MicroBatches(network, Batch(ids=2, images=2, micro_batches=2), ALONE)
    with torch.autocast("cpu", torch.bfloat16):
        f_t, f_i, _ = batched(torch.zeros(4, 3, *SIZE))
    assert f_t.dtype == f_i.dtype == torch.float32


def test_a_name_of_a_module_and_a_function(tmp_path, monkeypatch):
    lines = ("from torch import nn", "def make(): return nn.Flatten()", "class Kinds: Flat = nn.Flatten", "made = 3")
    (tmp_path / "own_part_of_a_test.py").write_text("\n".join(lines))
    (tmp_path / "unfinished_part.py").write_text("def make(:")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert isinstance(import_network("own_part_of_a_test:make")(), nn.Flatten)
    assert import_network("own_part_of_a_test:Kinds.Flat") is nn.Flatten
    for name, words in (
        ("own_part_of_a_test", "give MODULE:FUNCTION"),
        (":make", "give MODULE:FUNCTION"),
        ("own_part_of_a_test:none", "has no function none"),
        ("own_part_of_a_test:made", "has no function made"),
        ("no_such_module_at_all:make", "cannot be imported"),
        ("own_part_of_a_test.make", "give MODULE:FUNCTION, as own_part_of_a_test:make$"),
        ("own_part_of_a_test.py", "give MODULE:FUNCTION$"),
        ("own_part_of_a_test.py:make", "is a file and no module: give own_part_of_a_test:make"),
        ("../nets/own_part_of_a_test.py:make", "is a file and no module: give own_part_of_a_test:make"),
        ("unfinished_part:make", "unfinished_part cannot be imported .SyntaxError"),
    ):
        with pytest.raises(UsageError, match=words):
            import_network(name)
