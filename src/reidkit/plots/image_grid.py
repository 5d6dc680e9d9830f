"""Grids of images: ranked lists, contact sheets and attention maps; and images as thumbnails for a page.

Everything that shows several images is a `Grid` of tiles, drawn by `draw_grid`. An image that cannot be read keeps its
place, empty.
"""

from __future__ import annotations

import base64
import io
import textwrap
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from reidkit.data.images import read_for_display
from reidkit.errors import DataError
from reidkit.plots.charts import as_number
from reidkit.plots.style import DPI, FALSE, INK, MARGIN, PAPER, RULE, SMALL, SOFT, TITLE, TRUE, one_line
from reidkit.terminal import harmless
from reidkit.types import NO_CAMERA, as_samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from reidkit.types import Dataset, ImageFile, Names, Sample, Samples

    Pixels = Image.Image | NDArray[np.uint8]

GAP, SPACE, LINE = 0.08, 0.14, 0.19
"""Inches between tiles, of an empty column, and of a line of text."""
LETTER = 0.08
"""Inches that a letter takes, no less."""
TILE = (0.8, 1.6)
"""Width and height in inches of a tile, unless a grid says otherwise."""
FRAME = 3.0
"""Points of a tile's frame."""


@dataclass(frozen=True, eq=False)
class Tile:
    """An image (None: unreadable), a frame in a colour, a mark on it, and a caption of one or two lines below."""

    image: Pixels | None
    caption: str = ""
    frame: str = ""
    mark: str = ""
    ink: str = INK


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Rows of tiles of one `size` (width, height in inches).

    None leaves a place empty; a column without any tile is a narrow gap. `heads` are written above the columns,
    `names` left of the rows (of several lines the first one is the name), `note` below them all. `colours` names a
    colour map, whose bar is drawn above the note.

    Raises:
        DataError: there is no tile.
    """

    rows: Sequence[Sequence[Tile | None]]
    size: tuple[float, float] = TILE
    title: str = ""
    note: Sequence[str] = ()
    heads: Sequence[str] = ()
    names: Sequence[str] = ()
    colours: str = ""

    def __post_init__(self) -> None:
        if not any(tile for row in self.rows for tile in row):
            raise DataError("there is no image to draw: give a grid with a tile in it")


def draw_grid(grid: Grid) -> Figure:
    """Draw a grid as a figure, whose size follows from that of its tiles and texts."""
    from matplotlib.figure import Figure

    # Where everything lies, in inches from the left and from the top: columns, rows, captions, and the note below.
    width, height = grid.size
    columns = max(map(len, grid.rows))
    filled = [any(column < len(row) and row[column] for row in grid.rows) for column in range(columns)]
    names = max((len(line) for name in grid.names for line in name.split("\n")), default=0) * LETTER
    lefts = MARGIN + names + np.cumsum([0.0, *(width + GAP if each else SPACE for each in filled)])
    captions = max(tile.caption.count("\n") + 1 if tile.caption else 0 for row in grid.rows for tile in row if tile)
    top = MARGIN + (1.7 * TITLE / 72 if grid.title else 0) + (LINE if grid.heads else 0)
    pitch = height + 0.04 + LINE * captions + GAP
    right = max(lefts[-1] - GAP, 4.0 if grid.note else 0.0)
    note = [line for text in grid.note for line in textwrap.wrap(text, int((right - MARGIN) / LETTER))]
    bottom = top + pitch * len(grid.rows)
    total = bottom + (0.36 if grid.colours else 0) + LINE * len(note) + MARGIN

    # One pair of axes over the whole page, in the same inches, with y growing downwards.
    figure = Figure(figsize=(right + MARGIN, total), dpi=DPI, facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, right + MARGIN), ylim=(total, 0), autoscale_on=False)
    axes.axis("off")
    if grid.title:
        letters = min(TITLE, 72 * (right - MARGIN) / (0.7 * len(grid.title)))
        _write(axes, (MARGIN, MARGIN), one_line(grid.title, 110), fontsize=letters, fontweight="bold", va="top")
    for left, head in zip(lefts, grid.heads, strict=False):
        _write(axes, (left + width / 2, top - 0.05), head, ha="center", va="bottom")
    # The tiles, row by row, each row with its name on the left.
    for i, row in enumerate(grid.rows):
        if grid.names:
            _write_name(axes, (MARGIN, top + i * pitch + height / 2), grid.names[i])
        for left, tile in zip(lefts, row, strict=False):
            if tile:
                _draw_tile(axes, tile, (float(left), top + i * pitch), grid.size)
    if grid.colours:
        _draw_bar(figure, grid.colours, (MARGIN, bottom, right))
    _write(axes, (MARGIN, total - MARGIN), "\n".join(note), color=SOFT, va="bottom", linespacing=72 * LINE / SMALL)
    return figure


def _draw_tile(axes: Axes, tile: Tile, corner: tuple[float, float], size: tuple[float, float]) -> None:
    """Draw a tile whose upper left corner is there; the image keeps its shape, as large as fits."""
    from matplotlib.patches import Rectangle

    (x, y), (width, height) = corner, size
    axes.add_patch(Rectangle(corner, width, height, facecolor=RULE, edgecolor="none", zorder=-1))
    if tile.image is None:
        _write(axes, (x + width / 2, y + height / 2), "un-\nreadable", color=SOFT, ha="center", va="center")
    else:
        pixels = np.asarray(tile.image)
        scale = min(width / pixels.shape[1], height / pixels.shape[0])
        across, down = scale * pixels.shape[1], scale * pixels.shape[0]
        left, top = x + (width - across) / 2, y + (height - down) / 2
        axes.imshow(pixels, extent=(left, left + across, top + down, top), aspect="auto")
    if tile.frame:
        axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=tile.frame, linewidth=FRAME))
    if tile.mark:
        box = {"facecolor": tile.frame, "edgecolor": "none", "pad": 2.5}
        _write(axes, (x + width - 0.05, y + height - 0.05), tile.mark, color=PAPER, ha="right", va="bottom", bbox=box)
    _write(axes, (x + width / 2, y + height + 0.05), tile.caption, color=tile.ink, ha="center", va="top")


def _write_name(axes: Axes, place: tuple[float, float], name: str) -> None:
    """Write the name of a row beside its middle: the first line, and in a quieter colour the others."""
    first, _, rest = name.partition("\n")
    _write(axes, place, first, va="bottom" if rest else "center", fontweight="bold" if rest else "normal")
    _write(axes, (place[0], place[1] + 0.03), rest, color=SOFT, va="top")


def _write(axes: Axes, place: tuple[float, float], text: str, **look: Any) -> None:
    axes.text(*place, text, **{"color": INK, "fontsize": SMALL, "parse_math": False, **look})


def _draw_bar(figure: Figure, colours: str, place: tuple[float, float, float]) -> None:
    """Draw the bar of a colour map between two distances from the left, `place[1]` inches from the top."""
    from matplotlib.cm import ScalarMappable

    width, height = figure.get_size_inches()
    left, top, right = place
    axes = figure.add_axes((left / width, 1 - (top + 0.12) / height, (right - left) / width, 0.12 / height))
    bar = figure.colorbar(ScalarMappable(cmap=colours), cax=axes, orientation="horizontal")
    bar.set_ticks([0.02, 0.98], labels=["least", "most"])
    bar.outline.set_visible(False)
    axes.tick_params(length=0, labelsize=SMALL, colors=SOFT)


def tile_pixels(size: tuple[float, float] = TILE) -> tuple[int, int]:
    """Return width and height in pixels of a tile of this size in inches."""
    return round(DPI * size[0]), round(DPI * size[1])


# Ranked lists: a query, and the images of the gallery nearest to it.


@dataclass(frozen=True)
class RankedImage:
    """An image of the gallery: whether it is a true match, and its distance to the query.

    `pid_name` and `camid_name` are the names of its id and its camera, or "" where these have numbers alone.
    """

    path: ImageFile
    pid: int
    camid: int
    is_match: bool
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


RANKED = (
    "Left the query with its average precision (AP), then the nearest gallery images with rank and distance.",
    "✓ true match, ✗ false match.",
)


def ranked_figure(lists: Sequence[RankedList], columns: int = 10, title: str = "") -> Figure:
    """Draw one row for each list: the query, then up to `columns` gallery images.

    A true match has a green frame and a tick, a false one a red frame and a cross.

    Raises:
        DataError: there is no list.
    """
    if not lists:
        raise DataError("there is no ranked list to draw: the test data needs a query and a gallery")
    rows: list[list[Tile | None]] = []
    for ranked in lists:
        precision = as_number(ranked.average_precision)
        words = "query" if precision is None else f"AP {precision:.2f}"
        row = [Tile(read_for_display(ranked.query_path, tile_pixels()), words, INK), None]
        for rank, entry in enumerate(ranked.entries[:columns], start=1):
            distance = as_number(entry.distance)
            words = f"{rank}" if distance is None else f"{rank} · {distance:.2f}"
            frame, mark = (TRUE, "✓") if entry.is_match else (FALSE, "✗")
            row.append(Tile(read_for_display(entry.path, tile_pixels()), words, frame, mark))
        rows.append(row)
    return draw_grid(Grid(rows=rows, title=title, note=RANKED))


def pair_figure(paths: tuple[ImageFile, ImageFile], same: bool | None, similarity: float, title: str) -> Figure:
    """Draw two images side by side, framed as one person or as two where that is known.

    Raises:
        DataError: an image cannot be read.
    """
    size = (1.4, 2.8)
    frame, mark = {True: (TRUE, "✓"), False: (FALSE, "✗"), None: (INK, "")}[same]
    tiles = [
        Tile(read_for_display(path, tile_pixels(size)), one_line(Path(path.name).name, 14), frame, mark)
        for path in paths
    ]
    note = textwrap.wrap(title, 44)
    return draw_grid(Grid(rows=[tiles], size=size, title=f"similarity {similarity:.3f}", note=note))


# A contact sheet: what a data set looks like.

SHEET_TILE = (0.5, 1.0)


def contact_sheet(dataset: Dataset, seed: int = 0, ids: int = 8, images: int = 10) -> Figure:
    """Draw up to `ids` ids as rows and up to `images` images of each, sorted by camera.

    Both are drawn at random by `seed` from the training images or, where there are none, from query and gallery.

    Raises:
        DataError: there are no images.
    """
    rng = np.random.default_rng(seed)
    rows = _choose(dataset.train or as_samples((*dataset.query, *dataset.gallery)), rng, ids, images)
    if not rows:
        raise DataError(f"the data set {dataset.name} holds no images to draw")
    tiles = [[_sheet_tile(sample, dataset.names) for sample in row] for row in rows]
    names = [one_line(f"id {dataset.names.pid(row[0].pid)}", 16) for row in rows]
    return draw_grid(Grid(rows=tiles, size=SHEET_TILE, names=names))


def _choose(samples: Samples, rng: np.random.Generator, ids: int, images: int) -> list[list[Sample]]:
    pids, index = np.unique(samples.pids, return_inverse=True)
    by_pid = np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1]) if len(pids) else []
    chosen = sorted(rng.permutation(len(pids))[:ids].tolist())
    rows = ([samples[int(by_pid[n][k])] for k in rng.permutation(len(by_pid[n]))[:images]] for n in chosen)
    return [sorted(row, key=lambda sample: (sample.camid, str(sample.path))) for row in rows]


def _sheet_tile(sample: Sample, names: Names) -> Tile:
    camera = "no cam" if sample.camid == NO_CAMERA else one_line(f"cam {names.camid(sample.camid)}", 7)
    return Tile(read_for_display(sample.path, tile_pixels(SHEET_TILE)), camera, ink=SOFT)


# Attention maps over images.

HOW_TO_READ = (
    "How to read it: bright regions raise the similarity of two images, dark ones add nothing or lower it. The query's "
    "map is by its nearest true match, from 0 to its own largest value; those of the gallery images are by the query, "
    "from 0 to the largest value of the row. Bright clothes, shoes or bags: the persons are compared. Bright ground, "
    "walls or corners: the background is.",
    "Below a gallery image: true or false match, and its cosine similarity to the query.",
)
ATTENTION_TILE = (1.05, 2.1)
OPACITY = 0.55
COLOURS = "inferno"
"""From dark to light: as good for the colour-blind, and on a projector with poor colours."""


@dataclass(frozen=True, eq=False)
class Overlay:
    """An image and a map [h, w] of it. Values from `low` to `high` take all colours; None: those of the map itself."""

    path: ImageFile
    map: NDArray[np.floating] = field(repr=False)
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, eq=False)
class AttentionRow:
    """A query with its map; each gallery image with its map, whether it is a true match, and its similarity."""

    query: Overlay
    answers: Sequence[tuple[Overlay, bool, float]]


def blend(image: Image.Image, overlay: Overlay) -> Image.Image:
    """Lay the map over the image in grey, enlarged to the image's size without edges of its own."""
    import matplotlib as mpl

    values = np.nan_to_num(np.asarray(overlay.map, np.float32), posinf=0.0, neginf=0.0)
    low = float(values.min()) if overlay.low is None else overlay.low
    high = float(values.max()) if overlay.high is None else overlay.high
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    large = np.asarray(Image.fromarray(scaled).resize(image.size, Image.Resampling.BICUBIC)).clip(0, 1)
    heat = mpl.colormaps[COLOURS](large)[..., :3] * 255
    grey = np.asarray(image.convert("L"), np.float32)[..., None]
    return Image.fromarray((OPACITY * heat + (1 - OPACITY) * grey).round().astype(np.uint8))


