"""The results of a table as text, CSV, Markdown, LaTeX, JSON and a page. Scores are in per cent: rank-1 / mAP."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from typing import TYPE_CHECKING

from reidkit.plots.charts import Chart, ChartFigure, Line, curve_over_epochs, epoch_rows
from reidkit.recipes import network_words
from reidkit.report.page import render_template
from reidkit.terminal import harmless, percent, table_lines
from reidkit.train import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from reidkit.experiments.results import Cell, ResultTable, Score

NONE = "-"


def all_formats(table: ResultTable) -> dict[str, str]:
    """Return the table in every format, by the ending of its file."""
    return {
        "txt": text(table),
        "json": json.dumps(table.as_json(), indent=2) + "\n",
        "csv": comma_separated(table),
        "md": markdown(table),
        "tex": latex(table),
        "html": page(table),
    }


def text(table: ResultTable) -> str:
    """Return the table as plain text, with its notes."""
    head, rows = grid(table)
    lines = table_lines(head, rows, left=2, width=None)
    return "\n".join([harmless(table.title), "", *lines, *map(harmless, remarks(table))]) + "\n"


def markdown(table: ResultTable) -> str:
    """Return the table in Markdown."""
    head, rows = grid(table)
    rule = ["---", "---", *["---:"] * (len(head) - 2)]
    lines = ["| " + " | ".join(map(_md, row)) + " |" for row in (head, rule, *rows)]
    blank, *notes = remarks(table)
    return "\n".join([f"**{table.title}**", "", *lines, blank, *(f"- {_md(note)}" for note in notes)]) + "\n"


def latex(table: ResultTable) -> str:
    """Return the table in LaTeX, for the package booktabs."""
    head, rows = grid(table)
    body = [" & ".join(map(_tex, row)) + r" \\" for row in rows]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{ll{'r' * (len(head) - 2)}}}",
        r"\toprule",
        " & ".join(map(_tex, head)) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{_tex(' '.join([table.title + '.', 'Rank-1 / mAP in per cent.', *table.notes]))}}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def comma_separated(table: ResultTable) -> str:
    """Return a line of CSV for each score: table, row, title, search, data, score, and the numbers as fractions."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    numbers = ("paper", "mean", "deviation", "difference", "inside", "change")
    writer.writerow(
        ("table", "row", "title", "search", "data", "score", *numbers[:-1], "over_parent", "seeds", "failed")
    )
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            more = (("minp", cell.minp),) if table.beyond else ()
            for name, score in (("rank1", cell.rank1), ("map", cell.map), *more):
                values = ["" if (v := getattr(score, key)) is None else v for key in numbers]
                line = (table.name, row.name, row.title, row.search, column.name, name)
                writer.writerow((*line, *values, len(score.values), harmless(cell.failed)))
    return buffer.getvalue()


def grid(table: ResultTable) -> tuple[list[str], list[list[str]]]:
    """Return head and rows as text; the first two columns are words, the others numbers.

    A group of columns is what the paper prints, what was measured, the difference and whether it is inside the
    deviation over the seeds; and what a row adds to its parent. Columns in which nothing stands are left out.
    """
    head, columns = ["row", "search"], [[row.title for row in table.rows], [row.search for row in table.rows]]
    for i, column in enumerate(table.columns):
        cells = [row.cells[i] for row in table.rows]
        for name, show in (*_PAPER, *_OWN):
            if (name, show) in _PAPER and (table.beyond or not table.compared[i]):
                continue  # a table beyond the paper has a column of claims
            shown = [show(cell) for cell in cells]
            if (name == "measured" and not table.beyond) or any(each != NONE for each in shown):
                head.append(f"{column.name} {name}")
                columns.append(shown)
        if table.beyond and any(cell.minp.values for cell in cells):
            head.append(f"{column.name} mINP")
            columns.append([_mean(cell.minp) if cell.minp.values else NONE for cell in cells])
    if table.beyond:
        for name, values in _beyond(table):
            head.append(name)
            columns.append(values)
    return head, [list(row) for row in zip(*columns, strict=True)]


def _beyond(table: ResultTable) -> Iterator[tuple[str, list[str]]]:
    """Yield the columns of a table beyond the paper: costs, and claimed scores by data set."""
    yield "parameters, M", [f"{row.cost.parameters:.2f}" if row.cost else NONE for row in table.rows]
    yield "GFLOP", [f"{row.cost.gflop:.2f}" if row.cost else NONE for row in table.rows]
    yield "images/s in training", [f"{row.speed:.0f}" if row.speed else NONE for row in table.rows]
    for name in dict.fromkeys(name for row in table.rows for name in row.claimed):
        claims = [row.claimed.get(name) for row in table.rows]
        yield f"{name} claimed", [f"{percent(pair[0])} / {percent(pair[1])}" if pair else NONE for pair in claims]


def _pair(cell: Cell, show: Callable[[Score], str]) -> str:
    first, second = show(cell.rank1), show(cell.map)
    return NONE if first == second == NONE else f"{first} / {second}"


def _mean(score: Score) -> str:
    return percent(score.mean) + (f"±{percent(score.deviation)}" if score.deviation is not None else "")


