"""Charts as data and as drawings: every number by hand, every text escaped."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reidkit.plots.charts import (
    POINTS,
    Chart,
    Histogram,
    Line,
    as_number,
    cmc_figure,
    distance_figure,
    draw,
    round_values,
    step_rows,
    throughput_figure,
    tick_text,
    training_figures,
    validation_figure,
)
from tests.pages import Page


def step(epoch: int, number_of_step: int, **terms: Any) -> dict[str, Any]:
    return {"kind": "step", "epoch": epoch, "step": number_of_step, **terms}


def strokes(svg: str, colour: str = "c0") -> list[str]:
    """The corners of every line of this colour."""
    style = f"fill: none; stroke: var(--{colour})"
    return [each["d"] for each in Page(svg).all("path") if each.get("style", "").startswith(style)]


def test_what_is_a_number() -> None:
    assert as_number(1) == 1.0
    for other in (None, "1", True, math.nan, math.inf, -math.inf, 10**400, 1e300, [1]):
        assert as_number(other) is None


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
    (line,) = figure.chart.lines
    assert len(line.x) == len(line.low) == POINTS
    assert (line.y[0], line.low[0], line.high[0]) == (0.5, 0, 1)  # steps 0 to 9
    assert figure.svg.count("fill: var(--c0); opacity: 0.2") == 1
    assert figure.caption == "0.5 at first, 0.5 at last"
    (short,) = training_figures([step(0, n, loss=float(n % 2)) for n in range(POINTS)])
    assert len(short.chart.lines[0].x) == POINTS
    assert not short.chart.lines[0].low


def test_a_run_that_went_astray_says_so() -> None:
    (figure,) = training_figures([step(0, n, loss=value) for n, value in enumerate((2.0, 1.0, math.nan, math.inf))])
    assert figure.caption == "2 at first, 1 at last; 2 values are not finite and left out"
    assert figure.chart.lines[0].y == [2.0, 1.0]
    assert training_figures([step(0, 1, loss=math.nan)]) == []


def test_epochs_are_marked_where_they_begin() -> None:
    """Three epochs of ten steps, counted through or anew in each: steps 11 and 21 begin the second and third."""
    through = [step(epoch, 10 * epoch + n, loss=1.0) for epoch in range(3) for n in range(1, 11)]
    anew = [step(epoch, n, loss=1.0) for epoch in range(3) for n in range(1, 11)]
    (a,), (b,) = training_figures(through), training_figures(anew)
    assert a.svg == b.svg
    assert a.chart.marks == [(11.0, "epoch 1"), (21.0, "2")]
    # The axes are 300 wide and begin at 46; steps run from 1 to 30.
    marks = [each["d"] for each in Page(a.svg).all("path") if "stroke-dasharray" in each["style"]]
    places = [round(46 + 300 * (n - 1) / 29, 1) for n in (11, 21)]
    assert marks == [f"M {x} 184 L {x} 18" for x in places]
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
    assert strokes(figure.svg) == ["M 46 184 L 196 101 L 346 18"]
    assert figure.caption == "as measured: 80.0 % at k = 1, 100.0 % at k = 3"
    assert cmc_figure({}) is None
    assert cmc_figure({"as measured": [math.nan]}) is None
    assert cmc_figure({"one": [1.0]}) is not None


def test_cmc_stops_at_fifty() -> None:
    figure = cmc_figure({"as measured": [k / 1000 for k in range(1000)]})
    assert figure is not None
    assert figure.chart.lines[0].x == [*range(1, 51)]


def test_overlap_by_hand() -> None:
    """Shares 0.75, 0.25, 0 and 0, 0.5, 0.5: both have 0.25 of the middle bin."""
    figure = distance_figure(Histogram([0, 1, 2, 3], [3, 1, 0], [0, 500, 500]))
    assert figure is not None
    assert figure.caption == "overlap 25.0 % (4 pairs with the same id, 1,000 pairs with different ids)"
    assert figure.keys == [("same id", 0), ("different ids", 1), ("overlap", 2)]


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


def test_round_values_by_hand() -> None:
    assert round_values(0, 10, 5) == [0, 2, 4, 6, 8, 10]
    assert round_values(0, 22000, 5) == [0, 5000, 10000, 15000, 20000, 25000]
    assert round_values(0.7, 1.0, 4) == pytest.approx([0.7, 0.8, 0.9, 1.0])


@given(st.floats(-1e29, 1e29), st.floats(1e-12, 1e29), st.integers(3, 8))
def test_round_values_are_few_even_and_enclose_the_range(low: float, width: float, count: int) -> None:
    high = low + width
    if width < 1e-6 * abs(low) or not high > low:
        return
    values = round_values(low, high, count)
    assert 2 <= len(values) <= count + 3
    slack = 1e-6 * width
    assert values[0] - slack <= low < high <= values[-1] + slack
    gaps = [b - a for a, b in itertools.pairwise(values)]
    assert all(math.isclose(gap, gaps[0], rel_tol=1e-3) for gap in gaps)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (20000, "20k"),
        (3.5e-4, "3.5e-4"),
        (1.75e-4, "1.75e-4"),
        (120, "120"),
        (2.5e7, "2.5e7"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert tick_text(value) == text


def test_a_line_runs_from_corner_to_corner() -> None:
    """From (0, 0) to (10, 1): from the lower left of the axes to their upper right."""
    svg = draw(Chart(label="two points", lines=[Line(name="a", x=[0, 10], y=[0, 1])], x_label="step"))
    assert strokes(svg) == ["M 46 184 L 346 18"]
    assert Page(svg).all("svg")[0]["aria-label"] == "two points"
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert texts == ["0", "2", "4", "6", "8", "10", "0", "0.2", "0.4", "0.6", "0.8", "1", "step"]


def test_values_on_both_sides_of_zero() -> None:
    """From -0.8 to 0.8 with lines 0.5 apart: the axis goes from -1 to 1."""
    svg = draw(Chart(label="", lines=[Line(name="a", x=[0, 1], y=[-0.8, 0.8])], x_label=""))
    assert strokes(svg) == ["M 46 167.4 L 346 34.6"]


def test_text_is_escaped() -> None:
    evil = '"><script>alert(1)</script>'
    svg = draw(Chart(label=evil, lines=[Line(name=evil, x=[0], y=[1])], x_label=evil, marks=[(0, evil)]))
    assert "<script" not in svg
    assert svg.count("&lt;script&gt;") == 3


def test_an_inline_chart_brings_no_style_no_id_and_no_font_of_its_own() -> None:
    """They would reach the page around it; markers alone have ids, which differ between charts."""
    charts = [Chart(label=name, lines=[Line(name="a", x=[0, 1], y=[0, 1], dots=True)], x_label="") for name in "ab"]
    ids = []
    for chart in charts:
        page = Page(draw(chart))
        assert not page.all("style")
        assert not page.all("clippath")
        assert "font-family" not in draw(chart)
        assert "#ffffff" not in draw(chart)
        ids += [each["id"] for _, each in page.tags if "id" in each]
        assert {each["xlink:href"] for each in page.all("use")} == {f"#{ids[-1]}"}
    assert len(set(ids)) == len(ids) == 2


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1e30, 1e30), st.floats(-1e30, 1e30)), min_size=1, max_size=20),
    st.booleans(),
)
@example([(0.0, 0.0), (0.0, 5e-324)], False)
@example([(1.0, 1e16), (2.0, 1e16 + 2)], False)
def test_any_finite_points_make_a_chart_inside_its_box(points: list[tuple[float, float]], dots: bool) -> None:
    x, y = [a for a, _ in points], [b for _, b in points]
    svg = draw(Chart(label="", lines=[Line(name="a", x=x, y=y, low=y, high=y, dots=dots)], x_label=""))
    (path,) = strokes(svg)
    corners = [float(number) for number in re.findall(r"-?[\d.]+", path)]
    assert corners
    assert all(0 <= a <= 360 for a in corners[::2])
    assert all(0 <= b <= 220 for b in corners[1::2])
