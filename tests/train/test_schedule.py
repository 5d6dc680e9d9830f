"""The learning rate of every epoch, against the figures of the paper and of a log of the authors' program."""

import pytest

from reidkit.recipe import Optim
from reidkit.recipes.bag_of_tricks import STANDARD, STRONG
from reidkit.train.schedule import learning_rate


def test_paper():
    rates = [learning_rate(STRONG.optim, epoch, 0) for epoch in range(1, 121)]
    assert rates[:10] == pytest.approx([3.5e-5 * t for t in range(1, 11)])
    assert rates[10:40] == pytest.approx([3.5e-4] * 30)
    assert rates[40:70] == pytest.approx([3.5e-5] * 30)
    assert rates[70:] == pytest.approx([3.5e-6] * 50)


def test_without_warmup():
    assert [learning_rate(STANDARD.optim, epoch, 0) for epoch in (1, 40, 41, 70, 71, 120)] == pytest.approx(
        [3.5e-4, 3.5e-4, 3.5e-5, 3.5e-5, 3.5e-6, 3.5e-6]
    )


def test_authors_program():
    optim = Optim(warmup_epochs=10, warmup="code")
    logged = {1: 3.5e-6, 2: 3.815e-5, 5: 1.421e-4, 10: 3.1535e-4, 11: 3.5e-4, 40: 3.5e-4, 41: 3.5e-5, 71: 3.5e-6}
    assert {epoch: learning_rate(optim, epoch, 0) for epoch in logged} == pytest.approx(logged)


def test_equation_1_as_printed():
    optim = Optim(warmup_epochs=10, warmup="equation-1")
    assert [learning_rate(optim, epoch, 0) for epoch in (1, 10, 11)] == pytest.approx([3.5e-6, 3.5e-5, 3.5e-4])


def test_a_drop_within_the_warmup_counts():
    optim = Optim(lr=1.0, warmup_epochs=4, drops=(2,))
    assert [learning_rate(optim, epoch, 0) for epoch in (1, 2, 3, 4, 5)] == pytest.approx([0.25, 0.5, 0.075, 0.1, 0.1])


def test_a_warmup_told_in_steps():
    """fast-reid's: a tenth at the first step, half way between at the middle one, the whole after T, in any epoch."""
    optim = Optim(warmup_steps=2000, drops=(50, 100))
    rates = [
        learning_rate(optim, epoch, step) for epoch, step in ((1, 0), (6, 1000), (11, 1999), (11, 2000), (50, 9999))
    ]
    assert rates == pytest.approx([3.5e-5, 3.5e-4 * 0.55, 3.5e-4 * 0.99955, 3.5e-4, 3.5e-4])
    assert learning_rate(optim, 51, 10**5) == pytest.approx(3.5e-5)
    assert learning_rate(optim, 101, 10**5) == pytest.approx(3.5e-6)


def test_a_warmup_told_in_epochs_knows_no_steps():
    assert {learning_rate(STRONG.optim, 3, step) for step in (0, 100, 10**6)} == {learning_rate(STRONG.optim, 3, 0)}
