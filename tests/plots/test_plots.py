from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from reidkit.errors import DataError
from reidkit.plots.image_grid import curve_picture, ranked_picture

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.plots.image_grid import RankedList

GREEN, RED, EMPTY = (0x17, 0x79, 0x4A), (0xC0, 0x32, 0x2B), (0xE4, 0xE5, 0xE1)
ROWS = [{"epoch": n, "rank1": n / 10, "map": n / 20, "loss": 10.0 - n} for n in range(1, 8)]


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def count(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> int:
    return int((picture == np.array(colour, np.uint8)).all(axis=2).sum())


def test_the_size_by_hand(ranked: RankedList, tmp_path: Path) -> None:
    """A cell is 96 + 2 * 5 wide and 192 + 2 * 5 + 34 high; margins of 16, gaps of 12, and 26 behind the query."""
    ranked_picture([ranked, ranked], tmp_path / "a.png")
    height, width, _ = pixels(tmp_path / "a.png").shape
    assert width == 16 + 106 + 26 + 3 * 106 + 2 * 12 + 16
    assert height == 16 + 236 + 12 + 236 + 16


def test_a_title_and_what_the_numbers_mean(ranked: RankedList, tmp_path: Path) -> None:
    """Two lines of 30 and 20 pixels with their gaps, and the lists below as they were; a long title stays inside."""
    ranked_picture([ranked], tmp_path / "a.png")
    ranked_picture([ranked], tmp_path / "b.png", title="a long title " * 4)
    without, titled = pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png")
    head = 30 + 12 + 20 + 12
    np.testing.assert_array_equal(titled[16 + head :], without[16:])
    assert (titled[16 : 16 + head] < 128).any()
    assert (titled[:, -16:] == 255).all()


def test_frames_marks_and_the_empty_tile(ranked: RankedList, tmp_path: Path) -> None:
    """Right, wrong, wrong and not to be read: a green frame, two red ones, a white mark in each, a grey tile."""
    ranked_picture([ranked], tmp_path / "a.png")
    picture = pixels(tmp_path / "a.png")
    lefts = [16 + 106 + 26 + n * 118 for n in range(3)]
    for left, colour in zip(lefts, (GREEN, RED, RED), strict=True):
        assert tuple(picture[100, left + 2]) == colour
        corner = picture[16 + 192 + 5 - 26 : 16 + 192 + 5, left + 106 - 5 - 26 : left + 106 - 5]
        assert count(corner, colour) > 200
        assert count(corner, (255, 255, 255)) > 40
        # A cross has a stroke in its upper left, a tick has none.
        assert (tuple(corner[9, 9]) == (255, 255, 255)) == (colour == RED)
    assert tuple(picture[30, lefts[2] + 12]) == EMPTY
    assert count(picture[:, : lefts[2]], EMPTY) == 0


def test_a_picture_of_another_shape_keeps_its_shape(ranked: RankedList, tmp_path: Path) -> None:
    square = tmp_path / "square.png"
    Image.new("RGB", (300, 300), "#0000ff").save(square)
    ranked_picture([replace(ranked, query_path=square, entries=())], tmp_path / "a.png")
    assert count(pixels(tmp_path / "a.png"), (0, 0, 255)) == 96 * 96


def test_columns_are_cut(ranked: RankedList, tmp_path: Path) -> None:
    ranked_picture([ranked], tmp_path / "a.png", columns=1)
    assert pixels(tmp_path / "a.png").shape[1] == 16 + 106 + 26 + 106 + 16


def test_no_list_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no ranked list"):
        ranked_picture([], tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_a_curve_has_its_size_its_lines_and_its_reference(tmp_path: Path) -> None:
    curve_picture(ROWS, tmp_path / "plain.png")
    curve_picture(ROWS, tmp_path / "with.png", references={"paper": 0.945})
    plain, referred = pixels(tmp_path / "plain.png"), pixels(tmp_path / "with.png")
    assert plain.shape == referred.shape == (640, 1152, 3)
    assert count(plain, (0x0B, 0x6E, 0x8F)) > 500
    assert count(plain, (0xB4, 0x54, 0x0A)) > 500
    assert count(referred, (0x5C, 0x66, 0x70)) > count(plain, (0x5C, 0x66, 0x70)) + 300


@pytest.mark.parametrize(
    ("column", "last", "says"),
    [("map", 0.908411, "mAP 90.8"), ("map", 0.80499, "mAP 80.5"), ("loss", 1.23456, "loss 1.235")],
)
def test_the_last_score_has_one_decimal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, last: float, says: str
) -> None:
    said: list[str] = []
    monkeypatch.setattr("matplotlib.axes.Axes.annotate", lambda _, text, *__, **___: said.append(text))
    curve_picture([{"epoch": 1, column: 0.5}, {"epoch": 2, column: last}], tmp_path / "a.png", y=[column])
    assert said == [says]


def test_odd_words_and_missing_values_are_drawn(tmp_path: Path) -> None:
    """A dollar sign begins a formula for matplotlib, and here is a dollar sign."""
    rows: list[dict[str, float]] = [
        {"epoch": 1, "$x_": 1.0},
        {"epoch": 2},
        {"epoch": 3, "$x_": float("nan")},
        {"epoch": 4, "$x_": 2.0},
    ]
    curve_picture(rows, tmp_path / "a.png", y=["$x_", "none"], references={"$\\frac": 1.5}, title="$\\broken{")
    assert pixels(tmp_path / "a.png").shape == (640, 1152, 3)


def test_no_point_is_no_curve(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no row has epoch with rank1 or map"):
        curve_picture([{"epoch": 1, "loss": 1.0}], tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_matplotlib_waits_until_it_is_needed_and_pyplot_for_ever(tmp_path: Path) -> None:
    code = f"""
import sys
import reidkit.report.page, reidkit.plots.image_grid
assert not {{"matplotlib", "jinja2", "torch"}} & set(sys.modules), sorted(sys.modules)
from pathlib import Path
reidkit.plots.image_grid.curve_picture([{{"epoch": 1, "map": 0.5}}], Path({str(tmp_path / "a.png")!r}))
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
