"""Ids of people who have names: a gallery knows a name by one id, however each data set numbers its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reidkit.gallery.protocol import Gallery
    from reidkit.gallery.row import Row

PERSON = "person"
"""The attribute that holds the name of an id."""


class PersonIds:
    """The id of each name in a gallery: the one it has there, else its own number where that is free, else a new one.

    A data set numbers its names from 0 in sorted order, so that one number is two people in two of them, and other
    people in the same one as soon as somebody comes to it.
    """

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._pids: dict[str, int] | None = None
        self._taken: set[int] = set()

    def row(self, row: Row) -> Row:
        """Return a row, which has an id and its name, with the id that the gallery knows the name by."""
        if self._pids is None:
            self._pids = self._read()
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
