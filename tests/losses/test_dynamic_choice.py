"""Pyramid's choice between the ID loss alone and both."""

from __future__ import annotations

import math

import pytest
import torch

from reidkit.errors import UsageError
from reidkit.losses import DynamicChoice, build_objective
from reidkit.losses.dynamic_choice import focal, running
from reidkit.recipe import override
from reidkit.recipes import get_recipe


def test_the_numbers_of_one_step_by_hand():
    """k 4 and L 3: 3.75, p 0.9375; k 2 and L 1: 1.75, p 0.875."""
    of_identity = focal(torch.tensor(4.0), running(torch.tensor(4.0), torch.tensor(3.0)))
    of_triplet = focal(torch.tensor(2.0), running(torch.tensor(2.0), torch.tensor(1.0)))
    assert running(torch.tensor(4.0), torch.tensor(3.0)) == 3.75
    assert of_identity.item() == pytest.approx(2.5210e-4, rel=1e-4)
    assert of_triplet.item() == pytest.approx(2.0864e-3, rel=1e-4)
    assert (of_triplet / of_identity).item() == pytest.approx(8.276, rel=1e-3)


def step(choice, identity, triplet):
    """The triplet's share of a step, 0 or 1, with two ID losses of half the value each."""
    half = torch.tensor(identity / 2)
    found = choice({"identity.a": half, "identity.b": half, "triplet": torch.tensor(triplet)})
    assert found["identity.a"] == half
    return (found["triplet"] / triplet).item()


def test_a_triplet_loss_that_falls_far_slower_is_left_out():
    choice = DynamicChoice()
    assert step(choice, 4.0, 2.0) == 1  # the first step: nothing has fallen
    assert choice.k.tolist() == [4, 2]
    assert step(choice, 3.0, 1.0) == 1  # the case above
    assert choice.k.tolist() == [3.75, 1.75]
    assert step(choice, 1.0, 1.7) == 0
    assert step(choice, 9.0, 1.0) == 1  # the ID loss rises, the triplet falls: a number / 0
    assert step(choice, 9.0, 9.0) == 1  # both rise: 0 / 0
    assert torch.isfinite(choice.k).all()


def test_it_is_what_the_program_computes():
    """Against the recurrence in plain numbers, over a few dozen steps of falling and rising losses."""
    choice, k = DynamicChoice(), None
    generator = torch.Generator().manual_seed(0)
    left_out = 0
    for number in range(60):
        losses = [float(6 * 0.97**number * (0.7 + 0.6 * torch.rand((), generator=generator))) for _ in range(2)]
        k = k or losses
        new = [0.25 * loss + 0.75 * old for loss, old in zip(losses, k, strict=True)]
        p = [min(a, b) / b for a, b in zip(new, k, strict=True)]
        fl = [-((1 - each) ** 2) * math.log(each) for each in p]
        alone = fl[0] > 0 and fl[1] / fl[0] < 0.16
        assert step(choice, *losses) == (0 if alone else 1)
        left_out += alone
        k = new
    assert 0 < left_out < 60


def test_what_it_remembers_is_saved():
    recipe = override(get_recipe("small-pyramid-dynamic"), {"triplet.margin": 1.0})
    spans = {"": slice(0, 8), "a": slice(0, 4), "b": slice(4, 8)}
    objective = build_objective(recipe, spans, num_ids=3, ranked=("a", "b"))
    features, labels = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6) // 2
    terms = objective(features, features, labels)
    assert set(terms) == {"identity.a", "identity.b", "triplet.a", "triplet.b"}
    other = build_objective(recipe, spans, num_ids=3, ranked=("a", "b"))
    other.load_state_dict(objective.state_dict())
    assert torch.equal(other.dynamic_choice.k, objective.dynamic_choice.k)
    assert other.dynamic_choice.k[0] > 0
    plain = build_objective(get_recipe("pyramid"), spans, num_ids=3, ranked=("a", "b"))
    assert not any("choice" in name for name in plain.state_dict())


def test_it_needs_both_losses():
    with pytest.raises(UsageError, match=r"triplet\.dynamic must be false where"):
        override(get_recipe("ide"), {"triplet.dynamic": True})
