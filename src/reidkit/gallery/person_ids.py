"""Ids of people who have names: a gallery knows a name by one id, however each data set numbers its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reidkit.gallery.protocol import Gallery
    from reidkit.gallery.row import Row

PERSON = "person"
"""The attribute that holds the name of an id."""


class PersonIds:
    """The id of each name in a gallery: the one it has there, else its own number where that is free, else a new one.

    A data set numbers its names from 0 in sorted order, so that one number is two people in two of them, and other
    people in the same one as soon as somebody comes to it.
    """

    def __init__(self, gallery: Gallery, taken: Iterable[int] = ()) -> None:
        """Take the names of a gallery; a name that is new gets none of the ids that are `taken`, too."""
        self._gallery = gallery
        self._also_taken = frozenset(taken)
        self._pids: dict[str, int] | None = None
        self._taken: set[int] = set()

    def row(self, row: Row) -> Row:
        """Return a row, which has an id and its name, with the id that the gallery knows the name by."""
        if self._pids is None:
            self._pids = self._read()
            self._taken |= self._also_taken
        name, pid = str(row.attributes[PERSON]), row.pid
        if pid is None:
            return row
        if name not in self._pids:
            self._pids[name] = max(self._taken) + 1 if pid in self._taken else pid
            self._taken.add(self._pids[name])
        return row if self._pids[name] == pid else replace(row, pid=self._pids[name])

    def _read(self) -> dict[str, int]:
        """Return the id of each name in the gallery; a number is its first name's, and of no other."""
        pids: dict[str, int] = {}
        for row in self._gallery:
            if row.pid is None:
                continue
            name = row.attributes.get(PERSON)
            if isinstance(name, str) and row.pid not in self._taken:
                pids.setdefault(name, row.pid)
            self._taken.add(row.pid)
        return pids


def named_ids(rows: Sequence[Row], names: Mapping[int, str]) -> frozenset[int]:
    """Return the ids of rows that stand for names: those of `names`, and each whose rows alone, and all, have one name.

    A gallery's file has names as an attribute; an attribute of that name may mean something else.
    """
    texts: dict[int, set[object]] = {}
    ids: dict[object, set[int]] = {}
    for row in rows:
        if row.pid is not None:
            text = row.attributes.get(PERSON)
            texts.setdefault(row.pid, set()).add(text if isinstance(text, str) else None)
            ids.setdefault(text, set()).add(row.pid)
    own = {pid for pid, (text, *more) in texts.items() if text is not None and not more and len(ids[text]) == 1}
    return frozenset(own | set(names))
