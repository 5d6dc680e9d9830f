"""A contact sheet of visits: the photo, who reaches the threshold, and who does not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reidkit.data.images import read_for_display
from reidkit.plots.hits import hit_picture, nobody
from reidkit.plots.image_grid import Grid, Tile, draw_grid, tile_pixels
from reidkit.plots.style import INK, TRUE
from reidkit.terminal import counted
from reidkit.video.visit_words import span_words, visit_chance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from reidkit.gallery.protocol import Gallery
    from reidkit.video.visits import Visit, Visits

COLUMNS = 5
"""Visits in a row."""


def visits_figure(gallery: Gallery, photos: Sequence[object], visits: Visits, folder: Path | None = None) -> Figure:
    """Draw the photos of the query, the visits that reach the threshold, and in rows of their own those that do not.

    Args:
        gallery: What was searched; its small pictures are shown where it has some.
        photos: Paths of the photos.
        visits: What was found.
        folder: DIR, the folder that `reidkit video track` has made, where crops lie; None: the working directory.
    """
    size = (1.7, 2.3)
    box = tile_pixels(size)
    rows: list[list[Tile | None]] = [[Tile(read_for_display(Path(str(each)), box), "photo", INK) for each in photos]]
    names = ["photo  "]
    calibrated = visits.threshold is not None
    days = sorted({time.date() for visit in visits for time in (visit.start, visit.end) if time})
    for name, some in (("same" if calibrated else "visits", visits.above), ("below", visits.below)):
        tiles = [_tile(gallery, visit, folder or Path(), box, day=len(days) > 1) for visit in some]
        for at in range(0, len(tiles), COLUMNS):
            rows.append(list(tiles[at : at + COLUMNS]))
            names.append(f"{name}  " if not at else "")
    if not visits:
        rows.append([nobody()])
        names.append("")
    if gallery.calibration:
        meaning = f"same: from the threshold on; {gallery.calibration.strangers()}. below: probably other people."
    else:
        meaning = "Not calibrated: no probabilities, and no threshold."
    clock = "" if not days else " (UTC)" if len(days) > 1 else f" on {days[0]} (UTC)"
    note = (
        f"Each visit by its best picture: rank, probability or similarity, camera, from when to when{clock}.",
        f"{meaning} A person must check every match.",
    )
    title = f"{counted(len(visits), 'visit')} in {counted(visits.passed, 'track')}"
    return draw_grid(Grid(rows=rows, size=size, title=title, note=note, names=names))


def _tile(gallery: Gallery, visit: Visit, folder: Path, box: tuple[int, int], *, day: bool) -> Tile | None:
    when = span_words(visit, day=False) + (f"\n{visit.start:%Y-%m-%d}" if day and visit.start else "")
    frame, mark = (TRUE, "\u2713") if visit.same else ("", "")
    caption = f"{visit.rank}: {visit_chance(visit)}  {(visit.camera or '')[:10]}\n{when}"
    return Tile(hit_picture(gallery, visit.best, folder, box), caption, frame, mark)
