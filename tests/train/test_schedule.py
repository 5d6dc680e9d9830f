"""Where warm-up and drops meet; tests/parity has the rate of every epoch under each interpretation."""

import pytest

from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.train.optimizer import Schedule, build_schedule


def test_a_drop_within_the_warmup_counts():
    schedule = Schedule(lr=1.0, warmup_epochs=4, drops=(2,))
    assert [schedule.rate(epoch) for epoch in (1, 2, 3, 4, 5)] == pytest.approx([0.25, 0.5, 0.075, 0.1, 0.1])


def test_a_warmup_in_epochs_does_not_depend_on_the_step():
    schedule = build_schedule(STRONG.optim)
    assert {schedule.rate(3, step) for step in (0, 100, 10**6)} == {schedule.rate(3)}
