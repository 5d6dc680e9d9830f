"""Maps laid over images: where a network looks, as pictures for a page and for a talk."""

from __future__ import annotations

import base64
import io
import textwrap
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from reidkit.atomic import atomic_write, os_errors_as, write_text_atomic
from reidkit.data.decode import decode
from reidkit.errors import DataError
from reidkit.plots.charts import number
from reidkit.plots.style import INK, SMALL, SOFT, WORDS, add_heading, hide_ticks, new_figure, one_line, tighten
from reidkit.terminal import harmless
from reidkit.types import NO_CAMERA, as_samples

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from reidkit.types import Dataset, ImageFile, Names, Sample, Samples

    Map = NDArray[np.floating]


# Ranked lists: a query, and the images of the gallery nearest to it.
#
# Images that cannot be read stay in their place, empty.

THUMBNAIL = (96, 192)
"""The box in pixels, width and height, that a thumbnail on the page fits into."""


@dataclass(frozen=True)
class RankedImage:
    """An image of the gallery: whether it is a true match (`right`), and its distance to the query.

    `pid_name` and `camid_name` are what these are called, or "" where numbers are all.
    """

    path: ImageFile
    pid: int
    camid: int
    right: bool
    distance: float
    pid_name: str = ""
    camid_name: str = ""


@dataclass(frozen=True)
class RankedList:
    """A query and its nearest images, nearest first.

    `average_precision` is a fraction; `first_rank` counts from 1 and is None where the gallery holds no true match.
    """

    query_path: ImageFile
    pid: int
    camid: int
    average_precision: float
    first_rank: int | None
    entries: tuple[RankedImage, ...]
    pid_name: str = ""
    camid_name: str = ""


def shown_name(path: ImageFile) -> str:
    """The base name of a file as text that can be encoded: folders of this machine are nobody's business."""
    return harmless(path.name.encode("utf-8", "replace").decode("utf-8"))


