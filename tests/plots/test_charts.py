from __future__ import annotations

import math
import re
from typing import Any

import pytest

from reidkit.plots.charts import (
    POINTS,
    Histogram,
    cmc_figure,
    distance_figure,
    number,
    step_rows,
    throughput_figure,
    training_figures,
    validation_figure,
)
from tests.report.conftest import Page


def step(epoch: int, number_of_step: int, **terms: Any) -> dict[str, Any]:
    return {"kind": "step", "epoch": epoch, "step": number_of_step, **terms}


def points(svg: str) -> int:
    (path,) = [each["d"] for each in Page(svg).all("path") if each["class"] == "line c0"]
    return path.count("L") + 1


def test_what_is_a_number() -> None:
    assert number(1) == 1.0
    for other in (None, "1", True, math.nan, math.inf, -math.inf, 10**400, 1e300, [1]):
        assert number(other) is None


def test_a_step_that_was_done_again_counts_once() -> None:
    """A run stopped in step 3 and resumed at step 2."""
    log = [step(0, 1, loss=9.0), step(0, 2, loss=8.0), step(0, 3, loss=7.0), step(0, 2, loss=6.0), step(0, 3, loss=5.0)]
    assert [row["loss"] for row in step_rows(log)] == [9.0, 6.0, 5.0]


def test_every_term_has_its_curve_and_columns_that_are_none_have_not() -> None:
    log = [
        step(0, n, lr=0.1, loss=3.0, identity=1.0, my_own=2.0, images=64, memory_mb=9, images_per_s=3.0) for n in (1, 2)
    ]
    titles = [figure.title for figure in training_figures(log)]
    assert titles == ["Loss, all terms", "Loss term: identity", "Loss term: my_own", "Learning rate"]


def test_a_single_term_is_not_drawn_twice() -> None:
    assert [figure.title for figure in training_figures([step(0, 1, loss=1.0, identity=1.0)])] == [
        "Loss term: identity"
    ]


def test_a_long_curve_becomes_means_with_a_band() -> None:
    (figure,) = training_figures([step(0, n, loss=float(n % 2)) for n in range(2000)])
    assert points(figure.svg) == POINTS
    assert 'class="band c0"' in figure.svg
    assert figure.caption == "0.5 at first, 0.5 at last"
    (short,) = training_figures([step(0, n, loss=float(n % 2)) for n in range(POINTS)])
    assert points(short.svg) == POINTS
    assert "band" not in short.svg


def test_a_run_that_went_astray_says_so() -> None:
    (figure,) = training_figures([step(0, n, loss=value) for n, value in enumerate((2.0, 1.0, math.nan, math.inf))])
    assert figure.caption == "2 at first, 1 at last; 2 values are not finite and left out"
    assert points(figure.svg) == 2
    assert training_figures([step(0, 1, loss=math.nan)]) == []


def test_epochs_are_marked_where_they_begin() -> None:
    """Three epochs of ten steps, counted through or anew in each: steps 11 and 21 begin the second and third."""
    through = [step(epoch, 10 * epoch + n, loss=1.0) for epoch in range(3) for n in range(1, 11)]
    anew = [step(epoch, n, loss=1.0) for epoch in range(3) for n in range(1, 11)]
    (a,), (b,) = training_figures(through), training_figures(anew)
    assert a.svg == b.svg
    marks = [each["d"] for each in Page(a.svg).all("path") if each["class"] == "mark"]
    # The plot is 300 wide and begins at 46; steps run from 1 to 30.
    assert marks == [f"M{round(46 + 300 * (n - 1) / 29, 1)} 18V184" for n in (11, 21)]
    assert "epoch 1" in a.svg


def test_throughput_is_a_median() -> None:
    figure = throughput_figure([step(0, n, images_per_s=rate) for n, rate in enumerate((1.0, 300.0, 310.0))])
    assert figure is not None
    assert figure.caption == "300 in the median step"
    assert throughput_figure([step(0, 1, loss=1.0)]) is None


def test_validation_is_read_from_epochs_or_scores() -> None:
    for kind in ("epoch", "scores"):
        log = [{"kind": kind, "epoch": n, "rank1": rank1, "map": 0.1} for n, rank1 in enumerate((0.3, 0.6, 0.5))]
        figure = validation_figure([*log, {"kind": "epoch", "epoch": 2, "loss": 1.0}])
        assert figure is not None
        assert figure.caption.startswith("rank-1 60.0 % at best, 50.0 % at last; mAP 10.0 %")
    assert validation_figure([{"kind": "epoch", "epoch": 0, "loss": 1.0}]) is None


def test_cmc_by_hand() -> None:
    """From 80 % to 100 %, the axis begins at 80 %: the curve runs through the whole height of the plot."""
    figure = cmc_figure({"as measured": [0.8, 0.9, 1.0]})
    assert figure is not None
    assert 'd="M46 184L196 101L346 18"' in figure.svg
    assert figure.caption == "as measured: 80.0 % at k = 1, 100.0 % at k = 3"
    assert cmc_figure({}) is None
    assert cmc_figure({"as measured": [math.nan]}) is None
    assert cmc_figure({"one": [1.0]}) is not None


def test_cmc_stops_at_fifty() -> None:
    figure = cmc_figure({"as measured": [k / 1000 for k in range(1000)]})
    assert figure is not None
    assert points(figure.svg) == 50


def test_overlap_by_hand() -> None:
    """Shares 0.75, 0.25, 0 and 0, 0.5, 0.5: both have 0.25 of the middle bin."""
    figure = distance_figure(Histogram([0, 1, 2, 3], [3, 1, 0], [0, 500, 500]))
    assert figure is not None
    assert figure.caption == "overlap 25.0 % (4 pairs with the same id, 1,000 pairs with different ids)"
    assert figure.keys == ("same id", "different ids", "overlap")


@pytest.mark.parametrize(
    "histogram",
    [
        Histogram([], [], []),
        Histogram([0, 1], [1, 2], [1, 2]),
        Histogram([0, 1], [0], [3]),
        Histogram([0, 1], [-1], [3]),
        Histogram([0, math.nan], [1], [3]),
    ],
)
def test_a_histogram_of_nothing_is_not_drawn(histogram: Histogram) -> None:
    assert distance_figure(histogram) is None


def test_the_charts_hold_no_value_that_is_no_number() -> None:
    figures = training_figures([step(0, n, loss=5.0, lr=0.0) for n in range(3)])
    assert len(figures) == 2
    for figure in figures:
        assert not re.search(r"\b(nan|inf)\b", figure.svg)
