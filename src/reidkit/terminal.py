"""Foreign text on a terminal: names of files, recipes and models, cells of tables, metadata.

Whoever gives away a data set or a model chooses such names. On a terminal, control characters in them may change its
title and colours, hide what stands before, or forge a line of the program; marks that turn the direction of writing
show one name as another.
"""

from __future__ import annotations


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
