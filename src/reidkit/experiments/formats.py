"""A table as text, CSV, Markdown and LaTeX. Scores are in per cent: rank-1 / mAP."""

from __future__ import annotations

import csv
import io
import math
import re
from typing import TYPE_CHECKING

from reidkit.terminal import harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reidkit.experiments.table import Cell, Measured, Sheet

NONE = "-"


def text(sheet: Sheet) -> str:
    """The table for a terminal, with its notes."""
    head, rows = grid(sheet)
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [
        "  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in (head, *rows)
    ]
    return "\n".join(map(harmless, [sheet.title, "", *(line.rstrip() for line in lines), *remarks(sheet)])) + "\n"


def markdown(sheet: Sheet) -> str:
    """The table in Markdown."""
    head, rows = grid(sheet)
    rule = ["---", "---", *["---:"] * (len(head) - 2)]
    lines = ["| " + " | ".join(map(_md, row)) + " |" for row in (head, rule, *rows)]
    blank, *notes = remarks(sheet)
    return "\n".join([f"**{sheet.title}**", "", *lines, blank, *(f"- {_md(note)}" for note in notes)]) + "\n"


def latex(sheet: Sheet) -> str:
    """The table in LaTeX, for the package booktabs."""
    head, rows = grid(sheet)
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
        rf"\caption{{{_tex(' '.join([sheet.title + '.', 'Rank-1 / mAP in per cent.', *sheet.notes]))}}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def comma_separated(sheet: Sheet) -> str:
    """One line for each score: table, row, title, search, data, score, and the numbers as fractions."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    numbers = ("paper", "mean", "deviation", "difference", "inside", "change")
    writer.writerow(
        ("table", "row", "title", "search", "data", "score", *numbers[:-1], "over_parent", "seeds", "failed")
    )
    for row in sheet.rows:
        for column, cell in zip(sheet.columns, row.cells, strict=True):
            for name, score in (("rank1", cell.rank1), ("map", cell.map)):
                values = ["" if (v := getattr(score, key)) is None else v for key in numbers]
                line = (sheet.name, row.line.name, row.line.title, row.search, column.name, name)
                writer.writerow((*line, *values, len(score.values), harmless(cell.failed)))
    return buffer.getvalue()


def grid(sheet: Sheet) -> tuple[list[str], list[list[str]]]:
    """Head and rows as texts; the first two columns are words, the others numbers.

    A group of columns is what the paper prints, what was measured, the difference and whether it is inside the
    deviation over the seeds; and what a row adds to its parent. Columns in which nothing stands are left out.
    """
    head, columns = ["row", "search"], [[row.line.title for row in sheet.rows], [row.search for row in sheet.rows]]
    for i, column in enumerate(sheet.columns):
        cells = [row.cells[i] for row in sheet.rows]
        for name, show in (*_PAPER, *_OWN):
            if (name, show) in _PAPER and not sheet.compared[i]:
                continue
            shown = [show(cell) for cell in cells]
            if name == "measured" or any(each != NONE for each in shown):
                head.append(f"{column.name} {name}")
                columns.append(shown)
    return head, [list(row) for row in zip(*columns, strict=True)]


def _pair(cell: Cell, show: Callable[[Measured], str]) -> str:
    first, second = show(cell.rank1), show(cell.map)
    return NONE if first == second == NONE else f"{first} / {second}"


def _number(value: float | None, sign: str = "") -> str:
    return NONE if value is None or not math.isfinite(value) else f"{100 * value:{sign}.1f}"


def _mean(score: Measured) -> str:
    return _number(score.mean) + (f"±{_number(score.deviation)}" if score.deviation is not None else "")


def _measured(cell: Cell) -> str:
    shown = _pair(cell, _mean)
    seeds = len(cell.rank1.values)
    if seeds and seeds < len(cell.runs):
        shown += f" ({seeds} of {len(cell.runs)} seeds)"
    return f"{shown} failed".removeprefix(f"{NONE} ") if cell.failed else shown


def _inside(score: Measured) -> str:
    return {None: NONE, True: "yes", False: "no"}[score.inside]


_Column = tuple[str, "Callable[[Cell], str]"]
_PAPER: tuple[_Column, ...] = (("paper", lambda cell: _pair(cell, lambda score: _number(score.paper))),)
_OWN: tuple[_Column, ...] = (
    ("measured", _measured),
    ("difference", lambda cell: _pair(cell, lambda score: _number(score.difference, "+"))),
    ("inside", lambda cell: _pair(cell, _inside)),
    ("over parent", lambda cell: _pair(cell, lambda score: _number(score.change, "+"))),
)


def remarks(sheet: Sheet) -> list[str]:
    """An empty line, and what there is to say of a table."""
    failed = [
        f"{row.line.title} on {column.name}: {cell.failed}"
        for row in sheet.rows
        for column, cell in zip(sheet.columns, row.cells, strict=True)
        if cell.failed
    ]
    command = [f"Made by `{sheet.command}`."] if sheet.command else []
    notes: Sequence[str] = ("Rank-1 / mAP, in per cent.", *sheet.notes, *failed, *command)
    return ["", *notes]


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
