"""The batch-hard triplet loss against its definition, one anchor after the other."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reidkit.losses.triplet import batch_hard_triplet


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
