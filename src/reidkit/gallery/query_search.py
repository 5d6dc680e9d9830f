"""How a query is answered: feedback, expansion, re-ranking, groups, pages, probabilities; the same for every gallery.

What differs between galleries is how the nearest rows are found (`View.nearest`). All else is done here, over rows that
were found.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from reidkit.errors import DataError, UsageError
from reidkit.gallery.decision import decide
from reidkit.gallery.positions import read_search_cursor
from reidkit.gallery.query import Hit, Hits
from reidkit.gallery.row import made_of
from reidkit.gallery.target import as_long, unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from reidkit.gallery.decision import Decision
    from reidkit.gallery.filters import Filter
    from reidkit.gallery.query import SearchOptions
    from reidkit.gallery.row import Row
    from reidkit.gallery.target import Target
    from reidkit.metrics.calibration_file import Calibration

    Doubles = NDArray[np.float64]
    Integers = NDArray[np.int64]

ALPHA = 3.0
"""The power of a cosine by which a neighbour counts in query expansion (Radenović et al. 2018)."""


TOGETHER = 10_000
"""Rows of groups that are compared in one pass; of larger groups, as cameras are, each is searched by itself."""


class Found(NamedTuple):
    """The rows nearest to one query: ids int64 [n] and similarities float64 [n], the largest first and then by id.

    `passed` rows passed the filter, `candidates` were computed in double precision.
    """

    ids: Integers
    similarities: Doubles
    passed: int
    candidates: int
    exact: bool = True


def nearest_first(ids: Integers, similarities: Doubles, count: int, least: float) -> tuple[Integers, Doubles]:
    """Return up to `count` rows of at least `least`, the most similar first, equal ones in the order of their ids."""
    order = np.lexsort((ids, -similarities))[:count]
    order = order[similarities[order] >= least]
    return ids[order], similarities[order]


class View(Protocol):
    """A gallery as it is at one moment, for one search."""

    @property
    def size(self) -> int:
        """How many rows there are."""

    def nearest(self, weights: Doubles, matching: Filter, count: int, least: float) -> list[Found]:
        """Find up to `count` rows x with the largest w.x / |x| of at least `least`, for each of `weights` [Q, D]."""

    def group_sizes(self, matching: Filter, by: str) -> Mapping[str | int | None, int] | None:
        """Return how many rows that meet a filter each `person`, `camera` or `track` has; None: that takes too long.

        The rows of nobody, of no camera or track, are those of None.
        """

    def rows(self, ids: Integers) -> list[Row]:
        """Return rows by their ids, in this order."""

    def vectors(self, ids: Integers) -> NDArray[np.float32]:
        """Return features [n, D] of rows by their ids."""

    def ids(self, keys: Sequence[str]) -> Integers:
        """Return the ids of keys.

        Raises:
            DataError: a key is not there.
        """


def no_such_key(key: str) -> DataError:
    """Return the error that a key is not there."""
    return DataError(f"{key} is not in the gallery: its keys are those that it was added with", argument="keys")


def find(view: View, targets: Sequence[Target], options: SearchOptions, calibration: Calibration | None) -> list[Hits]:
    """Answer queries; those with the same filter in one pass."""
    if options.radius == "calibrated" and calibration is None:
        raise UsageError(
            "there is no calibrated threshold, as the model has no calibration: run `reidkit calibrate`, or pass a "
            "similarity",
            argument="radius",
        )
    answers: dict[int, Hits] = {}
    for matching, numbers in _by_filter(targets, options):
        some = [targets[number] for number in numbers]
        if options.expand:
            some = _expanded(view, some, matching, options.expand)
        searches = _searches(view, some, matching, options, calibration)
        for number, search in zip(numbers, searches, strict=True):
            answers[number] = search.page()
    return [answers[number] for number in range(len(targets))]


def _by_filter(targets: Sequence[Target], options: SearchOptions) -> list[tuple[Filter, list[int]]]:
    """Return the filters, and the numbers of the queries that each holds for."""
    found: list[tuple[Filter, list[int]]] = []
    for number, target in enumerate(targets):
        matching = options.filter
        if target.without:
            matching = replace(matching, not_keys=(*matching.not_keys, *target.without))
        if options.other_cameras:
            if target.camera is None:
                raise UsageError(
                    "the query's own camera cannot be left out, as it is not known: search for "
                    "Query(images=[...], camera=...)",
                    argument="query_camera",
                )
            matching = replace(matching, not_cameras=(*matching.not_cameras, target.camera))
        for known, numbers in found:
            if known == matching:
                numbers.append(number)
                break
        else:
            found.append((matching, [number]))
    return found


def _expanded(view: View, targets: list[Target], matching: Filter, count: int) -> list[Target]:
    """Move each query towards its `count` nearest rows x: w' = w + the sum of max(cos, 0)^alpha x (alpha QE)."""
    moved = []
    for target, found in zip(targets, _nearest(view, targets, matching, count, -math.inf), strict=True):
        weights = np.maximum(found.similarities, 0) ** ALPHA
        added = weights @ unit(view.vectors(found.ids))
        moved.append(target._replace(weights=as_long(target.weights + added, target.weights)))
    return moved


