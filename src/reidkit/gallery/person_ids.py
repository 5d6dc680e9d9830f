"""Ids of people who have names: a gallery knows a name by one id, however each data set numbers its own."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from reidkit.gallery.row import LARGEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from reidkit.gallery.row import Row

PERSON = "person"
"""The attribute that holds the name of an id; of a track, the number of the person that joining proposes."""


Settle: TypeAlias = "Callable[[Sequence[Row], Mapping[int, str | None]], Sequence[Row]]"
"""Returns rows as they are to be added to a gallery in which ids have these names."""


class PersonIds:
    """The id of each name in a gallery: the one it has there, else its own number where that is free, else a new one.

    A data set numbers its names from 0 in sorted order, so that one number is two people in two of them, and other
    people in the same one as soon as somebody comes to it.
    """

    def __init__(self, names: Mapping[int, str | None], taken: Iterable[int] = ()) -> None:
        """Take the names of a gallery's ids; a name that is new gets none of the ids that are `taken`, too."""
        self._pids: dict[str, int] = {}
        for pid, name in names.items():
            if name is not None:
                self._pids.setdefault(name, pid)
        self._taken = {*names, *taken}
        self._next = max(self._taken, default=-1) + 1

    def row(self, row: Row) -> Row:
        """Return a row, which has an id and its name, with the id that the gallery knows the name by."""
        if row.pid is None:
            return row
        name = str(row.attributes[PERSON])
        if name not in self._pids:
            pid = self._free() if row.pid in self._taken else row.pid
            self._pids[name] = pid
            self._taken.add(pid)
            self._next = max(self._next, pid + 1)
        return row if self._pids[name] == row.pid else replace(row, pid=self._pids[name])

    def _free(self) -> int:
        """Return the number above all that are taken; where that is none that an id can be, one that is free."""
        if self._next > LARGEST:
            self._next = 0
        while self._next in self._taken:
            self._next += 1
        return self._next


def settle_named(keys: Iterable[str], taken: Iterable[int] = ()) -> Settle | None:
    """Return what gives the rows of these keys the ids that a gallery knows their names by; None where there are none.

    A name that is new gets none of the ids that are `taken`.
    """
    named, others = frozenset(keys), frozenset(taken)

    def settle(rows: Sequence[Row], names: Mapping[int, str | None]) -> list[Row]:
        ids = PersonIds(names, others)
        return [ids.row(row) if row.key in named else row for row in rows]

    return settle if named else None


def first_names(rows: Iterable[Row], known: Mapping[int, str | None] = MappingProxyType({})) -> dict[int, str | None]:
    """Return the name of each id: that of its first row, None where that is no text; `known` ids have theirs."""
    names = dict(known)
    for row in rows:
        if row.pid is not None and row.pid not in names:
            name = row.attributes.get(PERSON)
            names[row.pid] = name if isinstance(name, str) else None
    return names


def with_proposed(names: Mapping[int, str | None], rows: Iterable[Row]) -> dict[int, str | None]:
    """Return names of ids with those ids that joining proposes for rows: somebody may confirm them, so none is free."""
    numbers = {row.attributes.get(PERSON) for row in rows}
    proposed = {number for number in numbers if isinstance(number, int) and not isinstance(number, bool)}
    return {**dict.fromkeys(sorted(proposed)), **names}


def named_ids(
    rows: Iterable[Row], names: Mapping[int, str] = MappingProxyType({})
) -> tuple[frozenset[int], frozenset[int]]:
    """Return the ids of rows that stand for names, and all others.

    Those of `names` do, and each whose rows alone, and all, have one name: an attribute `person` may mean something
    else.
    """
    texts: dict[int, set[object]] = {}
    ids: dict[object, set[int]] = {}
    for row in rows:
        if row.pid is not None:
            text = row.attributes.get(PERSON)
            texts.setdefault(row.pid, set()).add(text if isinstance(text, str) else None)
            ids.setdefault(text, set()).add(row.pid)
    own = {pid for pid, (text, *more) in texts.items() if text is not None and not more and len(ids[text]) == 1}
    named = own.union(names)
    return frozenset(named), frozenset(texts) - named
