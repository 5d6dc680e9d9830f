"""The batch-hard triplet loss against its definition, one anchor after the other."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reidkit.errors import UsageError
from reidkit.losses.center import CenterLoss
from reidkit.losses.pair_losses import centroid_triplet, circle_loss, supervised_contrastive
from reidkit.losses.triplet import (
    batch_hard_triplet,
    euclidean,
    triplet_loss,
    weighted_triplet,
    weighted_triplet_as_published,
)


def test_worked_example():
    """On a line: a at 0 and 3, b at 4 and 6. Per anchor, positive - negative + 0.3: -0.7, 2.3, 1.3, -0.7."""
    feat = torch.tensor([[0.0], [3.0], [4.0], [6.0]])
    assert batch_hard_triplet(feat, torch.tensor([0, 0, 1, 1]), 0.3).item() == pytest.approx((2.3 + 1.3) / 4, abs=1e-5)


def by_definition(feat, pid, margin):
    total = 0.0
    for a in range(len(feat)):
        distance = [math.dist(feat[a], feat[i]) for i in range(len(feat))]
        positive = max((d for i, d in enumerate(distance) if pid[i] == pid[a]), default=0.0)
        negative = min((d for i, d in enumerate(distance) if pid[i] != pid[a]), default=math.inf)
        total += max(0.0, positive - negative + margin)
    return total / len(feat)


numbers = st.floats(-5, 5, width=32)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), numbers, numbers, numbers), min_size=2, max_size=12), st.floats(0, 2))
def test_any_count_per_person(rows, margin):
    pid = [row[0] for row in rows]
    feat = [row[1:] for row in rows]
    value = batch_hard_triplet(torch.tensor(feat, dtype=torch.float64), torch.tensor(pid), margin).item()
    assert value == pytest.approx(by_definition(feat, pid, margin), abs=1e-5)


def test_equal_features_have_a_finite_gradient():
    feat = torch.ones(4, 3, requires_grad=True)
    loss = batch_hard_triplet(feat, torch.tensor([0, 0, 1, 1]), 0.3)
    loss.backward()
    assert loss.item() == pytest.approx(0.3, abs=1e-5)
    assert torch.isfinite(feat.grad).all()


def test_one_person_alone_has_no_negative():
    assert batch_hard_triplet(torch.randn(4, 3), torch.zeros(4, dtype=torch.long), 0.3).item() == 0.0


@pytest.mark.parametrize(
    ("difference", "cost"), [(0.0, math.log(2)), (math.log(3), math.log(4)), (-math.log(3), math.log(4 / 3))]
)
def test_soft_margin_by_hand(difference, cost):
    """Every anchor at d_p = 5 and d_n = 5 - difference: two ids, each twice, on the corners of a rectangle."""
    near = 5 - difference
    feat = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, near], [5.0, near]], dtype=torch.float64)
    assert batch_hard_triplet(feat, torch.tensor([0, 0, 1, 1]), form="soft").item() == pytest.approx(cost)


def weighted_by_hand(positive, negative):
    """d_p and d_n of an anchor."""
    dist = torch.tensor([positive], dtype=torch.float64), torch.tensor([negative], dtype=torch.float64)
    d_p, d_n = (dist[0] * dist[0].softmax(1)).sum(), (dist[1] * (-dist[1]).softmax(1)).sum()
    return d_p.item(), d_n.item()


def test_weighted_means_by_hand():
    """d+ = 1, 2 have the weights 0.2689 and 0.7311; d- = 3, 4 the other way round; d- = 1, 1 + ln 3 have 3/4, 1/4."""
    assert weighted_by_hand([1.0, 2.0], [3.0, 4.0]) == pytest.approx((1.731059, 3.268941), abs=1e-6)
    assert weighted_by_hand([1.0, 2.0], [1.0, 1 + math.log(3)])[1] == pytest.approx(1.274653, abs=1e-6)
    # An anchor with positives at 1 and 2 and negatives at 3 and 4, on a line through it and one across.
    feat = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-2.0, 0.0], [0.0, 3.0], [0.0, -4.0]], dtype=torch.float64)
    label = torch.tensor([0, 0, 0, 1, 2])
    expected = weighted_by_definition(feat, label)
    assert expected[0] == pytest.approx(math.log1p(math.exp(1.731059 - 3.268941)), abs=1e-6)
    assert expected[0] == pytest.approx(0.194609, abs=1e-6)
    assert len(expected) == 3, "the others are alone with their ids"
    assert weighted_triplet(feat, label).item() == pytest.approx(sum(expected) / 3)


def weighted_by_definition(feat, label):
    found = []
    for a in range(len(feat)):
        distance = [math.dist(feat[a].tolist(), other.tolist()) for other in feat]
        pos = [d for i, d in enumerate(distance) if i != a and label[i] == label[a]]
        neg = [d for i, d in enumerate(distance) if label[i] != label[a]]
        if pos and neg:
            d_p = sum(math.exp(d) * d for d in pos) / sum(map(math.exp, pos))
            d_n = sum(math.exp(-d) * d for d in neg) / sum(math.exp(-d) for d in neg)
            found.append(math.log1p(math.exp(d_p - d_n)))
    return found


def test_far_negatives_are_not_lost():
    """60 negatives at distance 30: their mean is 30."""
    feat = torch.zeros(62, 61, dtype=torch.float64)
    feat[1, 0] = 1.0  # the positive, at distance 1
    feat[2:, 1:] = 30.0 * torch.eye(60, dtype=torch.float64)
    label = torch.tensor([0, 0, *range(1, 61)])
    assert weighted_triplet(feat, label, 0.0, form="hinge").item() == 0.0
    reached = weighted_triplet(feat, label, 40.0, form="hinge").item()  # 1 - 30 + 40 and 1 - |(1, 30)| + 40
    assert reached == pytest.approx((11 + 41 - math.hypot(1, 30)) / 2)


def test_as_published_they_are_lost_and_the_anchor_is_a_positive():
    """A rectangle of 1 by 30: d_p = 0.731 of the distances 0 and 1, and d_n is 0.000006, not 30."""
    feat = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 30.0], [1.0, 30.0]], dtype=torch.float64)
    powers = [math.exp(-30), math.exp(-math.hypot(1, 30))]
    d_p = 1 / (1 + math.exp(-1) + 1e-6)
    d_n = (30 * powers[0] + math.hypot(1, 30) * powers[1]) / (sum(powers) + 1e-6)
    assert d_p == pytest.approx(0.731058, abs=1e-6)
    assert d_n < 1e-5
    loss = weighted_triplet_as_published(feat, torch.tensor([0, 0, 1, 1]))
    assert loss.item() == pytest.approx(math.log1p(math.exp(d_p - d_n)), abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, 1000.0]), min_size=4, max_size=8))
def test_weighted_means_stay_between_the_distances(values):
    """Distances of 0, 1 and 1,000 on a line: the loss is finite, and between those of the least and the largest."""
    feat = torch.tensor(values, dtype=torch.float64)[:, None].requires_grad_()
    label = torch.arange(len(values)) % 2
    loss = weighted_triplet(feat, label, 0.0, form="hinge")
    loss.backward()
    dist = euclidean(feat, feat).detach()
    assert 0 <= loss.item() <= dist.max().item()
    assert torch.isfinite(feat.grad).all()


@pytest.mark.parametrize("mining", ["hardest", "weighted", "weighted-as-published"])
@pytest.mark.parametrize("unit", [True, False])
def test_gradients(mining, unit):
    torch.manual_seed(3)
    feat = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([0, 0, 1, 1, 2, 2])
    assert torch.autograd.gradcheck(lambda f: triplet_loss(f, label, 0.3, "soft", mining, unit), (feat,))


def test_length_does_not_matter_with_unit():
    feat, label = torch.randn(6, 3), torch.arange(6) // 2
    scaled = feat * torch.rand(6, 1).add(0.5)
    assert triplet_loss(feat, label, unit=True).item() == pytest.approx(
        triplet_loss(scaled, label, unit=True).item(), abs=1e-5
    )


def test_unknown_words_are_refused():
    feat, label = torch.randn(4, 3), torch.arange(4) // 2
    with pytest.raises(UsageError, match="mining must be hardest, weighted or weighted-as-published, not semi"):
        triplet_loss(feat, label, mining="semi")
    with pytest.raises(UsageError, match="form must be hinge or soft, not softplus"):
        triplet_loss(feat, label, form="softplus")


def test_weighted_without_a_pair_costs_nothing():
    feat = torch.randn(3, 2, requires_grad=True)
    weighted_triplet(feat, torch.arange(3)).backward()
    assert torch.equal(feat.grad, torch.zeros_like(feat))


@pytest.mark.parametrize(
    "loss",
    [
        batch_hard_triplet,
        weighted_triplet,
        weighted_triplet_as_published,
        circle_loss,
        supervised_contrastive,
        centroid_triplet,
        CenterLoss(3, 2),
    ],
)
def test_labels_that_are_not_one_for_each_feature(loss):
    """Labels [B, 1] would be compared as something else: the batch-hard loss was 0."""
    feat, label = torch.eye(4, 3), torch.tensor([0, 0, 1, 1])
    for wrong in (label[:, None], label[:3]):
        with pytest.raises(UsageError, match=r"pass features \[B, D\] and labels \[B\]"):
            loss(feat, wrong)
    with pytest.raises(UsageError, match=r"features are \[4, 3, 1\]"):
        loss(feat[..., None], label)
    assert loss(feat, label) > 0
