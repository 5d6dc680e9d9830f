"""Figure 3 against the equations of its readings, written out again."""

import numpy as np
import pytest

from reidkit.experiments.luo2019 import figures

DROPPED = {40: 3.5e-4, 70: 3.5e-5, 120: 3.5e-6}


def at(curve, epoch):
    """The rate in the middle of an epoch."""
    return curve.rates[int(np.abs(np.array(curve.epochs) - epoch).argmin())]


@pytest.mark.parametrize(
    ("name", "first", "tenth"),
    [
        ("no warm-up", 3.5e-4, 3.5e-4),
        ("warm-up: paper", 3.5e-5, 3.5e-4),
        ("warm-up: code", 3.5e-6, 3.1535e-4),
        ("warm-up: equation-1", 3.5e-6, 3.5e-5),
    ],
)
def test_the_first_and_the_tenth_epoch_by_hand(name, first, tenth):
    curve = figures.curves()[name]
    assert at(curve, 1) == pytest.approx(first)
    assert at(curve, 10) == pytest.approx(tenth)
    for last, rate in DROPPED.items():
        assert at(curve, last) == pytest.approx(rate)
    assert at(curve, 41) == pytest.approx(3.5e-5)
    assert at(curve, 71) == pytest.approx(3.5e-6)


def test_a_warm_up_in_steps_rises_within_epochs():
    """fast-reid: a tenth at step 0, whole at step 2,000, which is in epoch 11 of 186 steps; drops after 49 and 99."""
    curve = figures.curves()["fast-reid"]
    assert curve.rates[0] == pytest.approx(3.5e-5)
    steps = np.round((np.array(curve.epochs) - 0.5) * 186)
    rising = steps < 2000
    expected = 3.5e-4 * (0.1 + 0.9 * steps / 2000)
    np.testing.assert_allclose(np.array(curve.rates)[rising], expected[rising])
    assert at(curve, 49) == pytest.approx(3.5e-4)
    assert at(curve, 50) == pytest.approx(3.5e-5)
    assert at(curve, 100) == pytest.approx(3.5e-6)


def test_what_is_drawn_is_what_the_schedule_says():
    whole, start = figures.figure3().axes
    for line, (name, curve) in zip(whole.get_lines(), figures.curves().items(), strict=True):
        assert line.get_label() == name
        np.testing.assert_array_equal(line.get_ydata(), curve.rates)
        np.testing.assert_array_equal(line.get_xdata(), curve.epochs)
    assert whole.get_yscale() == "log"
    assert start.get_yscale() == "linear"
