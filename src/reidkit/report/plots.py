"""Pictures for documents: ranked lists as thumbnails, and a curve. matplotlib is loaded when it is needed."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw, ImageFont

from reidkit.report.charts import number
from reidkit.report.files import write_whole
from reidkit.report.lists import RankedList, read_image
from reidkit.types import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from reidkit.types import ImageFile

TILE = (96, 192)
FRAME, GAP, CAPTION, MARGIN, QUERY_GAP = 5, 12, 34, 16, 26
LETTERS, HEAD = 20, 30
"""Sizes of letters in pixels: of the words below an image, and of the title."""

PAPER, INK, SOFT, EMPTY = "#ffffff", "#1c2126", "#5c6670", "#e4e5e1"
RIGHT, WRONG = "#17794a", "#c0322b"
CELL = (TILE[0] + 2 * FRAME, TILE[1] + 2 * FRAME + CAPTION)
KEY = (
    "Left the query and its average precision (AP), then the nearest gallery images: rank · distance; tick: true match"
)
SHARES = {"rank1", "rank5", "rank10", "rank20", "map", "minp", "map_trapezoid"}
COLOURS = ("#0b6e8f", "#b4540a", "#6b4fa3", "#17794a")


def ranked_picture(lists: Sequence[RankedList], path: Path, columns: int = 10, title: str = "") -> None:
    """Write a PNG with one row per list: the query, then up to `columns` gallery images.

    A true match has a green frame and a tick, a false one a red frame and a cross. Below a query is its average
    precision, below an answer its rank and its distance; the line under the title says so.

    Raises:
        DataError: there is no list, or the file cannot be written.
    """
    if not lists:
        raise DataError(f"{path}: there is no ranked list to draw: the test data needs a query and a gallery")
    widest = min(columns, max(len(each.entries) for each in lists))
    width = 2 * MARGIN + CELL[0] + (QUERY_GAP - GAP if widest else 0) + widest * (CELL[0] + GAP)
    lines = ((title, HEAD, INK), (KEY, LETTERS, SOFT)) if title else ()
    top = MARGIN + sum(size + GAP for _, size, _ in lines)
    height = top + MARGIN + len(lists) * CELL[1] + (len(lists) - 1) * GAP
    picture = Image.new("RGB", (width, height), PAPER)
    y = MARGIN
    for words, size, ink in lines:
        _fit(picture, (MARGIN, y), words, size, ink)
        y += size + GAP
    for number_of_row, ranked in enumerate(lists):
        _row(picture, ranked, widest, top + number_of_row * (CELL[1] + GAP))
    _save(picture, path)


def curve_picture(
    rows: Sequence[Mapping[str, Any]],
    path: Path,
    x: str = "epoch",
    y: Sequence[str] = ("rank1", "map"),
    references: Mapping[str, float] | None = None,
    title: str = "",
) -> None:
    """Write a PNG of the columns `y` of `rows` over the column `x`; `references` are level lines with their names.

    Scores (`rank1`, `map`, ...) are fractions and drawn in per cent, and so are the references beside them.

    Raises:
        DataError: no row has both `x` and one of `y`, or the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.0), dpi=160, layout="constrained", facecolor=PAPER)
    axes = figure.add_subplot()
    factor = 100.0 if SHARES.issuperset(y) else 1.0
    form = ".1f" if factor == 100.0 else ".4g"
    lines = [(name, _points(rows, x, name, factor)) for name in y]
    drawn = [_curve(axes, points, name, COLOURS[i % len(COLOURS)], form) for i, (name, points) in enumerate(lines)]
    if not any(drawn):
        raise DataError(f"{path}: no row has {x} with {' or '.join(y)}: there is nothing to draw")
    quiet: dict[str, Any] = {"color": SOFT, "fontsize": 11, "parse_math": False}
    for name, level in (references or {}).items():
        axes.axhline(level * factor, color=SOFT, linestyle=(0, (4, 3)), linewidth=1.2)
        axes.text(0.01, level * factor, name, transform=axes.get_yaxis_transform(), va="bottom", **quiet)
    _style(axes, x, "per cent" if factor == 100.0 else "", title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_whole(path, buffer.getvalue())


def _row(picture: Image.Image, ranked: RankedList, columns: int, top: int) -> None:
    _tile(picture, ranked.query_path, (MARGIN, top), INK)
    precision = number(ranked.average_precision)
    _caption(picture, (MARGIN, top), "query" if precision is None else f"AP {precision:.2f}")
    left = MARGIN + CELL[0] + QUERY_GAP
    for rank, entry in enumerate(ranked.entries[:columns], start=1):
        colour = RIGHT if entry.right else WRONG
        _tile(picture, entry.path, (left, top), colour)
        _mark(picture, (left, top), colour, right=entry.right)
        distance = number(entry.distance)
        _caption(picture, (left, top), f"{rank}" if distance is None else f"{rank} · {distance:.2f}")
        left += CELL[0] + GAP


def _tile(picture: Image.Image, path: ImageFile, corner: tuple[int, int], colour: str) -> None:
    """A framed image, or a framed grey tile that says why it is empty."""
    draw = ImageDraw.Draw(picture)
    x, y = corner
    draw.rounded_rectangle((x, y, x + CELL[0] - 1, y + TILE[1] + 2 * FRAME - 1), radius=7, fill=colour)
    draw.rectangle((x + FRAME, y + FRAME, x + FRAME + TILE[0] - 1, y + FRAME + TILE[1] - 1), fill=EMPTY)
    # Shrunk from twice the tile at most, then stretched where the original is smaller.
    image = read_image(path, (2 * TILE[0], 2 * TILE[1]))
    if image is None:
        centre = (x + CELL[0] / 2, y + FRAME + TILE[1] / 2)
        draw.multiline_text(
            centre, "cannot\nbe read", fill=SOFT, font=ImageFont.load_default(LETTERS), anchor="mm", align="center"
        )
        return
    scale = min(TILE[0] / image.width, TILE[1] / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    place = (x + FRAME + (TILE[0] - size[0]) // 2, y + FRAME + (TILE[1] - size[1]) // 2)
    picture.paste(image.resize(size, Image.Resampling.LANCZOS), place)


def _mark(picture: Image.Image, corner: tuple[int, int], colour: str, *, right: bool) -> None:
    """A tick or a cross, white on the frame's colour, in the lower right corner: drawn, since few fonts have them."""
    draw = ImageDraw.Draw(picture)
    x, y = corner[0] + CELL[0] - FRAME - 26, corner[1] + FRAME + TILE[1] - 26
    draw.rectangle((x, y, x + 26, y + 26), fill=colour)
    strokes = ([(6, 14), (11, 19), (21, 8)],) if right else ([(7, 7), (20, 20)], [(20, 7), (7, 20)])
    for stroke in strokes:
        draw.line([(x + a, y + b) for a, b in stroke], fill=PAPER, width=4, joint="curve")


def _fit(picture: Image.Image, corner: tuple[int, int], text: str, size: int, ink: str) -> None:
    """Words at the upper left, in smaller letters where the picture is too narrow for them."""
    draw, room = ImageDraw.Draw(picture), picture.width - 2 * MARGIN
    fonts = (ImageFont.load_default(each) for each in range(size, 5, -1))
    font = next((font for font in fonts if draw.textlength(text, font=font) <= room), ImageFont.load_default(6))
    draw.text(corner, text, fill=ink, font=font, anchor="la")


def _caption(picture: Image.Image, corner: tuple[int, int], text: str) -> None:
    place = (corner[0] + CELL[0] / 2, corner[1] + TILE[1] + 2 * FRAME + CAPTION / 2)
    ImageDraw.Draw(picture).text(place, text, fill=INK, font=ImageFont.load_default(LETTERS), anchor="mm")


def _save(picture: Image.Image, path: Path) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    write_whole(path, buffer.getvalue())


def _points(rows: Sequence[Mapping[str, Any]], x: str, y: str, factor: float) -> list[tuple[float, float]]:
    pairs = [(number(row.get(x)), number(row.get(y))) for row in rows]
    return [(a, b * factor) for a, b in pairs if a is not None and b is not None]


def _curve(axes: Axes, points: list[tuple[float, float]], name: str, colour: str, form: str) -> bool:
    """The curve with its name at its end, which needs no legend; False where there is nothing to draw."""
    if not points:
        return False
    marker = "o" if len(points) <= 40 else ""
    axes.plot(*zip(*points, strict=True), color=colour, linewidth=2, marker=marker, markersize=4)
    shown = {"rank1": "rank-1", "map": "mAP", "minp": "mINP"}.get(name, name)
    end: dict[str, Any] = {"xytext": (8, 0), "textcoords": "offset points", "va": "center", "parse_math": False}
    axes.annotate(f"{shown} {points[-1][1]:{form}}", points[-1], color=colour, fontsize=12, fontweight="bold", **end)
    return True


def _style(axes: Axes, x_label: str, y_label: str, title: str) -> None:
    axes.set_xlabel(x_label.replace("_", " "), color=SOFT, parse_math=False)
    axes.set_ylabel(y_label, color=SOFT)
    axes.set_title(title, loc="left", color=INK, fontweight="bold", parse_math=False)
    axes.grid(visible=True, axis="y", color="#dedfda", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(colors=SOFT, length=0)
    axes.margins(x=0.02, y=0.1)
