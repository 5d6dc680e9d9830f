"""The learning rate of every epoch and of every step, under each reading.

With lr = 3.5e-4 and epochs t counted from 1, steps s from 0:

    text and Figure 3   lr * t / 10                          t <= 10
    official code       lr * (0.01 + 0.99 * (t - 1) / 10)    t <= 10
    equation 1          lr/10 * t / 10                       t <= 10
    these three         lr for t <= 40, lr/10 for t <= 70, lr/100 for t <= 120
    fast-reid           lr * (0.1 + 0.9 * s / 2000)          s < 2000
                        then lr for t <= 49, lr/10 for t <= 99, lr/100 for t <= 120

Run with its own scheduler, fast-reid has the lower rate for the first time in epochs t = 50 and t = 100: its milestones
name the first epoch at the new rate, `optim.drops` the last one at the old.
"""

from dataclasses import replace

import numpy as np
import pytest
from torch.optim.optimizer import register_optimizer_step_pre_hook

from reidkit.recipe import override
from reidkit.recipes import get_recipe
from reidkit.recipes.luo2019.interpretations import interpret
from reidkit.train.optimizer import build_schedule
from tests.parity import READ, STRONG
from tests.train.tiny import RECIPE, Run

LR = 3.5e-4
PER_EPOCH = 186
"""Steps of an epoch on Market-1501."""

T = np.arange(1, 121)
AFTER = np.select([T <= 40, T <= 70], [LR, LR / 10], LR / 100)
TEXT = np.where(T <= 10, LR * T / 10, AFTER)
CODE = np.where(T <= 10, LR * (0.01 + 0.99 * (T - 1) / 10), AFTER)
EQUATION_1 = np.where(T <= 10, LR / 10 * T / 10, AFTER)

STEP = np.arange(120 * PER_EPOCH)
FAST_REID = np.where(
    STEP < 2000,
    LR * (0.1 + 0.9 * STEP / 2000),
    np.select([STEP < 49 * PER_EPOCH, STEP < 99 * PER_EPOCH], [LR, LR / 10], LR / 100),
)

BY_EPOCH = {
    "standard-baseline": (get_recipe("standard-baseline").optim, AFTER),
    "default": (READ["default"].optim, TEXT),
    "paper-text": (READ["paper-text"].optim, TEXT),
    "official-code": (READ["official-code"].optim, CODE),
    "equation-1": (replace(STRONG.optim, warmup="equation-1"), EQUATION_1),
}

PRINTED = {
    "default": {1: 3.5e-5, 10: 3.5e-4, 40: 3.5e-4, 41: 3.5e-5, 70: 3.5e-5, 71: 3.5e-6, 120: 3.5e-6},
    "official-code": {1: 3.5e-6, 2: 3.815e-5, 5: 1.421e-4, 10: 3.1535e-4}
    | dict.fromkeys(range(11, 41), 3.5e-4)
    | dict.fromkeys(range(41, 71), 3.5e-5)
    | dict.fromkeys(range(71, 121), 3.5e-6),
    "equation-1": {1: 3.5e-6, 10: 3.5e-5, 11: 3.5e-4},
}
"""Rates that the paper prints, and that a log of the official code shows."""


@pytest.mark.parametrize("reading", BY_EPOCH)
def test_all_120_epochs(reading):
    """Whatever the step: these readings know epochs only."""
    optim, expected = BY_EPOCH[reading]
    assert optim.epochs == len(expected) == 120
    for step_in_epoch in (0, PER_EPOCH - 1):
        rates = [build_schedule(optim).rate(t, (t - 1) * PER_EPOCH + step_in_epoch) for t in range(1, 121)]
        np.testing.assert_allclose(rates, expected, rtol=1e-12)


@pytest.mark.parametrize("reading", PRINTED)
def test_the_rates_that_are_printed(reading):
    rates = {
        epoch: build_schedule(BY_EPOCH[reading][0]).rate(epoch, (epoch - 1) * PER_EPOCH) for epoch in PRINTED[reading]
    }
    assert rates == pytest.approx(PRINTED[reading], rel=1e-12)


def test_all_22320_steps_of_fast_reid():
    optim = READ["fast-reid"].optim
    rates = [build_schedule(optim).rate(step // PER_EPOCH + 1, step) for step in STEP.tolist()]
    np.testing.assert_allclose(rates, FAST_REID, rtol=1e-12)
    assert (rates[0], rates[1000], rates[2000]) == pytest.approx((3.5e-5, 1.925e-4, 3.5e-4))


@pytest.mark.parametrize("reading", READ)
def test_the_optimiser_steps_at_these_rates(reading, tmp_path):
    """Five epochs, two of warm-up, a drop after the third: what Adam has at every step of a real run."""
    optim = ["optim.epochs=5", "optim.warmup_epochs=2", "optim.drops=[3]", "optim.lr=3.5e-4"]
    recipe = interpret(override(RECIPE, optim), reading) if reading != "default" else override(RECIPE, optim)
    if reading == "fast-reid":
        recipe = override(recipe, ["optim.warmup_steps=7", "optim.drops=[3]"])
    seen = []
    hook = register_optimizer_step_pre_hook(lambda adam, *_: seen.append([group["lr"] for group in adam.param_groups]))
    try:
        run = Run(tmp_path, recipe)
        run.go()
    finally:
        hook.remove()
    epoch = np.array([row["epoch"] for row in run.rows("step")])
    step = np.arange(len(epoch))
    warm = {
        "default": np.where(epoch <= 2, epoch / 2, 1),
        "paper-text": np.where(epoch <= 2, epoch / 2, 1),
        "official-code": np.where(epoch <= 2, 0.01 + 0.99 * (epoch - 1) / 2, 1),
        "fast-reid": np.where(step < 7, 0.1 + 0.9 * step / 7, 1),
    }
    expected = LR * warm[reading] * np.where(epoch > 3, 0.1, 1)
    np.testing.assert_allclose(np.array(seen), expected[:, None], rtol=1e-12)
    np.testing.assert_allclose([row["lr"] for row in run.rows("step")], expected, rtol=1e-12)
    assert len(step) > 8