def read_image(path: ImageFile, box: tuple[int, int]) -> Image.Image | None:
    """The image as RGB, shrunk to fit `box` (width, height in pixels), or None where it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # A pipe under an image's name would block for ever.
            if isinstance(path, Path) and not path.is_file():
                return None
            with Image.open(path if isinstance(path, Path) else io.BytesIO(path.read_bytes())) as image:
                image.draft("RGB", box)
                upright = ImageOps.exif_transpose(image).convert("RGB")
        upright.thumbnail(box, Image.Resampling.LANCZOS)
    except Exception:  # Pillow's decoders raise whatever a broken file provokes; a report outlives all of it.
        return None
    return upright


def data_uri(path: ImageFile) -> str:
    """The thumbnail of an image as a JPEG in a `data:` address, or "" where the image cannot be read."""
    image = read_image(path, THUMBNAIL)
    if image is None:
        return ""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


# Pictures for documents: ranked lists as thumbnails, and a curve. matplotlib is loaded when it is needed.

TILE = (96, 192)
FRAME, LIST_GAP, CAPTION, LIST_MARGIN, QUERY_GAP = 5, 12, 34, 16, 26
LIST_LETTERS, HEAD = 20, 30
"""Sizes of letters in pixels: of the words below an image, and of the title."""

LIST_PAPER, DARK_INK, SOFT_INK, EMPTY = "#ffffff", "#1c2126", "#5c6670", "#e4e5e1"
RIGHT, WRONG = "#17794a", "#c0322b"
CELL = (TILE[0] + 2 * FRAME, TILE[1] + 2 * FRAME + CAPTION)
KEY = (
    "Left the query and its average precision (AP), then the nearest gallery images: rank · distance; tick: true match"
)
SHARES = {"rank1", "rank5", "rank10", "rank20", "map", "minp", "map_trapezoid"}
CURVES = ("#0b6e8f", "#b4540a", "#6b4fa3", "#17794a")


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
    width = 2 * LIST_MARGIN + CELL[0] + (QUERY_GAP - LIST_GAP if widest else 0) + widest * (CELL[0] + LIST_GAP)
    lines = ((title, HEAD, DARK_INK), (KEY, LIST_LETTERS, SOFT_INK)) if title else ()
    top = LIST_MARGIN + sum(size + LIST_GAP for _, size, _ in lines)
    height = top + LIST_MARGIN + len(lists) * CELL[1] + (len(lists) - 1) * LIST_GAP
    picture = Image.new("RGB", (width, height), LIST_PAPER)
    y = LIST_MARGIN
    for words, size, ink in lines:
        _fit(picture, (LIST_MARGIN, y), words, size, ink)
        y += size + LIST_GAP
    for number_of_row, ranked in enumerate(lists):
        _row(picture, ranked, widest, top + number_of_row * (CELL[1] + LIST_GAP))
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

    figure = Figure(figsize=(7.2, 4.0), dpi=160, layout="constrained", facecolor=LIST_PAPER)
    axes = figure.add_subplot()
    factor = 100.0 if SHARES.issuperset(y) else 1.0
    form = ".1f" if factor == 100.0 else ".4g"
    lines = [(name, _points(rows, x, name, factor)) for name in y]
    drawn = [_curve(axes, points, name, CURVES[i % len(CURVES)], form) for i, (name, points) in enumerate(lines)]
    if not any(drawn):
        raise DataError(f"{path}: no row has {x} with {' or '.join(y)}: there is nothing to draw")
    quiet: dict[str, Any] = {"color": SOFT_INK, "fontsize": 11, "parse_math": False}
    for name, level in (references or {}).items():
        axes.axhline(level * factor, color=SOFT_INK, linestyle=(0, (4, 3)), linewidth=1.2)
        axes.text(0.01, level * factor, name, transform=axes.get_yaxis_transform(), va="bottom", **quiet)
    _style(axes, x, "per cent" if factor == 100.0 else "", title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_text_atomic(path, buffer.getvalue())


def _row(picture: Image.Image, ranked: RankedList, columns: int, top: int) -> None:
    _crop(picture, ranked.query_path, (LIST_MARGIN, top), DARK_INK)
    precision = number(ranked.average_precision)
    _caption(picture, (LIST_MARGIN, top), "query" if precision is None else f"AP {precision:.2f}")
    left = LIST_MARGIN + CELL[0] + QUERY_GAP
    for rank, entry in enumerate(ranked.entries[:columns], start=1):
        colour = RIGHT if entry.right else WRONG
        _crop(picture, entry.path, (left, top), colour)
        _mark(picture, (left, top), colour, right=entry.right)
        distance = number(entry.distance)
        _caption(picture, (left, top), f"{rank}" if distance is None else f"{rank} · {distance:.2f}")
        left += CELL[0] + LIST_GAP


def _crop(picture: Image.Image, path: ImageFile, corner: tuple[int, int], colour: str) -> None:
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
            centre,
            "cannot\nbe read",
            fill=SOFT_INK,
            font=ImageFont.load_default(LIST_LETTERS),
            anchor="mm",
            align="center",
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
        draw.line([(x + a, y + b) for a, b in stroke], fill=LIST_PAPER, width=4, joint="curve")


def _fit(picture: Image.Image, corner: tuple[int, int], text: str, size: int, ink: str) -> None:
    """Words at the upper left, in smaller letters where the picture is too narrow for them."""
    draw, room = ImageDraw.Draw(picture), picture.width - 2 * LIST_MARGIN
    fonts = (ImageFont.load_default(each) for each in range(size, 5, -1))
    font = next((font for font in fonts if draw.textlength(text, font=font) <= room), ImageFont.load_default(6))
    draw.text(corner, text, fill=ink, font=font, anchor="la")


def _caption(picture: Image.Image, corner: tuple[int, int], text: str) -> None:
    place = (corner[0] + CELL[0] / 2, corner[1] + TILE[1] + 2 * FRAME + CAPTION / 2)
    ImageDraw.Draw(picture).text(place, text, fill=DARK_INK, font=ImageFont.load_default(LIST_LETTERS), anchor="mm")


def _save(picture: Image.Image, path: Path) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    write_text_atomic(path, buffer.getvalue())


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
    axes.set_xlabel(x_label.replace("_", " "), color=SOFT_INK, parse_math=False)
    axes.set_ylabel(y_label, color=SOFT_INK)
    axes.set_title(title, loc="left", color=DARK_INK, fontweight="bold", parse_math=False)
    axes.grid(visible=True, axis="y", color="#dedfda", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(colors=SOFT_INK, length=0)
    axes.margins(x=0.02, y=0.1)


# A contact sheet: what a data set looks like, on one picture.

HEIGHT = 128
"""Height of an image on the sheet, pixels; the width follows the images'."""

SHEET_GAP, LINE_sheet, SHEET_MARGIN = 4, 14, 64
"""Pixels between images, above an image for its label, and left of a row for its id."""

SHEET_PAPER, SHEET_INK, BROKEN = "white", "black", "#b00020"


