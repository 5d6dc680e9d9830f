"""Maps over images: what is hot is red, whatever the names and files are like."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from reidkit.errors import DataError
from reidkit.plots.image_grid import Comparison, Overlay, blend, comparison_figure, overlay_uri
from reidkit.plots.scatter import Panel, alike, points_figure
from reidkit.plots.style import write_figure
from reidkit.report.page import Report, render

GREY = Image.new("RGB", (32, 64), (128, 128, 128))


def test_the_hot_half_is_light_and_the_cold_one_dark():
    pixels = np.asarray(blend(GREY, Overlay(Path("a"), np.array([[0.0], [1.0]])))).astype(int)
    assert pixels.shape == (64, 32, 3)
    assert (pixels[-1].mean(axis=1) - pixels[0].mean(axis=1) > 100).all()


def test_a_shared_scale_keeps_a_weak_map_weak():
    weak = np.full((2, 1), 0.1)
    weak[1] = 0.2
    own = np.asarray(blend(GREY, Overlay(Path("a"), weak))).astype(int)
    shared = np.asarray(blend(GREY, Overlay(Path("a"), weak, 0.0, 10.0))).astype(int)
    assert own[-1, 0, 0] > shared[-1, 0, 0] + 30


@pytest.mark.parametrize(
    "values", [np.zeros((2, 2)), np.full((2, 2), np.nan), np.array([[np.inf]]), np.array([[-5.0]])]
)
def test_maps_without_a_range_are_drawn(values):
    assert blend(GREY, Overlay(Path("a"), values)).size == GREY.size


def test_an_image_that_cannot_be_read_has_no_address(tmp_path):
    assert overlay_uri(Overlay(tmp_path / "gone.jpg", np.ones((2, 1)))) == ""
    GREY.save(tmp_path / "a.png")
    assert overlay_uri(Overlay(tmp_path / "a.png", np.ones((2, 1)))).startswith("data:image/jpeg;base64,")


def test_a_row_for_each_query_with_hostile_names_and_missing_files(tmp_path):
    good, odd = tmp_path / "$x_{.png", tmp_path / "gone\udcff.jpg"
    GREY.save(good)
    answers = ((Overlay(good, np.ones((2, 1))), True, 0.5), (Overlay(odd, np.ones((2, 1))), False, -0.25))
    rows = [Comparison(Overlay(good, np.eye(2)), answers), Comparison(Overlay(odd, np.eye(2)), answers[:1])]
    figure = comparison_figure(rows, "$\\broken{")
    assert len(figure.axes) == 2 * 6 + 1
    assert [tick.get_text() for tick in figure.axes[-1].get_xticklabels()] == ["least", "most"]
    words = {axes.get_xlabel() for axes in figure.axes}
    assert {"true, 0.50", "false, -0.25"} <= words
    write_figure(figure, tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (int((1.15 * 6 + 0.3) * 160), round((2.55 * 2 + 2.0) * 160))  # six lines below


@pytest.mark.parametrize("answers", [0, 1, 3, 10])
def test_how_to_read_the_maps_stays_on_the_sheet(tmp_path, answers):
    GREY.save(tmp_path / "a.png")
    overlay = Overlay(tmp_path / "a.png", np.eye(2))
    figure = comparison_figure([Comparison(overlay, [(overlay, True, 0.5)] * answers)], "t")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    below = next(text for text in figure.texts if text.get_text().startswith("How to read it"))
    there = below.get_window_extent(canvas.get_renderer())
    assert there.x0 >= 0
    assert there.x1 <= figure.bbox.x1
    assert there.y0 >= 0
    tiles = [axes.get_window_extent(canvas.get_renderer()) for axes in figure.axes]
    assert there.y1 <= min(tile.y0 for tile in tiles)


def test_no_query_is_said():
    with pytest.raises(DataError, match="no query to show"):
        comparison_figure([], "")


def test_points_have_their_places_and_their_people(tmp_path):
    rng = np.random.default_rng(0)
    pids = np.repeat([7, 9, 12], 5)
    panels = [Panel("$f", rng.normal(size=(15, 2)), "x", "y"), Panel("g", np.zeros((15, 2)), "", "")]
    figure = points_figure(panels, pids, "title")
    drawn = [each.get_offsets() for each in figure.axes[0].collections]
    np.testing.assert_allclose(np.concatenate(drawn), panels[0].points)
    assert [text.get_text() for text in figure.axes[0].texts][1:] == ["7", "9", "12"]
    write_figure(figure, tmp_path / "a.png")
    with pytest.raises(DataError, match="no images"):
        points_figure(panels, pids[:0], "")


def test_the_share_of_like_neighbours_by_hand():
    """At 0, 1 and 5 on a line, two people: the nearest to 5 is the other's."""
    points = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    assert alike(points, np.array([3, 3, 4])) == pytest.approx(2 / 3)
    assert alike(points[:1], np.array([3])) == 0.0


def test_a_page_shows_the_maps_and_survives_missing_images(tmp_path):
    good = tmp_path / "<good>.png"
    GREY.save(good)
    maps = [(Overlay(good, np.eye(2)), Overlay(tmp_path / "gone.png", np.eye(2)))]
    page = render(Report(title="run", attention=maps))
    assert page.count("data:image/jpeg;base64,") == 2
    assert 'alt="map of &lt;good&gt;.png"' in page
    assert "no map: the image cannot be read" in page
    assert "How to read the maps" in page
    assert 'id="attention"' not in render(Report(title="run"))
