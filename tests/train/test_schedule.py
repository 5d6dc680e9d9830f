"""Where warm-up and drops meet; tests/parity has the rate of every epoch under each reading."""

import pytest

from reidkit.recipe import Optim
from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.train.schedule import learning_rate


def test_a_drop_within_the_warmup_counts():
    optim = Optim(lr=1.0, warmup_epochs=4, drops=(2,))
    assert [learning_rate(optim, epoch, 0) for epoch in (1, 2, 3, 4, 5)] == pytest.approx([0.25, 0.5, 0.075, 0.1, 0.1])


def test_a_warmup_told_in_epochs_knows_no_steps():
    assert {learning_rate(STRONG.optim, 3, step) for step in (0, 100, 10**6)} == {learning_rate(STRONG.optim, 3, 0)}
