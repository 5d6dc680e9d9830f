"""A picture of the hits of a search in a gallery."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from reidkit.data.images import read_for_display
from reidkit.plots.image_grid import Grid, Tile, draw_grid, tile_pixels
from reidkit.plots.style import INK, TRUE
from reidkit.terminal import chance_words, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from reidkit.gallery.protocol import Gallery
    from reidkit.gallery.query import Hit, Hits

COLUMNS = 10
NOTE = (
    "The query, then what was found: rank and similarity, probability and camera; a tick from the threshold on.",
    "A person must check every match.",
)


def hits_figure(
    gallery: Gallery, queries: Sequence[object], hits: Hits, folder: Path | None = None, columns: int = COLUMNS
) -> Figure:
    """Draw the images of a query, and below them the hits, `columns` in a row.

    The pictures are the thumbnails of the gallery, or else the images where they lie; those that cannot be read keep
    their places, empty.

    Args:
        gallery: What was searched.
        queries: Paths of the images of the query.
        hits: What was found.
        folder: The folder that paths of images are relative to; None: the working directory.
        columns: Hits in a row.
    """
    asked: list[Tile | None] = [
        Tile(read_for_display(Path(str(query)), tile_pixels()), "query", INK) for query in queries
    ]
    tiles: list[Tile | None] = [_tile(gallery, hit, folder or Path()) for hit in hits]
    rows = [*([asked] if asked else []), *(tiles[at : at + columns] for at in range(0, len(tiles), columns))]
    title = f"{counted(len(hits), 'hit')} in {counted(hits.passed, 'image')}"
    return draw_grid(Grid(rows=rows or [[nobody()]], title=title, note=NOTE))


def nobody() -> Tile:
    """Return what is drawn where nobody was found."""
    return Tile(np.full((2, 1, 3), 255, np.uint8), "nobody")


def _tile(gallery: Gallery, hit: Hit, folder: Path) -> Tile:
    words = " ".join(word for word in (chance_words(hit.probability), (hit.camera or "")[:8]) if word)
    # A hit below the threshold gets no cross: it need not be a false match.
    frame, mark = (TRUE, "✓") if hit.same else ("", "")
    caption = f"{hit.rank}: {hit.similarity:.2f}\n{words}".rstrip()
    return Tile(hit_picture(gallery, hit, folder, tile_pixels()), caption, frame, mark)


def hit_picture(gallery: Gallery, hit: Hit, folder: Path, box: tuple[int, int]) -> Image.Image | None:
    """Return the small picture of a row that the gallery holds, or its image in a folder; None: neither can be read."""
    if small := gallery.thumbnail(hit.key):
        try:
            return Image.open(io.BytesIO(small)).convert("RGB")
        except (OSError, ValueError, SyntaxError):
            return None
    return read_for_display(folder / hit.image, box) if hit.image else None