def _nearest(view: View, targets: Sequence[Target], matching: Filter, count: int, least: float) -> list[Found]:
    """Find the nearest rows of each target, the best of its weights for each row."""
    stacked = np.concatenate([target.weights for target in targets])
    found = iter(view.nearest(stacked, matching, count, least))
    return [_best([next(found) for _ in target.weights], count) for target in targets]


def _best(found: list[Found], count: int) -> Found:
    """Put the lists of one query's images together: whatever is among the first of all is among those of one."""
    if len(found) == 1:
        return found[0]
    ids = np.concatenate([one.ids for one in found])
    similarities = np.concatenate([one.similarities for one in found])
    order = np.lexsort((ids, -similarities))
    _, first = np.unique(ids[order], return_index=True)
    kept = order[np.sort(first)][:count]
    work = sum(one.candidates for one in found)
    return Found(ids[kept], similarities[kept], found[0].passed, work, all(one.exact for one in found))


def _both(first: Found, more: Found) -> Found:
    """Put rows that were found behind others, those that are new."""
    new = ~np.isin(more.ids, first.ids)
    return first._replace(
        ids=np.concatenate([first.ids, more.ids[new]]),
        similarities=np.concatenate([first.similarities, more.similarities[new]]),
        candidates=first.candidates + more.candidates,
        exact=first.exact and more.exact,
    )


def _in_order(found: Found, first: int) -> Found:
    """Put the rows behind the `first` ones into the order of their similarities."""
    order = np.lexsort((found.ids[first:], -found.similarities[first:])) + first
    order = np.concatenate([np.arange(first), order])
    return found._replace(ids=found.ids[order], similarities=found.similarities[order])


class _Plan(NamedTuple):
    """What holds for all queries of a search; `asked` is how many rows were asked for."""

    options: SearchOptions
    calibration: Calibration | None
    least: float
    asked: int


def _searches(
    view: View, targets: list[Target], matching: Filter, options: SearchOptions, calibration: Calibration | None
) -> list[_Search]:
    """Find as many rows as most pages need, for all queries in one pass."""
    least = _least(options, calibration)
    ahead = read_search_cursor(options.cursor)[0] if options.cursor else options.offset
    count = max(ahead + options.top + 1, options.candidates if options.rerank else 0)
    first = _nearest(view, targets, matching, count, least)
    plan = _Plan(options, calibration, least, count)
    return [_Search(view, target, matching, plan, found) for target, found in zip(targets, first, strict=True)]


def _least(options: SearchOptions, calibration: Calibration | None) -> float:
    """Return the least similarity of a hit: of calibrated thresholds the lowest, as the cameras decide later."""
    if options.radius == "calibrated" and calibration:
        return min([calibration.threshold(), *(pair.threshold for pair in calibration.camera_pairs)])
    return -math.inf if options.radius is None else float(options.radius)


