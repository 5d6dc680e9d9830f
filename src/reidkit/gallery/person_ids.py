"""Ids of people who have names: a gallery knows a name by one id, however each data set numbers its own."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reidkit.gallery.protocol import Gallery
    from reidkit.gallery.row import Row

PERSON = "person"
"""The attribute that holds the name of an id; of a track, the number of the person that joining proposes."""


class PersonIds:
    """The id of each name in a gallery: the one it has there, else its own number where that is free, else a new one.

    A data set numbers its names from 0 in sorted order, so that one number is two people in two of them, and other
    people in the same one as soon as somebody comes to it.
    """

    def __init__(self, gallery: Gallery, taken: Iterable[int] = ()) -> None:
        """Take the names of a gallery; a name that is new gets none of the ids that are `taken`, too."""
        self._gallery, self._also_taken = gallery, frozenset(taken)

    def row(self, row: Row) -> Row:
        """Return a row, which has an id and its name, with the id that the gallery knows the name by."""
        if row.pid is None:
            return row
        pids, taken = self._known
        name = str(row.attributes[PERSON])
        if name not in pids:
            pids[name] = max(taken) + 1 if row.pid in taken else row.pid
            taken.add(pids[name])
        return row if pids[name] == row.pid else replace(row, pid=pids[name])

    @cached_property
    def _known(self) -> tuple[dict[str, int], set[int]]:
        """The id of each name, and all ids that are taken; an id is that of the name in its first row, and no other."""
        first: dict[int, object] = {}
        for row in self._gallery:
            if row.pid is not None:
                first.setdefault(row.pid, row.attributes.get(PERSON))
        pids: dict[str, int] = {}
        for pid, name in first.items():
            if isinstance(name, str):
                pids.setdefault(name, pid)
        return pids, {*first, *self._also_taken}


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
