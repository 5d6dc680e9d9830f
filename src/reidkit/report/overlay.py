"""Maps laid over images: where a network looks, as pictures for a page and for a talk."""

from __future__ import annotations

import base64
import io
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from reidkit.report.canvas import INK, SMALL, SOFT, WORDS, heading, nothing_but, sheet, shown, tighten
from reidkit.report.lists import THUMBNAIL, read_image
from reidkit.report.plots import RIGHT, WRONG
from reidkit.types import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from reidkit.types import ImageFile

    Map = NDArray[np.floating]

BOX = (128, 256)
LETTERS = 12
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
    made = sheet(width, 2.55 * len(rows) + 0.8 + LINE * len(words))
    grid = made.subplots(len(rows), columns, squeeze=False)
    nothing_but(grid.ravel().tolist())
    for row, axes in zip(rows, grid, strict=True):
        _tile(axes[0], row.query, INK, plain=True)
        _tile(axes[1], row.query, INK)
        name = shown(Path(row.query.path.name).stem, 2 * LETTERS)
        name = name if len(name) <= LETTERS else f"{name[:LETTERS]}\n{name[LETTERS:]}"
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
    heading(made, title)
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