class _Search:
    """One query, and the head of its list, which grows as far as its page needs."""

    def __init__(self, view: View, target: Target, matching: Filter, plan: _Plan, found: Found) -> None:
        self._view, self._target, self._matching = view, target, matching
        self._options, self._known, self._least, self._asked = plan
        self._take(found)

    def page(self) -> Hits:
        """Return the page that is asked for: longer lists are fetched until it is known which groups it shows."""
        while True:
            groups = self._groups()
            first = self._first(groups)
            shown = first + self._options.top
            lacking = set() if len(self._found.ids) < self._asked else self._lacking(groups, shown)
            if lacking is not None:
                if lacking:
                    self._fill(lacking)
                return self._page(self._groups(), first)
            self._asked *= 2
            (found,) = _nearest(self._view, [self._target], self._matching, self._asked, self._least)
            self._take(found)

    def _lacking(self, groups: list[list[int]], shown: int) -> set[str | int] | None:
        """Return the groups that may have more hits than the list has; None where it tells too little of the page.

        It does where there is one group more than is shown, so that it is known which ones are, and that there is a
        next page; or where all groups are known, and few have no hit yet.
        """
        by, most = self._options.group_by, self._options.group_size
        if len(groups) > shown:
            short = (group for group in groups[:shown] if by is not None and len(group) < most)
            return {name for name in map(self._name_of, short) if name is not None}
        sizes = None if by is None else self._view.group_sizes(self._matching, by)
        if sizes is None:
            return None
        found = Counter(map(self._group_of, self._rows))
        lacking = {name for name, size in sizes.items() if name is not None and found[name] < min(size, most)}
        # Rows of nobody are groups of one, which no filter finds.
        return lacking if found[None] >= sizes.get(None, 0) and len(lacking) <= shown else None

    def _fill(self, lacking: set[str | int]) -> None:
        """Put hits of these groups behind the others: only rows of theirs are searched for them.

        A longer list of all would have them, too; but the third picture of somebody may be the last of a gallery.
        """
        by, most = str(self._options.group_by), self._options.group_size
        sizes = self._view.group_sizes(self._only(lacking), by)
        if sizes is not None:
            known = Counter(map(self._group_of, self._rows))
            lacking = {name for name in lacking if sizes.get(name, 0) > known[name]}
        together = most * len(lacking) if sizes is None else sum(sizes[name] for name in lacking) + 1
        parts = [(lacking, together)] if together <= TOGETHER else [({name}, most) for name in lacking]
        first = whole = self._found
        while parts and lacking:
            names, count = parts.pop()
            (found,) = _nearest(self._view, [self._target], self._only(names), count, self._least)
            whole = _both(whole, found)
            if len(found.ids) == count:  # there may be more, of groups of which others took the places, too
                rows, _, _ = self._hits(found.ids, found.similarities)
                full = Counter(map(self._group_of, rows))
                again = 2 * count if len(names) == 1 else most
                parts += [({name}, again) for name in names if full[name] < most]
        self._take(_in_order(whole, len(first.ids)))

    def _only(self, names: set[str | int]) -> Filter:
        """Return the filter for the rows of these groups alone."""
        by = str(self._options.group_by)
        only: dict[str, Any] = {{"person": "pids"}.get(by, f"{by}s"): [*names]}
        return replace(self._matching, **only)

    def _name_of(self, group: list[int]) -> str | int | None:
        return self._group_of(self._rows[group[0]])

    def _take(self, found: Found) -> None:
        """Note the rows that were found, in the order in which they are shown."""
        self._found = found
        order = self._reranked() if self._options.rerank else np.arange(len(found.ids))
        self._rows, self._similarities, self._decisions = self._hits(found.ids[order], found.similarities[order])

    def _hits(self, ids: Integers, similarities: Doubles) -> tuple[list[Row], Doubles, list[Decision]]:
        """Return the rows that are hits, by the threshold of their cameras, too."""
        rows = self._view.rows(ids)
        decisions = decide(rows, similarities, self._target.camera, self._known)
        if self._options.radius != "calibrated":
            return rows, similarities, decisions
        kept = [number for number, decision in enumerate(decisions) if decision.same]
        return [rows[n] for n in kept], similarities[kept], [decisions[n] for n in kept]

    def _reranked(self) -> Integers:
        """Return the order in which the nearest rows are re-ranked, and the others stay."""
        from reidkit.metrics.reranking.k_reciprocal import k_reciprocal

        head = min(self._options.candidates, len(self._found.ids))
        order = np.arange(len(self._found.ids))
        if head > 1:
            vectors = unit(self._view.vectors(self._found.ids[:head])).astype(np.float32)
            queries = unit(self._target.weights).astype(np.float32)
            # Each image of the query by itself: queries are not each other's neighbours.
            distances = np.min([k_reciprocal(one[None], vectors)[0] for one in queries], axis=0)
            order[:head] = np.argsort(distances, kind="stable")
        return order

    def _groups(self) -> list[list[int]]:
        """Return the hits of each group by their numbers, groups in the order of their best hit."""
        groups: dict[object, list[int]] = {}
        for number, row in enumerate(self._rows):
            name = self._group_of(row)
            group = groups.setdefault(("alone", number) if name is None else name, [])
            if len(group) < self._options.group_size:
                group.append(number)
        return list(groups.values())

    def _group_of(self, row: Row) -> str | int | None:
        match self._options.group_by:
            case "person":
                return row.pid
            case "track":
                return row.track
            case "camera":
                return row.camera
        return None

    def _first(self, groups: list[list[int]]) -> int:
        """Return the number of the first group of the page."""
        if not self._options.cursor:
            return self._options.offset
        ahead, similarity, row = read_search_cursor(self._options.cursor)
        if similarity is None:
            return ahead
        # Where the row is still there, it is the place: the query's images were embedded again, among other images, and
        # give similarities that differ by rounding.
        for number, group in enumerate(groups):
            if self._rows[group[0]].id == row:
                return number + 1
        after = (-similarity, row)
        return sum((-self._similarities[group[0]], self._rows[group[0]].id) <= after for group in groups)

    def _page(self, groups: list[list[int]], first: int) -> Hits:
        last = first + self._options.top
        before, known = sum(map(len, groups[:first])), self._known
        shown = [number for group in groups[first:last] for number in group]
        return Hits(
            tuple(self._hit(number, rank) for rank, number in enumerate(shown, before + 1)),
            searched=self._view.size,
            passed=self._found.passed,
            candidates=self._found.candidates,
            exact=self._found.exact,
            threshold=known.threshold() if known else None,
            far=known.settings.far if known else None,
            next=self._cursor(groups[last - 1][0], last) if len(groups) > last else "",
        )

    def _hit(self, number: int, rank: int) -> Hit:
        row = self._rows[number]
        decision = self._decisions[number]._asdict()
        similarity, marked = float(self._similarities[number]), row.key in self._target.marked
        return made_of(Hit, {**vars(row), **decision, "similarity": similarity, "rank": rank, "marked": marked})

    def _cursor(self, number: int, last: int) -> str:
        if self._options.group_by or self._options.rerank:
            return str(last)  # their order is not that of similarities
        return f"{last}:{float(self._similarities[number]).hex()}:{self._rows[number].id}"
