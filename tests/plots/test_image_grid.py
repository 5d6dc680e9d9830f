"""Grids of images: sizes by hand, frames and marks, missing files, odd names; and thumbnails for a page."""

import base64
import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from PIL import Image

from reidkit.errors import DataError
from reidkit.plots.image_grid import (
    AttentionRow,
    Grid,
    Overlay,
    Tile,
    attention_figure,
    blend,
    contact_sheet,
    data_uri,
    draw_grid,
    overlay_uri,
    ranked_figure,
    shown_name,
)
from reidkit.plots.style import FALSE, INK, RULE, TRUE, write_figure
from reidkit.report.page import Report, render
from reidkit.types import NO_CAMERA, Dataset, Sample

GREY = Image.new("RGB", (32, 64), (128, 128, 128))


def pixels(figure):
    """The figure as uint8 [H, W, 3]."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts if text.get_text()]


def frames(figure):
    """Colours of the frames, from left to right and down."""
    return [to_hex(patch.get_edgecolor()) for patch in figure.axes[0].patches if not patch.get_fill()]


def boxes(figure):
    """Left, upper, right and lower edge of every image in inches."""
    return [image.get_extent() for image in figure.axes[0].images]


def test_two_tiles_by_hand():
    """Tiles of 1 x 2 inches, margins of 0.12 and gaps of 0.08, a line of 0.19 below: at 160 dots to the inch."""
    red = Image.new("RGB", (10, 20), "#ff0000")
    figure = draw_grid(Grid(rows=[[Tile(red, "one"), Tile(red, "two")]], size=(1, 2)))
    picture = pixels(figure)
    assert figure.get_size_inches() == pytest.approx((0.12 + 1 + 0.08 + 1 + 0.12, 0.12 + 2 + 0.04 + 0.19 + 0.08 + 0.12))
    assert boxes(figure)[0] == pytest.approx((0.12, 1.12, 2.12, 0.12))
    assert boxes(figure)[1] == pytest.approx((1.2, 2.2, 2.12, 0.12))
    assert (picture == [255, 0, 0]).all(2).sum() == pytest.approx(2 * 160 * 320, rel=0.02)
    assert texts(figure) == ["one", "two"]


def test_a_picture_of_another_shape_keeps_its_shape():
    """A square in a tile of 1 x 2 is 1 x 1, in the middle."""
    (box,) = boxes(draw_grid(Grid(rows=[[Tile(Image.new("RGB", (9, 9)))]], size=(1, 2))))
    assert box == pytest.approx((0.12, 1.12, 1.62, 0.62))


def test_a_column_of_nothing_is_a_narrow_gap_and_a_single_hole_is_not():
    tile = Tile(GREY)
    wide = draw_grid(Grid(rows=[[tile, None, tile], [tile, tile, tile]]))
    narrow = draw_grid(Grid(rows=[[tile, None, tile], [tile, None, tile]]))
    assert wide.get_size_inches()[0] - narrow.get_size_inches()[0] == pytest.approx(0.8 + 0.08 - 0.14)
    assert len(wide.axes[0].images) == 5


def test_title_heads_names_and_note_stay_on_the_figure():
    grid = Grid(
        rows=[[Tile(GREY)] * 4] * 2,
        title="a long title $\\broken{ " * 5,
        note=("many words " * 60, "a line"),
        heads=["one", "two", "three", "four"],
        names=["id 1", "a longer name"],
    )
    figure = draw_grid(grid)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for text in figure.axes[0].texts:
        there = text.get_window_extent(canvas.get_renderer())
        assert there.x0 >= 0, text
        assert there.y0 >= 0, text
        assert there.x1 <= figure.bbox.x1, text
        assert there.y1 <= figure.bbox.y1, text
    note = figure.axes[0].texts[-1].get_window_extent(canvas.get_renderer())
    tiles = [image.get_window_extent() for image in figure.axes[0].images]
    assert note.y1 < min(tile.y0 for tile in tiles)


def test_frames_marks_and_the_empty_tile(ranked):
    """True, false, false and unreadable: a green frame, two red ones, a mark in each, a grey tile."""
    figure = ranked_figure([ranked], title="A title")
    assert frames(figure) == [INK, TRUE, FALSE, FALSE]
    words = texts(figure)
    assert words[0] == "A title"
    assert [word for word in words if word in "✓✗"] == ["✓", "✗", "✗"]
    assert words[1:3] == ["AP 0.88", "✓"]
    assert [word for word in words if "·" in word] == ["1 · 0.12", "2 · 0.25", "3 · 0.50"]
    assert words.count("un-\nreadable") == 1
    assert len(figure.axes[0].images) == 3
    rule = np.array([int(RULE[i : i + 2], 16) for i in (1, 3, 5)])
    assert (pixels(figure) == rule).all(2).sum() > 0.8 * 128 * 256


def test_columns_are_cut(ranked):
    assert len(frames(ranked_figure([ranked], columns=1))) == 2
    assert len(frames(ranked_figure([replace(ranked, entries=())]))) == 1


def test_no_list_is_no_figure():
    with pytest.raises(DataError, match="no ranked list"):
        ranked_figure([])


SHADES = {1: 40, 2: 80}


@pytest.fixture
def dataset(tmp_path):
    """Id 1 in dark grey, two images; id 2 in lighter grey, seven images and an unreadable one."""
    samples = []
    for pid, count in ((1, 2), (2, 7)):
        for number in range(count):
            path = tmp_path / f"{pid}_{number}.png"
            Image.new("L", (32, 64), SHADES[pid]).save(path)
            samples.append(Sample(path, pid, number - 1))
    (tmp_path / "unreadable.jpg").write_bytes(b"")
    return Dataset("folder", train=(*samples, Sample(tmp_path / "unreadable.jpg", 2, 99)))


def shades(figure):
    return [int(image.get_array()[0, 0, 0]) for image in figure.axes[0].images]


def test_a_contact_sheet_by_hand(dataset):
    assert dataset.train[0].camid == NO_CAMERA
    figure = contact_sheet(dataset)
    assert shades(figure) == [40] * 2 + [80] * 7
    assert texts(figure) == [
        *("id 1", "no cam", "cam 0"),
        *("id 2", "no cam", *(f"cam {n}" for n in range(6)), "un-\nreadable", "cam 99"),
    ]
    assert frames(figure) == []


def test_the_seed_chooses(dataset):
    assert shades(contact_sheet(dataset, 1, ids=1, images=3)) == shades(contact_sheet(dataset, 1, ids=1, images=3))
    drawn = {tuple(shades(contact_sheet(dataset, seed, ids=1, images=1))) for seed in range(10)}
    assert {(40,), (80,)} <= drawn


def test_without_training_images_the_test_images_are_drawn(dataset):
    samples = dataset.train
    tested = contact_sheet(Dataset("x", query=samples[:2], gallery=samples[2:]))
    assert texts(tested) == texts(contact_sheet(dataset))


def test_a_sheet_of_unreadable_images_is_still_a_figure_and_one_of_nothing_is_not(tmp_path):
    sheet = contact_sheet(Dataset("x", train=(Sample(tmp_path / "none.jpg", 0, 0),)))
    assert "un-\nreadable" in texts(sheet)
    with pytest.raises(DataError, match="holds no images to draw"):
        contact_sheet(Dataset("empty"))


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


def test_an_unreadable_image_has_no_address(tmp_path):
    assert overlay_uri(Overlay(tmp_path / "gone.jpg", np.ones((2, 1)))) == ""
    GREY.save(tmp_path / "a.png")
    assert overlay_uri(Overlay(tmp_path / "a.png", np.ones((2, 1)))).startswith("data:image/jpeg;base64,")


def test_a_row_for_each_query_with_hostile_names_and_missing_files(tmp_path):
    good, odd = tmp_path / "$x_{.png", tmp_path / "gone\udcff.jpg"
    GREY.save(good)
    answers = ((Overlay(good, np.ones((2, 1))), True, 0.5), (Overlay(odd, np.ones((2, 1))), False, -0.25))
    rows = [AttentionRow(Overlay(good, np.eye(2)), answers), AttentionRow(Overlay(odd, np.eye(2)), answers[:1])]
    figure = attention_figure(rows, "$\\broken{")
    assert len(frames(figure)) == 6 + 4
    assert frames(figure)[:6] == [INK, INK, TRUE, TRUE, FALSE, FALSE]
    assert [tick.get_text() for tick in figure.axes[1].get_xticklabels()] == ["least", "most"]
    assert {"true, 0.50", "false, -0.25", "$x_{", "gone?", "rank 2"} <= set(texts(figure))
    assert texts(figure).count("un-\nreadable") == 4
    write_figure(figure, tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == tuple(int(160 * inches) for inches in figure.get_size_inches())


@pytest.mark.parametrize("answers", [0, 1, 3, 10])
def test_how_to_read_the_maps_stays_on_the_figure(tmp_path, answers):
    GREY.save(tmp_path / "a.png")
    overlay = Overlay(tmp_path / "a.png", np.eye(2))
    figure = attention_figure([AttentionRow(overlay, [(overlay, True, 0.5)] * answers)], "t")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    below = next(text for text in figure.axes[0].texts if text.get_text().startswith("How to read it"))
    there = below.get_window_extent(canvas.get_renderer())
    assert 0 <= there.x0 < there.x1 <= figure.bbox.x1
    assert there.y0 >= 0
    bar = figure.axes[1].get_tightbbox(canvas.get_renderer())
    assert there.y1 <= bar.y0
    assert bar.y1 <= min(image.get_window_extent().y0 for image in figure.axes[0].images)


def test_no_query_is_said():
    with pytest.raises(DataError, match="no query to show"):
        attention_figure([], "")


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


def decoded(uri):
    head, _, body = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(body, validate=True)))


def test_a_thumbnail_is_the_image_shrunk_into_the_box(paint):
    """400 x 400 into 96 x 192 is 96 x 96; the colour stays."""
    picture = decoded(data_uri(paint("a.jpg", "#ff0000", (400, 400))))
    assert picture.size == (96, 96)
    red, green, blue = np.asarray(picture.convert("RGB"))[48, 48]
    assert red > 240
    assert max(green, blue) < 20


def test_a_small_image_is_not_stretched(paint):
    assert decoded(data_uri(paint("a.jpg", size=(20, 30)))).size == (20, 30)


def test_metadata_do_not_travel(tmp_path):
    """A camera may write the place and its owner into a photo: none of it reaches the page."""
    image, exif = Image.new("RGB", (60, 120)), Image.Exif()
    exif[0x010E] = "SECRET PLACE"
    image.save(tmp_path / "a.jpg", exif=exif)
    assert b"SECRET" in (tmp_path / "a.jpg").read_bytes()
    assert b"SECRET" not in base64.b64decode(data_uri(tmp_path / "a.jpg").partition(",")[2])


def test_folders_pipes_and_missing_files_have_no_thumbnail(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for name in ("", "pipe.jpg", "gone.jpg", "nul\0.jpg", "n" * 999):
        assert data_uri(tmp_path / name) == ""


def test_only_the_base_name_is_shown_and_it_can_be_written():
    assert shown_name(Path("/home/someone/data/0001_c1.jpg")) == "0001_c1.jpg"
    assert shown_name("runs/one") == "one"
    assert shown_name(Path(os.fsdecode(b"/data/caf\xe9.jpg"))).encode() == b"caf?.jpg"


def test_matplotlib_waits_until_it_is_needed_and_pyplot_for_ever():
    code = """
import sys
import reidkit.report.page, reidkit.plots.image_grid
assert not {"matplotlib", "jinja2", "torch"} & set(sys.modules), sorted(sys.modules)
reidkit.plots.image_grid.draw_grid(reidkit.plots.image_grid.Grid(rows=[[reidkit.plots.image_grid.Tile(None)]]))
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("rows", [[], [[]], [[None, None]]])
def test_a_grid_without_a_tile(rows):
    with pytest.raises(DataError, match="there is no image to draw"):
        Grid(rows=rows)
