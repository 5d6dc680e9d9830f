"""Figures as files: sizes, formats, equal files, and words that no font and no formula can break."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from reidkit.errors import DataError, UsageError
from reidkit.plots.style import (
    GROUPS,
    MARKERS,
    _number_ids,
    group_colour,
    group_marker,
    new_figure,
    one_line,
    style_axes,
    write_figure,
)


def drawn(title="Title"):
    figure = new_figure(3, 2)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1])
    style_axes(axes, x="$\\frac", y="x_y", title=title)
    return figure


def test_a_png_has_160_dots_to_the_inch(tmp_path):
    write_figure(drawn(), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert (image.format, image.size) == ("PNG", (480, 320))
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 3


@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<?xml"), ("a.pdf", b"%PDF"), ("a.PNG", b"\x89PNG")])
def test_equal_figures_make_equal_files(tmp_path, name, start):
    write_figure(drawn(), tmp_path / "one" / name)
    write_figure(drawn(), tmp_path / "two" / name)
    content = (tmp_path / "one" / name).read_bytes()
    assert content.startswith(start)
    assert content == (tmp_path / "two" / name).read_bytes()


def test_words_of_an_svg_can_be_searched(tmp_path):
    write_figure(drawn("Ranked & <listed>"), tmp_path / "a.svg")
    assert "Ranked &amp; &lt;listed&gt;" in (tmp_path / "a.svg").read_text(encoding="utf-8")


def test_hostile_words_are_drawn(tmp_path):
    write_figure(drawn("$\\broken{ \x00\udcff 王 \U0001f9cd\n" + "long " * 100), tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size > 1000
    assert one_line("a\nb\x00\udcff" + "c" * 99, most=10) == "a b ?ccccc…"[:9] + "…"


@pytest.mark.parametrize("name", ["a.jpg", "a", ".png"])
def test_other_formats_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"\.png, \.svg or \.pdf"):
        write_figure(drawn(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_figure(drawn(), tmp_path / "file" / "a.png")


def test_more_groups_than_colours_get_other_markers():
    looks = {(group_colour(n), group_marker(n)) for n in range(len(GROUPS) * len(MARKERS))}
    assert len(looks) == len(GROUPS) * len(MARKERS)
    assert (group_colour(0), group_marker(0)) == (GROUPS[0], MARKERS[0])


def test_pyplot_and_its_settings_are_left_alone(tmp_path):
    code = f"""
import sys, matplotlib
from pathlib import Path
from reidkit.plots.style import new_figure, write_figure
names = ("svg.fonttype", "svg.hashsalt", "pdf.fonttype")
before = [matplotlib.rcParams[name] for name in names]
figure = new_figure(2, 2)
figure.add_subplot()
write_figure(figure, Path({str(tmp_path / "a.svg")!r}))
assert "matplotlib.pyplot" not in sys.modules
assert [matplotlib.rcParams[name] for name in names] == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ids_of_an_svg_hang_on_their_order_and_on_nothing_that_nobody_sees() -> None:
    """Two hashes of one rectangle that differ in a last bit get one name, wherever the id is used."""
    one, two = (
        f'<clipPath id="p{name}"/><g clip-path="url(#p{name})"/>'.encode() for name in ("f35baa863e", "5c40b91978")
    )
    assert _number_ids(one, "a") == _number_ids(two, "a") != one
    assert _number_ids(one, "a") != _number_ids(one, "b"), "pages hold several"