def _measured(cell: Cell) -> str:
    shown = _pair(cell, _mean)
    seeds = len(cell.rank1.values)
    if seeds and seeds < len(cell.runs):
        shown += f" ({seeds} of {len(cell.runs)} seeds)"
    return f"{shown} failed".removeprefix(f"{NONE} ") if cell.failed else shown


def _inside(score: Score) -> str:
    return {None: NONE, True: "yes", False: "no"}[score.inside]


_Column = tuple[str, "Callable[[Cell], str]"]
_PAPER: tuple[_Column, ...] = (("paper", lambda cell: _pair(cell, lambda score: percent(score.paper))),)
_OWN: tuple[_Column, ...] = (
    ("measured", _measured),
    ("difference", lambda cell: _pair(cell, lambda score: percent(score.difference, sign="+"))),
    ("inside", lambda cell: _pair(cell, _inside)),
    ("over parent", lambda cell: _pair(cell, lambda score: percent(score.change, sign="+"))),
)


def remarks(table: ResultTable) -> list[str]:
    """Return an empty line, and the notes below a table."""
    failed = [f"{title} on {column}: {reason}" for title, column, reason in _failures(table)]
    command = [f"Made by `{table.command}`."] if table.command else []
    claims = [f"{row.title}: {row.note}" for row in table.rows if row.note]
    notes: Sequence[str] = ("Rank-1 / mAP, in per cent.", *table.notes, *claims, *failed, *command)
    return ["", *notes]


def _failures(table: ResultTable) -> list[tuple[str, str, str]]:
    """Return the row, the column and the reason of everything that failed."""
    return [
        (row.title, column.name, cell.failed)
        for row in table.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
        if cell.failed
    ]


def _md(words: str) -> str:
    """Words as Markdown that is no table's end, no link, no picture and no HTML."""
    return re.sub(r"([|<\[\]])", r"\\\1", harmless(words))


def _tex(words: str) -> str:
    escaped = "".join(_TEX.get(letter, letter) for letter in harmless(words))
    return escaped.replace("±", r"$\pm$").replace(r"f\_t", "$f_t$").replace(r"f\_i", "$f_i$")


_TEX = {letter: f"\\{letter}" for letter in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    ">": r"$\to$",
    "<": r"$<$",
}


# The page: the table, its curves, and what it is from.


def page(table: ResultTable) -> str:
    """Return the table as a page that needs no network, no script and no other file."""
    head, rows = grid(table)
    return render_template(
        "table.html.j2",
        table=table,
        data=list(dict.fromkeys(name for column in table.columns for name in (column.train, column.test))),
        models=list(dict.fromkeys(network_words(row.recipe) for row in table.rows if row.recipe)),
        head=head,
        rows=rows,
        ladders=[figure for i in range(len(table.columns)) for figure in _ladder(table, i)],
        curves=list(_curves(table)),
        failed=_failures(table),
    )


def _ladder(table: ResultTable, i: int) -> Iterator[ChartFigure]:
    """Rank-1 and mAP over the rows, measured (with the deviation over seeds as a band) and as published."""
    for name, title in (("rank1", "Rank-1"), ("map", "mAP")):
        scores: list[Score] = [getattr(row.cells[i], name) for row in table.rows]
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
        named = sorted({0, means.index(max(means)), len(means) - 1})  # where it begins, is best, and ends
        titles = [table.rows[int(place) - 1].title for place in x]
        caption = ", ".join(f"{x[k]:.0f} {titles[k]}: {100 * means[k]:.1f} %" for k in named)
        chart = Chart(
            label=f"{title} over the rows: {caption}",
            lines=lines,
            x_label="row",
            per_cent=True,
            y_range=edges,
            x_ticks=sorted({place for line in lines for place in line.x}),
        )
        yield ChartFigure(f"{title} on {table.columns[i].name}", caption, chart)


def _curves(table: ResultTable) -> Iterator[ChartFigure]:
    """Yield the loss over the epochs of every run, one chart for each training that the rows share."""
    seen: set[tuple[Path, ...]] = set()
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            if not cell.runs or cell.runs in seen:
                continue
            seen.add(cell.runs)
            lines = [*_losses(cell)]
            if lines:
                title = f"{row.title}, trained on {column.train}"
                caption = ", ".join(f"{line.name} ends at {line.y[-1]:.3f}" for line in lines)
                chart = Chart(label=f"Loss of {title}: {caption}", lines=lines, x_label="epoch")
                yield ChartFigure(title, f"loss; {caption}", chart)


def _losses(cell: Cell) -> Iterator[Line]:
    """Yield the mean loss of each epoch, of as many runs as there are colours."""
    for folder in cell.runs[:3]:
        if points := curve_over_epochs(epoch_rows(_log(folder)), "loss"):
            seed = folder.name.rpartition("-seed")[2]  # a row that is not asked for may have no first one
            yield Line(name=f"seed {seed}", x=[x for x, _ in points], y=[y for _, y in points])


def _log(folder: Path) -> list[log.Row]:
    try:
        return log.read(folder / "log.jsonl")
    except OSError:
        return []
