"""A head of branches, whose names are spans of the features."""

from typing import Any

import pytest
import torch
from torch import nn

from reidkit.errors import UsageError
from reidkit.losses import IdentityLoss, Objective, Term, batch_hard_triplet
from reidkit.model import BNNeck, Network, ResNet, Several, Single


class Rows(nn.Module):
    """Stripe `number` of `count` of the rows of a map."""

    def __init__(self, number, count):
        super().__init__()
        self.number, self.count = number, count

    def forward(self, map_bchw):
        return map_bchw.chunk(self.count, dim=2)[self.number]


def stripes(channels, embedding=None):
    made = lambda: Single(channels, embedding=embedding and nn.Linear(channels, embedding))  # noqa: E731
    return Several({"upper": (Rows(0, 2), made()), "lower": (Rows(1, 2), made())})


def test_worked_example():
    """Two channels, two rows: the means of the upper row are (1, 5), those of the lower one (3, 7)."""
    map_bchw = torch.tensor([[[[0.0, 2.0], [3.0, 3.0]], [[5.0, 5.0], [6.0, 8.0]]]])
    head = stripes(2)
    f_t, f_i, _ = head(map_bchw)
    assert f_t.tolist() == f_i.tolist() == [[1.0, 5.0, 3.0, 7.0]]
    assert head.channels == 4
    assert head.spans == {"": slice(0, 4), "upper": slice(0, 2), "lower": slice(2, 4)}


def test_unit_stripes_by_hand():
    """Stripes (3, 4) and (0, 2): (0.6, 0.8) and (0, 1), so that the squared length is their number; in search alone."""
    map_bchw = torch.tensor([[[[3.0], [0.0]], [[4.0], [2.0]]]])
    branches = {"upper": (Rows(0, 2), Single(2)), "lower": (Rows(1, 2), Single(2))}
    head = Several(branches, unit=True)
    assert head.train()(map_bchw).f_i.tolist() == [[3.0, 4.0, 0.0, 2.0]]
    found = head.eval()(map_bchw)
    assert found.f_i[0].tolist() == pytest.approx([0.6, 0.8, 0.0, 1.0])
    assert found.f_i.square().sum().item() == pytest.approx(2.0)
    assert found.f_t.tolist() == [[3.0, 4.0, 0.0, 2.0]]


def test_names_of_branches_in_branches_are_joined_by_dots():
    head = Several({"one": (nn.Identity(), Single(3)), "two": (nn.Identity(), stripes(3, embedding=2))})
    assert head.spans == {
        "": slice(0, 7),
        "one": slice(0, 3),
        "two": slice(3, 7),
        "two.upper": slice(3, 5),
        "two.lower": slice(5, 7),
    }
    map_bchw = torch.randn(4, 3, 6, 2)
    f_t, *_ = head(map_bchw)
    torch.testing.assert_close(f_t[:, head.spans["two"]], head.heads["two"](map_bchw).f_t)


@pytest.mark.parametrize("name", ["", "two.a", "keys", "a b", "1"])
def test_a_name_that_no_module_can_have_is_refused(name):
    with pytest.raises(UsageError, match="cannot be called"):
        Several({name: (nn.Identity(), Single(2))})


def test_a_head_without_branches_is_refused():
    with pytest.raises(UsageError, match=r"give \{name: \(view, head\)\}"):
        Several({})


def test_a_network_of_two_branches_learns_by_terms_on_their_spans():
    """No recipe anywhere: an ID loss on each half of the body, a triplet loss on the whole."""
    torch.manual_seed(0)
    backbone = ResNet("resnet18", width=0.125)
    neck = lambda: Single(64, embedding=nn.Linear(64, 16), neck=BNNeck(16))  # noqa: E731
    network = Network(backbone, Several({"upper": (Rows(0, 2), neck()), "lower": (Rows(1, 2), neck())}))
    objective = Objective(
        [
            Term("upper", 1.0, IdentityLoss(16, 4), "f_i", "upper"),
            Term("lower", 1.0, IdentityLoss(16, 4), "f_i", "lower"),
            Term("triplet", 1.0, batch_hard_triplet, "f_t"),
        ],
        network.spans,
    )
    images, labels = torch.randn(8, 3, 64, 32), torch.arange(8) // 2
    parameters = [*network.parameters(), *objective.parameters()]
    optimizer = torch.optim.Adam([p for p in parameters if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(20):
        found = network(images)
        terms = objective(found.f_t, found.f_i, labels)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        losses.append({name: term.item() for name, term in terms.items()})
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters if p.requires_grad)
    assert all(losses[-1][name] < 0.5 * losses[0][name] for name in ("upper", "lower")), losses
    again = Network(
        ResNet("resnet18", width=0.125), Several({"upper": (Rows(0, 2), neck()), "lower": (Rows(1, 2), neck())})
    )
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.eval()(images).f_i, network.eval()(images).f_i)


def test_branches_that_are_none():
    head: Any = Single(4)
    for wrong in ({"one": head}, {"one": (head,)}):
        with pytest.raises(UsageError, match=r"the branch one is a .*: give a view and a head"):
            Several(wrong)
    with pytest.raises(UsageError, match="the branches are a list: give"):
        Several([("one", (nn.Identity(), head))])
    with pytest.raises(UsageError, match="there is no branch two to be ranked: the spans are '', one"):
        Several({"one": (nn.Identity(), head)}, ranked=("two",))
