"""Ids and cameras as text: which numbers they get, in tables, folders and shards alike, and what they are called."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from unicodedata import normalize

from reidkit.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection

NONE = "-1"
"""Junk among pids, and an unknown camera among camids."""

INTEGER = re.compile(r"-1|\d{1,9}", re.ASCII)

_WHOLE = re.compile(r"(-?\d+)(?:\.0*|,0)", re.ASCII)
_NO_LABEL = re.compile(r"[+-]\d+|[+-]?\d*[.,]\d+", re.ASCII)
_CUT = re.compile(r"[+-]?\d+(?:[.,]\d+)?e[+-]\d+", re.ASCII | re.IGNORECASE)
"""A number as spreadsheets write those of many digits, of which they leave out the last: several ids become one."""
_LONGEST = 200
"""Characters of a name."""

_MISSING = frozenset(("nan", "null", "none", "<na>", "n/a", "#n/a"))


def label(text: str, column: str) -> str:
    """Return an id or a camera, as a table or a shard has it.

    Space around it is left out, and so is the `.0` that pandas puts after whole numbers as soon as a column has a gap.

    Raises:
        DataError: it is empty, a missing value, below -1, a number that is not whole or was cut, or too long or not
            printable.
    """
    text = text.strip()
    text = found[1] if (found := _WHOLE.fullmatch(text)) else text
    if not text:
        raise DataError(f"{column} is empty")
    if text.lower() in _MISSING:
        raise DataError(f"{column} {text} is a missing value")
    if text != NONE and _NO_LABEL.fullmatch(text):
        raise DataError(f"{column} {text} is neither a whole number from 0 on, nor -1, nor a name")
    if _CUT.fullmatch(text):
        raise DataError(f"{column} {text} is a long number that a spreadsheet has cut: format its column as text")
    if len(text) > _LONGEST or not text.isprintable():
        raise DataError(f"{column} {text[:_LONGEST]!r} is no name: it must fit on a line, in {_LONGEST} characters")
    return text


def numbered(labels: Collection[str], column: str, where: str) -> tuple[dict[str, int], dict[int, str]]:
    """Return the number of each label, and the name of each number that stands for one.

    Integers (of up to 9 digits) stay what they are. As soon as one label is none, all but -1 are names, and are
    numbered in sorted order.

    Raises:
        DataError: two labels are the same integer; `where` begins the sentence.
    """
    refuse_two_spellings(labels, column, where)
    if all(INTEGER.fullmatch(text) for text in labels):
        return {text: int(text) for text in labels}, {}
    return as_names(labels)


def as_names(labels: Collection[str]) -> tuple[dict[str, int], dict[int, str]]:
    """Return the same where all labels but -1 are names, even those that look like integers."""
    names = sorted(set(labels) - {NONE})
    return {name: number for number, name in enumerate(names)} | {NONE: int(NONE)}, dict(enumerate(names))


def refuse_two_spellings(labels: Collection[str], column: str, where: str) -> None:
    """Raise where two labels are the same integer, such as 007 and 7, or the same letters in two forms of Unicode.

    Raises:
        DataError: they are; `where` begins the sentence.
    """
    forms: dict[str, str] = {}
    for text in sorted(set(labels)):
        if not text.isascii() and forms.setdefault(normalize("NFC", text), text) != text:
            raise DataError(
                f"{where} spells the {column} {text} in two ways that look alike, with accents in letters of their own "
                "and without (NFD, as macOS has it, and NFC): spell it in one"
            )
    seen: dict[int, str] = {}
    for text in sorted(set(labels)):
        if text.isascii() and text.isdecimal() and len(text) < 1000 and seen.setdefault(int(text), text) != text:
            raise DataError(
                f"{where} spells the {column} {int(text)} in two ways, {seen[int(text)]} and {text}: spell it in one, "
                "or put a letter before one if they are two"
            )
