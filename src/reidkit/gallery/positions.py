"""Where a list of rows, or of changes, goes on: what a gallery gives as text, and takes back."""

from __future__ import annotations

import re
from numbers import Integral
from typing import TYPE_CHECKING

from reidkit.errors import DataError, UsageError
from reidkit.gallery.protocol import Page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reidkit.gallery.row import Row

_CURSOR = re.compile(r"(\d{1,9})(?::(-?0x[01]\.[0-9a-f]+p[+-]\d{1,4}):(\d{1,19}))?")

KEPT_DAYS = 7
"""For so long a reader that has not looked can still learn what was removed."""


def read_cursor(cursor: str, limit: int) -> int:
    """Return the id after which a page of rows begins.

    Raises:
        UsageError: a cursor that is none, or a limit below 1.
    """
    if not isinstance(limit, Integral) or limit < 1:
        raise UsageError(f"a page of {limit!r} rows: pass limit=1 or more", argument="limit")
    if not cursor:
        return 0
    if not _is_number(cursor):
        raise UsageError("that is no cursor of rows: pass next of the page before", argument="cursor")
    return int(cursor)


def page_of(found: Sequence[Row], limit: int) -> Page:
    """Return a page of at most `limit` rows, of which one more was asked for."""
    return Page(tuple(found[:limit]), str(found[limit - 1].id) if len(found) > limit else "")


def position_of(owner: str, last: int, removed: int) -> str:
    """Return a position in the changes of the gallery with the uuid `owner`: its last id and its last removal."""
    return f"{owner}:{last}:{removed}"


def read_position(position: str, owner: str) -> tuple[int, int]:
    """Return the last id and the number of the last removal that a position stands for.

    Raises:
        DataError: it is none of this gallery.
    """
    if not position:
        return 0, 0
    whose, *numbers = position.split(":")
    if whose != owner or len(numbers) != 2 or not all(map(_is_number, numbers)):
        raise DataError('that is no position in the changes of this gallery: begin again with ""', argument="position")
    return int(numbers[0]), int(numbers[1])


def _is_number(text: str) -> bool:
    """Return whether a text is a number that a row can have."""
    return text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < 2**63


def too_old() -> DataError:
    """Return the error that removals since a position are no longer known."""
    return DataError('that position is too old for its changes to be known: begin again with ""', argument="position")


def read_search_cursor(cursor: str) -> tuple[int, float | None, int]:
    """Return how many hits came before, and similarity and id of the last of them where these tell the place.

    Raises:
        UsageError: it is none.
    """
    match = _CURSOR.fullmatch(cursor)
    if not match:
        raise UsageError("that is no cursor of a search: pass next of the page before", argument="cursor")
    ahead, similarity, row = match.groups()
    return int(ahead), float.fromhex(similarity) if similarity else None, int(row or 0)
