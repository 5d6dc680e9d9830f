from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reidkit.errors import UsageError
from reidkit.losses.distillation import logit_distillation, similarity_distillation


def test_logits_by_hand() -> None:
    """Student (1/2, 1/2), teacher (3/4, 1/4): KL(t || s) = 0.75 ln 1.5 + 0.25 ln 0.5, KL(s || t) = ln(4/3) / 2."""
    student, teacher = torch.zeros(1, 2), torch.tensor([[math.log(3), 0.0]])
    kl = logit_distillation(student, teacher, temperature=1.0)
    assert kl.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), abs=1e-6)
    assert kl.item() == pytest.approx(0.130812, abs=1e-6)
    js = logit_distillation(student, teacher, temperature=1.0, divergence="js")
    assert js.item() == pytest.approx(0.137327, abs=1e-6)


def test_temperature_by_hand() -> None:
    """At T = 2 the teacher's logits (2 ln 3, 0) are (ln 3, 0) again, and the loss is four times as large."""
    student, teacher = torch.zeros(1, 2), torch.tensor([[2 * math.log(3), 0.0]])
    assert logit_distillation(student, teacher, temperature=2.0).item() == pytest.approx(4 * 0.130812, abs=1e-5)


def test_similarity_by_hand() -> None:
    """Of (1, 0), (1, 0), (0, 1) the teacher's first image has cosines 1 and 0 to the others, the last one 0 and 0.

    At t = 1: p = (e, 1) / (1 + e) for the first two, (1/2, 1/2) for the last. The student's are all equal: q = 1/2.
    So KL is p ln 2p + (1 - p) ln 2(1 - p) for two of three images.
    """
    teacher = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    student = torch.eye(3, 5)
    p = math.e / (1 + math.e)
    one = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))
    assert similarity_distillation(student, teacher, 1.0).item() == pytest.approx(2 / 3 * one, abs=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(2, 7), st.floats(0.05, 2))
@settings(max_examples=40, deadline=None)
def test_similarity_is_its_definition(seed: int, count: int, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    student, teacher = rng.normal(size=(count, 3)), rng.normal(size=(count, 5))
    total = 0.0
    for i in range(count):
        others = [j for j in range(count) if j != i]
        p, q = (
            np.exp([v[i] @ v[j] / np.linalg.norm(v[i]) / np.linalg.norm(v[j]) / temperature for j in others])
            for v in (teacher, student)
        )
        p, q = p / p.sum(), q / q.sum()
        total += float((p * np.log(p / q)).sum())
    found = similarity_distillation(
        torch.tensor(student, dtype=torch.float32), torch.tensor(teacher, dtype=torch.float32), temperature
    )
    assert found.item() == pytest.approx(total / count, rel=1e-3, abs=1e-4)


def test_the_gradient_of_similarities_is_that_of_the_definition() -> None:
    student, teacher = torch.randn(5, 4, requires_grad=True), torch.randn(5, 3)
    similarity_distillation(student, teacher, 0.5).backward()
    wide = student.detach().double().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for i in range(5):
        others = [j for j in range(5) if j != i]
        p, q = (
            (torch.stack([torch.cosine_similarity(v[i], v[j], dim=0) for j in others]) / 0.5).softmax(0)
            for v in (teacher.double(), wide)
        )
        total = total + (p * (p / q).log()).sum() / 5
    total.backward()
    assert student.grad is not None
    assert wide.grad is not None
    torch.testing.assert_close(student.grad.double(), wide.grad, rtol=1e-4, atol=1e-6)


def test_equal_features_cost_nothing_and_the_teacher_gets_no_gradient() -> None:
    features = torch.randn(6, 4, requires_grad=True)
    teacher = (3 * features).detach().requires_grad_()
    loss = similarity_distillation(features, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert teacher.grad is None
    assert features.grad is not None
    student, other = torch.randn(3, 4, dtype=torch.float64, requires_grad=True), torch.randn(3, 4, dtype=torch.float64)
    for divergence in ("kl", "js"):
        assert torch.autograd.gradcheck(lambda x: logit_distillation(x, other, 2.0, divergence), student)  # noqa: B023


def test_refuses_another_divergence() -> None:
    with pytest.raises(UsageError, match="kl or js"):
        logit_distillation(torch.zeros(1, 2), torch.zeros(1, 2), divergence="hellinger")  # type: ignore[arg-type]