def attention_figure(rows: Sequence[AttentionRow], title: str) -> Figure:
    """Draw one row for each query: itself, its map, then each gallery image with its map.

    Raises:
        DataError: there is no row.
    """
    if not rows:
        raise DataError("there is no query to show: the data set needs queries and a gallery")
    tiles = []
    for row in rows:
        name = textwrap.wrap(one_line(Path(row.query.path.name).stem, 24), 12)[:2]
        tiles.append([*_with_map(row.query, "\n".join(name), INK, SOFT)])
        for answer, is_match, similarity in row.answers:
            colour = TRUE if is_match else FALSE
            words = f"{'true' if is_match else 'false'}, {similarity:.2f}"
            tiles[-1] += _with_map(answer, words, colour, colour)
    ranks = (word for k in range(max(map(len, tiles)) // 2 - 1) for word in (f"rank {k + 1}", "its map"))
    heads = ["query", "its map", *ranks]
    grid = Grid(rows=tiles, size=ATTENTION_TILE, title=title, note=HOW_TO_READ, heads=heads, colours=COLOURS)
    return draw_grid(grid)


def _with_map(overlay: Overlay, caption: str, frame: str, ink: str) -> Iterable[Tile]:
    image = read_for_display(overlay.path, tile_pixels(ATTENTION_TILE))
    # Enlarged first: the map is finer than the pixels of a small image.
    large = image and image.resize(tile_pixels(ATTENTION_TILE), Image.Resampling.LANCZOS)
    return Tile(large, caption, frame, ink=ink), Tile(large and blend(large, overlay), frame=frame)


# Thumbnails for a page.

THUMBNAIL = (96, 192)
"""The box in pixels, width and height, that a thumbnail fits into."""


def data_uri(path: ImageFile) -> str:
    """Return the thumbnail of an image as a JPEG in a `data:` address, or "" where the image cannot be read."""
    image = read_for_display(path, THUMBNAIL)
    return _jpeg_uri(image) if image else ""


def overlay_uri(overlay: Overlay) -> str:
    """Return the thumbnail with its map as a JPEG in a `data:` address, or "" where the image cannot be read."""
    image = read_for_display(overlay.path, THUMBNAIL)
    return _jpeg_uri(blend(image, overlay)) if image else ""


def _jpeg_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def shown_name(path: ImageFile | str) -> str:
    """Return the base name of a file as text that can be encoded; folders of this machine are left out."""
    name = PurePath(path).name if isinstance(path, str) else path.name
    return harmless(name.encode("utf-8", "replace").decode("utf-8"))
