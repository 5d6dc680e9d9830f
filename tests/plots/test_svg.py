from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reidkit.plots.charts import Axis, Chart, Line, draw, round_ticks, tick_text
from tests.report.conftest import Page


def lines(page: Page) -> list[str]:
    return [each["d"] for each in page.all("path") if each["class"] == "line c0"]


def test_an_axis_is_a_straight_line() -> None:
    axis = Axis(0.0, 10.0, 100.0, 200.0)
    assert [axis(value) for value in (0, 5, 10)] == [100.0, 150.0, 200.0]


def test_ticks_by_hand() -> None:
    assert round_ticks(0, 10, 5) == [0, 2, 4, 6, 8, 10]
    assert round_ticks(0, 22000, 5) == [0, 5000, 10000, 15000, 20000]
    assert round_ticks(0.7, 1.0, 4) == pytest.approx([0.7, 0.8, 0.9, 1.0])
    assert round_ticks(3, 3) == [3]


@given(st.floats(-1e29, 1e29), st.floats(1e-12, 1e29), st.integers(3, 8))
def test_ticks_are_few_even_and_inside(low: float, width: float, count: int) -> None:
    high = low + width
    if width < 1e-6 * abs(low) or not high > low:
        return
    ticks = round_ticks(low, high, count)
    assert 1 <= len(ticks) <= count + 1
    slack = 1e-6 * width
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    gaps = [b - a for a, b in itertools.pairwise(ticks)]
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
    """From (0, 0) to (10, 1): from the lower left of the plot, where the axes cross, to its upper right."""
    page = Page(draw(Chart(label="two points", lines=[Line(name="a", x=[0, 10], y=[0, 1])], x_label="step")))
    assert lines(page) == ["M46 184L346 18"]
    assert page.all("svg")[0]["aria-label"] == "two points"


def test_values_on_both_sides_of_nothing() -> None:
    """From -0.8 to 0.8 only 0 is a round value a whole 1 apart: the axis then goes from -1 to 1."""
    page = Page(draw(Chart(label="", lines=[Line(name="a", x=[0, 1], y=[-0.8, 0.8])], x_label="")))
    assert lines(page) == ["M46 167.4L346 34.6"]


def test_text_is_escaped() -> None:
    evil = '"><script>alert(1)</script>'
    svg = draw(Chart(label=evil, lines=[Line(name=evil, x=[0], y=[1])], x_label=evil, marks=[(0, evil)]))
    assert "<script" not in svg
    assert svg.count("&lt;script&gt;") == 3


@given(
    st.lists(st.tuples(st.floats(-1e30, 1e30), st.floats(-1e30, 1e30)), min_size=1, max_size=20),
    st.booleans(),
)
@example([(0.0, 0.0), (0.0, 5e-324)], False)
@example([(1.0, 1e16), (2.0, 1e16 + 2)], False)
def test_any_finite_points_make_a_chart_inside_its_box(points: list[tuple[float, float]], dots: bool) -> None:
    x, y = [a for a, _ in points], [b for _, b in points]
    page = Page(draw(Chart(label="", lines=[Line(name="a", x=x, y=y, low=y, high=y, dots=dots)], x_label="")))
    (path,) = lines(page)
    pairs = [pair.split() for pair in path[1:].split("L")]
    assert len(pairs) == len(points)
    assert all(0 <= float(a) <= 360 and 0 <= float(b) <= 220 for a, b in pairs)
