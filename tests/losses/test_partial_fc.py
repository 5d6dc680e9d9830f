"""The ID loss over sampled ids, against the one over all."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from reidkit.errors import UsageError
from reidkit.losses.identity import IdentityLoss
from reidkit.losses.objective import build_objective
from reidkit.losses.partial_fc import PartialFC, sample_classes
from reidkit.recipe import Center, Identity, Network, Optim, Recipe

DECAY = 5e-4


def made(num_ids, channels=5, seed=0, **options):
    torch.manual_seed(seed)
    return PartialFC(channels, num_ids, weight_decay=DECAY, **options)


def batch(people, size=12, channels=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, channels, generator=generator), torch.randint(0, people, (size,), generator=generator)


def test_worked_example():
    """Two of nine enter, the right one with logit log 3 beside 0: p = 3/4. eps 0.4 of two gives q = (0.8, 0.2)."""
    loss = made(9, sampled=2, channels=1)
    loss.rows.weight[:] = 0.0
    loss.rows.weight[4] = math.log(3)
    assert loss(torch.ones(1, 1), torch.tensor([4])).item() == pytest.approx(math.log(4 / 3))
    smooth = made(9, sampled=2, smoothing=0.4, channels=1)
    smooth.rows.weight[:] = loss.rows.weight
    expected = 0.8 * math.log(4 / 3) + 0.2 * math.log(4)
    assert smooth(torch.ones(1, 1), torch.tensor([4])).item() == pytest.approx(expected)
    # Shared among the others: q = (0.6, 0.4).
    others = made(9, sampled=2, smoothing=0.4, smoothing_over="others", channels=1)
    others.rows.weight[:] = loss.rows.weight
    expected = 0.6 * math.log(4 / 3) + 0.4 * math.log(4)
    assert others(torch.ones(1, 1), torch.tensor([4])).item() == pytest.approx(expected)


@pytest.mark.parametrize("bias", [False, True])
def test_by_the_definition(bias):
    """Cross entropy over those who are drawn, its gradient for the features and for their rows alone."""
    people = 30
    loss = made(people, sampled=14, smoothing=0.1, std=0.5, bias=bias).double()
    feat, label = batch(people)
    feat = feat.double().requires_grad_()
    value = loss(feat, label)
    (gradient,) = torch.autograd.grad(value, feat)

    drawn = sample_classes(loss.seed, loss.steps, people, 14, label).tolist()
    total, by_hand = 0.0, torch.zeros_like(feat)
    weight, constant = loss.rows.weight[:, :5], loss.rows.weight[:, 5] if bias else torch.zeros(people)
    for j, f in enumerate(feat.detach()):
        logits = torch.stack([weight[person] @ f + constant[person] for person in drawn])
        p = logits.exp() / logits.exp().sum()
        q = torch.tensor([(0.9 if person == label[j] else 0.0) + 0.1 / 14 for person in drawn], dtype=feat.dtype)
        total -= (q * p.log()).sum().item() / len(feat)
        by_hand[j] = (p - q) @ weight[drawn] / len(feat)
    assert value.item() == pytest.approx(total, abs=1e-9)
    torch.testing.assert_close(gradient, by_hand, atol=1e-8, rtol=0)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("spread", ["all", "others"])
def test_with_all_people_it_is_the_full_loss_under_adam(bias, spread):
    """Values and weights over ten steps from the same seed; that there are more places than people changes nothing."""
    people = 40
    options = {"smoothing": 0.1, "smoothing_over": spread, "bias": bias}
    ours = made(people, sampled=64, **options)
    torch.manual_seed(0)
    full = IdentityLoss(5, people, **options)
    adam = torch.optim.Adam(full.parameters(), lr=1e-2, weight_decay=DECAY)
    for step in range(10):
        feat, label = batch(people, seed=step)
        mine, theirs = feat.clone().requires_grad_(), feat.clone().requires_grad_()
        value, expected = ours(mine, label), full(theirs, label)
        assert value.item() == pytest.approx(expected.item(), abs=1e-6)
        adam.zero_grad()
        value.backward()
        expected.backward()
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-6, rtol=1e-5)
        ours.step(1e-2)
        adam.step()
    torch.testing.assert_close(ours.rows.weight[:, :5], full.classifier.weight.detach(), atol=1e-5, rtol=0)
    if bias:
        torch.testing.assert_close(ours.rows.weight[:, 5], full.classifier.bias.detach(), atol=1e-5, rtol=0)


def test_only_those_who_entered_are_moved():
    loss = made(100, sampled=20)
    before = loss.rows.weight.clone()
    feat, label = batch(100)
    entered = sample_classes(loss.seed, loss.steps, 100, 20, label)
    loss(feat, label).backward()
    loss.step(1e-3)
    moved = (loss.rows.weight != before).any(1).nonzero().flatten()
    assert torch.equal(moved, entered)


def test_the_draw_changes_with_a_step_and_not_with_a_look():
    """Two forward passes without a step between are of one loss, as an evaluation or a second pass needs it."""
    loss = made(100, sampled=20, std=1.0)
    feat, label = batch(100)
    first = loss(feat, label).item()
    assert loss(feat, label).item() == first
    loss.step(1e-3)  # no gradient: nothing moves
    assert loss(feat, label).item() != first


def steps(loss, numbers):
    values = []
    for number in numbers:
        feat, label = batch(100, seed=number)
        value = loss(feat, label)
        value.backward()
        loss.step(1e-2)
        values.append(value.item())
    return values


def test_a_resumed_run_draws_as_an_unbroken_one():
    options = {"sampled": 20, "std": 0.1}
    unbroken, broken = made(100, **options), made(100, **options)
    values = steps(unbroken, range(8))
    assert steps(broken, range(3)) == values[:3]
    resumed = made(100, seed=9, **options)
    resumed.load_state_dict({name: value.clone() for name, value in broken.state_dict().items()})
    assert steps(resumed, range(3, 8)) == values[3:]
    assert torch.equal(resumed.rows.weight, unbroken.rows.weight)
    other = made(100, seed=9, **options)
    assert other.seed != unbroken.seed


def test_it_learns():
    """A hundred people at the corners of their own: after 400 steps of 20 people the full softmax knows them all."""
    torch.manual_seed(0)
    faces = F.normalize(torch.randn(100, 32), dim=1)
    loss = made(100, sampled=20, smoothing=0.1, channels=32)
    for number in range(400):
        label = torch.randint(0, 100, (12,), generator=torch.Generator().manual_seed(number))
        loss(faces[label], label).backward()
        loss.step(1e-2)
    assert ((faces @ loss.rows.weight.T).argmax(1) == torch.arange(100)).all()


def test_what_a_step_allocates_grows_with_those_who_enter_and_not_with_the_people():
    """Of the people there is a number of eight bytes each, a few times; never a row."""

    def largest(people):
        loss = made(people, sampled=50, channels=64)
        feat, label = batch(people, channels=64)
        with torch.profiler.profile(profile_memory=True) as profile:
            loss(feat, label).backward()
            loss.step(1e-3)
        return max(event.cpu_memory_usage for event in profile.events())

    few, many = largest(1000), largest(20_000)
    row_bytes = 64 * 4
    assert many < few + 20_000 * 24
    assert many < 20_000 * row_bytes / 4


def test_a_batch_of_more_ids_than_enter_is_refused():
    """Four images of two ids fit into a sample of two, three ids do not."""
    loss = made(10, sampled=2)
    assert loss(torch.ones(4, 5), torch.tensor([3, 3, 7, 7])).isfinite()
    with pytest.raises(UsageError, match="a batch of 3 ids does not fit into a sample of 2"):
        loss(torch.ones(4, 5), torch.tensor([3, 3, 7, 8]))


def test_the_objective_chooses_and_steps_it():
    recipe = Recipe(
        network=Network(neck="bnneck"),
        center=Center(weight=5e-4),
        identity=Identity(sampled=16),
        optim=Optim(weight_decay=0.3),
    )
    torch.manual_seed(0)
    objective = build_objective(recipe, {"": slice(0, 6)}, 40)
    assert isinstance(objective.identity, PartialFC)
    assert objective.identity.rows.weight_decay == 0.3
    assert objective.identity.rows.weight.shape == (40, 6)
    assert list(objective.parameters()) == []
    before = objective.identity.rows.weight.clone()
    label = torch.arange(8) // 2
    torch.stack(list(objective(torch.randn(8, 6), torch.randn(8, 6), label).values())).sum().backward()
    objective.step(0.25)
    change = (objective.identity.rows.weight - before).abs()
    assert change.max().item() == pytest.approx(0.25, rel=1e-3), "Adam's first step is the rate"
    assert ((change > 0).any(1).sum(), objective.identity.steps) == (16, 1)
    plain = dataclasses.replace(recipe, network=Network())
    assert build_objective(plain, {"": slice(0, 6)}, 40).identity.rows.weight.shape == (40, 7), "a bias without a neck"