def write_sheet(benchmark: Dataset, path: Path, seed: int = 0, ids: int = 8, images: int = 10) -> None:
    """Write a PNG with up to `ids` people as rows and up to `images` images of each, ordered and labelled by camera.

    Drawn at random by `seed`, from the training images or, where there are none, from query and gallery. Cameras are
    labelled by their `camid`; an image that cannot be read is crossed out.

    Raises:
        DataError: there are no images, or the picture cannot be written to `path`.
    """
    rows = _choose(
        benchmark.train or as_samples((*benchmark.query, *benchmark.gallery)), np.random.default_rng(seed), ids, images
    )
    if not rows:
        raise DataError(f"the data set {benchmark.name} holds no images to draw")
    sheet = _draw([[(sample, _picture(sample)) for sample in row] for row in rows], benchmark.names)
    with os_errors_as(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            sheet.save(file, "PNG")


def _choose(samples: Samples, rng: np.random.Generator, ids: int, images: int) -> list[list[Sample]]:
    pids, rows = np.unique(samples.pids, return_inverse=True)
    by_pid = np.split(np.argsort(rows, kind="stable"), np.cumsum(np.bincount(rows))[:-1]) if len(pids) else []
    people = sorted(rng.permutation(len(pids))[:ids].tolist())
    chosen = ([samples[int(by_pid[n][place])] for place in rng.permutation(len(by_pid[n]))[:images]] for n in people)
    return [sorted(row, key=lambda sample: (sample.camid, str(sample.path))) for row in chosen]


def _picture(sample: Sample) -> Image.Image | None:
    """The image, small enough that a sheet full of photos fits in memory; None when it cannot be read."""
    try:
        picture = Image.fromarray(decode(sample.path))
    except DataError:
        return None
    picture.thumbnail((4 * HEIGHT, HEIGHT))
    return picture


def _draw(rows: list[list[tuple[Sample, Image.Image | None]]], names: Names) -> Image.Image:
    shapes = [picture.width / picture.height for row in rows for _, picture in row if picture]
    width = int(np.clip(HEIGHT * np.median(shapes or [0.5]), HEIGHT // 4, HEIGHT * 2))
    across, down = width + SHEET_GAP, HEIGHT + LINE_sheet + SHEET_GAP
    sheet = Image.new("RGB", (SHEET_MARGIN + across * max(map(len, rows)), SHEET_GAP + down * len(rows)), SHEET_PAPER)
    draw = ImageDraw.Draw(sheet)
    for row_number, row in enumerate(rows):
        top = SHEET_GAP + down * row_number
        draw.text((SHEET_GAP, top + LINE_sheet), f"id {names.pid(row[0][0].pid)}", fill=SHEET_INK)
        for column, (sample, picture) in enumerate(row):
            left = SHEET_MARGIN + across * column
            draw.text(
                (left, top),
                "no camera" if sample.camid == NO_CAMERA else f"cam {names.camid(sample.camid)}",
                fill=SHEET_INK,
            )
            if picture:
                sheet.paste(ImageOps.pad(picture, (width, HEIGHT), color=SHEET_PAPER), (left, top + LINE_sheet))
            else:
                _cross(draw, left, top + LINE_sheet, width)
    return sheet


def _cross(draw: ImageDraw.ImageDraw, left: int, top: int, width: int) -> None:
    right, bottom = left + width - 1, top + HEIGHT - 1
    draw.rectangle((left, top, right, bottom), outline=BROKEN)
    draw.line((left, top, right, bottom), fill=BROKEN)
    draw.line((left, bottom, right, top), fill=BROKEN)


BOX = (128, 256)
OVERLAY_LETTERS = 12
"""Of a file's name that stand in one line below its image."""

WORDS_BELOW = (
    "How to read it: bright places raise the similarity of two images, dark ones add nothing or lower it. The query's "
    "map is by its nearest true match, from 0 to its own largest value; those of the gallery images are by the query, "
    "from 0 to the largest value of the row. Bright clothes, shoes or bags: the persons are compared. Bright ground, "
    "walls or corners: the background is.",
    "Below a gallery image: true or false match, and its cosine similarity to the query.",
)
LETTER, LINE = 0.078, 0.2
"""Inches that a letter and a line of these words take, no less."""

STRENGTH = 0.55
COLOURS = "inferno"
"""From dark to light: as good for the colour-blind, and on a projector with poor colours."""


@dataclass(frozen=True, eq=False)
class Overlay:
    """An image and a map [h, w] of it. Values from `low` to `high` take all colours; None: those of the map itself."""

    path: ImageFile
    map: Map = field(repr=False)
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """A query with its map; each gallery image with its map, whether it is a true match, and its similarity."""

    query: Overlay
    answers: Sequence[tuple[Overlay, bool, float]]


def blend(image: Image.Image, overlay: Overlay) -> Image.Image:
    """The image with the map over it, enlarged to the image's size without edges of its own."""
    import matplotlib as mpl

    values = np.nan_to_num(np.asarray(overlay.map, np.float32), posinf=0.0, neginf=0.0)
    low = float(values.min()) if overlay.low is None else overlay.low
    high = float(values.max()) if overlay.high is None else overlay.high
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    large = np.asarray(Image.fromarray(scaled).resize(image.size, Image.Resampling.BICUBIC)).clip(0, 1)
    heat = mpl.colormaps[COLOURS](large)[..., :3] * 255
    grey = np.asarray(image.convert("L"), np.float32)[..., None]
    return Image.fromarray((STRENGTH * heat + (1 - STRENGTH) * grey).round().astype(np.uint8))


def overlay_uri(overlay: Overlay) -> str:
    """The thumbnail with its map as a JPEG in a `data:` address, or "" where the image cannot be read."""
    image = read_image(overlay.path, THUMBNAIL)
    if image is None:
        return ""
    buffer = io.BytesIO()
    blend(image, overlay).save(buffer, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def comparison_figure(rows: Sequence[Comparison], title: str) -> Figure:
    """One row for each query: itself, its map, then each gallery image with its map.

    Raises:
        DataError: there is no row.
    """
    if not rows:
        raise DataError("there is no query to show: the data set needs queries and a gallery")
    answers = max(len(row.answers) for row in rows)
    columns = 2 + 2 * answers
    width = 1.15 * columns + 0.3
    words = [line for text in WORDS_BELOW for line in textwrap.wrap(text, int((width - 0.3) / LETTER))]
    made = new_figure(width, 2.55 * len(rows) + 0.8 + LINE * len(words))
    grid = made.subplots(len(rows), columns, squeeze=False)
    hide_ticks(grid.ravel().tolist())
    for row, axes in zip(rows, grid, strict=True):
        _tile(axes[0], row.query, INK, plain=True)
        _tile(axes[1], row.query, INK)
        name = one_line(Path(row.query.path.name).stem, 2 * OVERLAY_LETTERS)
        name = name if len(name) <= OVERLAY_LETTERS else f"{name[:OVERLAY_LETTERS]}\n{name[OVERLAY_LETTERS:]}"
        axes[0].set_xlabel(name, color=SOFT, fontsize=SMALL - 1, parse_math=False)
        for place, (answer, right, similarity) in enumerate(row.answers):
            colour = RIGHT if right else WRONG
            _tile(axes[2 + 2 * place], answer, colour, plain=True)
            _tile(axes[3 + 2 * place], answer, colour)
            word = "true" if right else "false"
            axes[2 + 2 * place].set_xlabel(f"{word}, {similarity:.2f}", color=colour, fontsize=WORDS)
    heads = ["query", "its map", *(word for k in range(answers) for word in (f"rank {k + 1}", "its map"))]
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(head, color=INK, fontsize=WORDS)
    look: dict[str, Any] = {"x": 0.01, "ha": "left", "parse_math": False}
    add_heading(made, title)
    made.supxlabel("\n".join(words), color=SOFT, fontsize=SMALL, **look)
    tighten(made)
    _scale(made, grid)
    return made


def _scale(made: Figure, grid: NDArray[Any]) -> None:
    """What the colours mean: the same for both kinds of map, whose ends differ."""
    import matplotlib as mpl

    colours = mpl.cm.ScalarMappable(cmap=COLOURS)
    bar = made.colorbar(colours, ax=grid.ravel().tolist(), location="bottom", fraction=0.03, aspect=50, pad=0.01)
    bar.set_ticks([0, 1], labels=["least", "most"])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=SMALL, colors=SOFT)


def _tile(axes: Axes, overlay: Overlay, colour: str, *, plain: bool = False) -> None:
    image = read_image(overlay.path, (2 * BOX[0], 2 * BOX[1]))
    if image is None:
        axes.text(0.5, 0.5, "cannot\nbe read", ha="center", va="center", color=SOFT)
        return
    image = image.resize(BOX, Image.Resampling.LANCZOS)
    axes.imshow(np.asarray(image if plain else blend(image, overlay)))
    axes.spines[:].set(visible=True, color=colour, linewidth=2)
