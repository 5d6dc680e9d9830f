"""A table as a page that needs no network, no script and no other file: the table, its curves, and what it is from."""

from __future__ import annotations

import math
from importlib import resources
from typing import TYPE_CHECKING

from reidkit.experiments.formats import grid
from reidkit.plots.charts import Chart, Figure, Line, draw, epoch_rows, number
from reidkit.recipes.names import network_words
from reidkit.terminal import visible
from reidkit.train import log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reidkit.experiments.table import Cell, Measured, Sheet


def render(sheet: Sheet) -> str:
    """The page as text."""
    from jinja2 import Environment, StrictUndefined

    source = resources.files("reidkit.experiments").joinpath("table.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=visible
    )
    head, rows = grid(sheet)
    return environment.from_string(source).render(
        sheet=sheet,
        data=list(dict.fromkeys(name for column in sheet.columns for name in (column.train, column.test))),
        models=list(dict.fromkeys(network_words(row.recipe) for row in sheet.rows if row.recipe)),
        head=head,
        rows=rows,
        ladders=[figure for i in range(len(sheet.columns)) for figure in _ladder(sheet, i)],
        curves=list(_curves(sheet)),
        failed=[
            (row.line.title, column.name, cell.failed)
            for row in sheet.rows
            for column, cell in zip(sheet.columns, row.cells, strict=True)
            if cell.failed
        ],
    )


def _ladder(sheet: Sheet, i: int) -> Iterator[Figure]:
    """Rank-1 and mAP over the rows, measured (with the deviation over seeds as a band) and as published."""
    for name, title in (("rank1", "Rank-1"), ("map", "mAP")):
        scores: list[Measured] = [getattr(row.cells[i], name) for row in sheet.rows]
        measured = [(float(k + 1), score) for k, score in enumerate(scores) if score.mean is not None]
        paper = [(float(k + 1), score.paper) for k, score in enumerate(scores) if score.paper is not None]
        if len(measured) < 2:
            continue
        x = [place for place, _ in measured]
        means = [score.mean or 0.0 for _, score in measured]
        spread = [score.deviation or 0.0 for _, score in measured]
        banded = any(spread)
        lines = [
            Line(
                name="measured",
                x=x,
                y=means,
                low=[m - s for m, s in zip(means, spread, strict=True)] if banded else (),
                high=[m + s for m, s in zip(means, spread, strict=True)] if banded else (),
                dots=True,
            )
        ]
        if paper:
            lines.append(Line(name="paper", x=[a for a, _ in paper], y=[b for _, b in paper], dots=True))
        values = [value for line in lines for value in (*line.y, *line.low, *line.high)]
        # To even numbers of per cent, so that the axis has ticks near both of its ends.
        edges = max(0.0, math.floor(50 * min(values) - 0.2) / 50), min(1.0, math.ceil(50 * max(values) + 0.2) / 50)
        told = sorted({0, means.index(max(means)), len(means) - 1})  # where it begins, is best, and ends
        titles = [sheet.rows[int(place) - 1].line.title for place in x]
        caption = ", ".join(f"{x[k]:.0f} {titles[k]}: {100 * means[k]:.1f} %" for k in told)
        chart = Chart(
            label=f"{title} over the rows: {caption}",
            lines=lines,
            x_label="row",
            per_cent=True,
            y_range=edges,
            x_ticks=sorted({place for line in lines for place in line.x}),
        )
        yield Figure(f"{title} on {sheet.columns[i].name}", caption, draw(chart), tuple(line.name for line in lines))


def _curves(sheet: Sheet) -> Iterator[Figure]:
    """The loss over the epochs of every run, one chart for each training that the rows share."""
    seen: set[tuple[Path, ...]] = set()
    for row in sheet.rows:
        for column, cell in zip(sheet.columns, row.cells, strict=True):
            if not cell.runs or cell.runs in seen:
                continue
            seen.add(cell.runs)
            lines = [*_losses(cell)]
            if lines:
                title = f"{row.line.title}, trained on {column.train}"
                caption = ", ".join(f"{line.name} ends at {line.y[-1]:.3f}" for line in lines)
                chart = Chart(label=f"Loss of {title}: {caption}", lines=lines, x_label="epoch")
                yield Figure(title, f"loss; {caption}", draw(chart), tuple(line.name for line in lines))


def _losses(cell: Cell) -> Iterator[Line]:
    """The mean loss of each epoch, of as many runs as there are colours."""
    for seed, folder in enumerate(cell.runs[:3]):
        points = [(number(row.get("epoch")), number(row.get("loss"))) for row in epoch_rows(_log(folder))]
        known = [(x, y) for x, y in points if x is not None and y is not None]
        if known:
            yield Line(name=f"seed {seed}", x=[x for x, _ in known], y=[y for _, y in known])


def _log(folder: Path) -> list[log.Row]:
    try:
        return log.read(folder / "log.jsonl")
    except OSError:
        return []
