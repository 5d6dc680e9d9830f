"""Text for the terminal: make foreign text harmless, write numbers and lists in words, lay out tables.

Foreign text is names of files, recipes and models, cells of tables, metadata.

Whoever gives away a data set or a model chooses such names. On a terminal, control characters in them may change its
title and colours, hide what stands before, or forge a line of the program; marks that turn the direction of writing
show one name as another.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def harmless(text: str) -> str:
    r"""The text in one line and without anything that a terminal obeys: such characters are written as \x1b or \u202e.

    Control characters (C0, C1 and DEL), line breaks of every kind, marks of direction and other characters that nobody
    sees, and half characters of names that are no text are escaped. What can be printed stays, in every language.
    Applied to its own result it changes nothing.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def harmless_lines(text: str) -> str:
    """As `harmless`, for a text of several lines that are the program's own."""
    return "\n".join(map(harmless, text.split("\n")))


def visible(value: object) -> object:
    """A value for a page: text as `harmless_lines`, where it is not markup already. `finalize` of jinja calls this."""
    return harmless_lines(value) if type(value) is str else value


def percent(value: float | None, *, digits: int = 1, sign: str = "", none: str = "-") -> str:
    """Return a fraction in per cent, without the word; `none` where there is no number. `sign` "+" writes a plus."""
    return none if value is None or not math.isfinite(value) else f"{100 * value:{sign}.{digits}f}"


def chance_words(probability: float | None, digits: int = 0) -> str:
    """Return a probability in per cent, "" for None; its ends are never 0 and 100, as nothing is that sure.

    >>> chance_words(0.998), chance_words(0.94), chance_words(0.001), chance_words(0.998, 1), chance_words(1.0, 1)
    ('over 99 %', '94 %', 'under 1 %', '99.8 %', 'over 99.9 %')
    """
    if probability is None:
        return ""
    least = 0.1 ** (digits + 2)
    if probability > 1 - least:
        return f"over {100 * (1 - least):.{digits}f} %"
    return f"under {100 * least:.{digits}f} %" if probability < least else f"{100 * probability:.{digits}f} %"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number and its noun: 1 id, 2,000 ids. `plural` is that of a noun that takes more than an s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def comma_list(names: Sequence[str], last: str) -> str:
    """Return names as a sentence has them, with the word `last` before the last one.

    >>> comma_list(["a"], "or"), comma_list(["a", "b", "c"], "or")
    ('a', 'a, b or c')
    """
    return f" {last} ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def first_and_more(names: Iterable[str], most: int = 3) -> str:
    """Return the first of some names and how many more there are.

    >>> first_and_more("ab"), first_and_more("abcde")
    ('a, b', 'a, b, c and 2 more')
    """
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def first_few(texts: Iterable[str], most: int = 3, *, between: str = ", ") -> str:
    """Return the first of some texts, with dots where there are more.

    >>> first_few("ab"), first_few("abcde"), first_few("abcd", between="; ")
    ('a, b', 'a, b, c, ...', 'a; b; c; ...')
    """
    listed = list(texts)
    return between.join([*listed[:most], *(["..."] if len(listed) > most else [])])


def duration(seconds: float) -> str:
    """Return seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def table_lines(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, width: int | None = 80
) -> list[str]:
    """Return the lines of a table with columns as wide as they must be, two spaces apart.

    Args:
        head: the names of the columns.
        rows: a cell for each column.
        left: how many columns, from the first on, are set to the left; the others are set to the right.
        width: what a line has room for: where the table does not fit, cells take several lines and nothing is cut off.
            None is any width.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    head, rows = [harmless(cell) for cell in head], [[harmless(cell) for cell in row] for row in rows]
    widths = _widths([head, *rows], width)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for i, name in enumerate(head):
        table.add_column(Text(name), justify="left" if i < left else "right", overflow="fold", width=widths[i])
    for row in rows:
        table.add_row(*map(Text, row))
    written = io.StringIO()
    room = sum(widths) + 2 * len(widths)
    Console(file=written, width=room, color_system=None, force_terminal=False).print(table)
    return [line.rstrip() for line in written.getvalue().splitlines()]


FIRST = 12
"""The columns that a path keeps at least where a table is too wide."""

READABLE = 8
"""The columns from which on a number or a word can still be read that is broken anywhere."""


def _widths(rows: Sequence[Sequence[str]], room: int | None) -> list[int]:
    """Return the widths of a table's columns, two spaces apart, in `room`; None is room for everything.

    What is too wide first breaks between the words of its columns, then between those of the names in the first one.
    Where there is not even room for whole words, the first, a path as a rule, breaks anywhere, down to `FIRST` columns;
    where that is not enough either, the widest of the others break anywhere, if they keep `READABLE` columns; else the
    first has half of the room.
    """
    from rich.cells import cell_len

    count = len(rows[0])
    wanted = [max(cell_len(row[i]) for row in rows) for i in range(count)]
    if room is None:
        return [max(1, width) for width in wanted]
    room -= 2 * (count - 1)
    words = [max(cell_len(word) for row in rows for word in (row[i].split() or [""])) for i in range(count)]
    for widths in (wanted, [wanted[0], *words[1:]], words):
        if sum(widths) <= room:
            break
    else:
        half = min(wanted[0], room // 2)
        first = min(half, FIRST)
        if sum(words[1:]) + first <= room:
            return [room - sum(words[1:]), *words[1:]]
        most = _most(words[1:], room - first)
        if most < READABLE:
            first, most = half, _most(words[1:], room - half)
        widths = [first, *(min(width, most) for width in words[1:])]
    for i in range(count):  # what room is left goes to the first columns that can use it
        widths[i] += max(0, min(wanted[i] - widths[i], room - sum(widths)))
    return [max(1, width) for width in widths]


def _most(widths: Sequence[int], room: int) -> int:
    """Return the width to which those above it have to be cut, at least 1, so that all fit into `room`."""
    return max(
        (most for most in range(1, max(widths) + 1) if sum(min(each, most) for each in widths) <= room), default=1
    )


# Cells of a spreadsheet.


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the beginning of a formula, also in the full width of East Asian text."""

_QUOTE = "'"


def text_cell(text: str) -> str:
    """Return foreign text as a cell that no spreadsheet runs as a formula.

    Text that begins like a formula, or with a `'`, has one `'` put before it; `cell_text` takes it away again.
    """
    return _QUOTE + text if text.startswith((*_FORMULA, _QUOTE)) else text


def cell_text(cell: str) -> str:
    """Return the text that `text_cell` was given."""
    return cell.removeprefix(_QUOTE)
