"""Where and when a person was: a search in a gallery that was filled from videos, by visits and not by images.

A visit is one person before one camera without a long break: the hits of one id or proposed person, and hits above the
threshold that follow each other, merged where no more than `gap` seconds lie between them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from reidkit.errors import UsageError
from reidkit.gallery.filters import EVERYTHING, Filter
from reidkit.gallery.person_ids import PERSON
from reidkit.gallery.query import Query, SearchOptions
from reidkit.gallery.row import as_time, time_text
from reidkit.terminal import text_cell
from reidkit.video.people import seconds_in_video, span_of_row

if TYPE_CHECKING:
    from datetime import datetime

    from reidkit.gallery.protocol import Gallery
    from reidkit.gallery.query import Hit, Hits

CANDIDATES = 1000
"""Hits of which visits are made."""

GAP = 10.0


@dataclass(frozen=True, kw_only=True)
class Visit:
    """Somebody before a camera, from when to when.

    Attributes:
        rank: Its place, from 1 up.
        hits: The tracks that it is made of, the most similar one first; similarity and probability are those of it.
        camera: The camera; None where it is not known.
        video: The video of the first of the hits; `first` and `last`: seconds in that video of all hits that are in it.
        start: When it begins by the clock, `end` when it ends; None where only the seconds of the video are known.
    """

    rank: int
    hits: tuple[Hit, ...]
    camera: str | None
    video: str | None
    first: float | None
    last: float | None
    start: datetime | None
    end: datetime | None

    @property
    def best(self) -> Hit:
        """The most similar track."""
        return self.hits[0]

    @property
    def similarity(self) -> float:
        """The cosine of the query and the most similar track."""
        return self.best.similarity

    @property
    def probability(self) -> float | None:
        """That the most similar track shows the person; None where nothing is calibrated."""
        return self.best.probability

    @property
    def same(self) -> bool | None:
        """Whether the most similar track reaches the threshold; None where nothing is calibrated."""
        return self.best.same

    @property
    def person(self) -> int | None:
        """The number of the person: the pid, which somebody has confirmed, or else what joining proposes."""
        return _person(self.best)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values; times as text of ISO 8601."""
        return {
            "rank": self.rank,
            "similarity": self.similarity,
            "probability": self.probability,
            "same": self.same,
            "threshold": self.best.threshold,
            "camera": self.camera,
            "from": time_text(self.start, "milliseconds"),
            "to": time_text(self.end, "milliseconds"),
            "video": self.video,
            "first": self.first,
            "last": self.last,
            "person": self.person,
            "confirmed": self.best.pid is not None,
            "key": self.best.key,
            "image": self.best.image,
            "tracks": [hit.key for hit in self.hits],
        }


@dataclass(frozen=True)
class Visits(Sequence[Visit]):
    """The visits that a search has found, the most probable first.

    `searched` is the number of rows of the gallery, `passed` those that passed the filter; `threshold` and `far` are
    the general threshold and its false accept rate, None where nothing is calibrated.
    """

    visits: tuple[Visit, ...]
    searched: int = 0
    passed: int = 0
    threshold: float | None = None
    far: float | None = None

    @overload
    def __getitem__(self, index: int) -> Visit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Visit, ...]: ...
    def __getitem__(self, index: int | slice) -> Visit | tuple[Visit, ...]:
        return self.visits[index]

    def __len__(self) -> int:
        return len(self.visits)

    @property
    def above(self) -> tuple[Visit, ...]:
        """Those that reach the threshold; all of them where there is none."""
        return tuple(visit for visit in self.visits if visit.same is not False)

    @property
    def below(self) -> tuple[Visit, ...]:
        """Those that do not reach it: probably other people."""
        return tuple(visit for visit in self.visits if visit.same is False)


def find_visits(
    gallery: Gallery, query: Query, *, top: int = 20, gap: float = GAP, matching: Filter = EVERYTHING
) -> Visits:
    """Search a gallery for a person, and return when and where they were.

    Args:
        gallery: A gallery whose rows have tracks and times, as `reidkit video track` makes them.
        query: Who is searched for.
        top: Visits, at most; they are made of the 1,000 most similar rows.
        gap: Seconds between two hits of one visit, at most.
        matching: Which rows to search.

    Raises:
        DataError: an image cannot be read, or features are of another model.
        UsageError: numbers that make no sense, or images where the gallery was opened without a model.
    """
    if top < 1 or not 0 <= gap < 1e9:
        raise UsageError(
            "a search has at least one visit, and a gap is a number of seconds: pass top and gap from 0 up"
        )
    hits = gallery.search(query, SearchOptions(top=CANDIDATES, filter=matching))
    groups = sorted(_visits(hits, gap), key=lambda group: (-group[0].similarity, group[0].id))[:top]
    visits = tuple(_visit(rank, group) for rank, group in enumerate(groups, 1))
    return Visits(visits, hits.searched, hits.passed, hits.threshold, hits.far)


COLUMNS = (
    "rank", "same", "probability", "similarity", "camera", "from", "to", "video", "first", "last", "person",
    "confirmed", "key", "image",
)  # fmt: skip


def visits_csv(visits: Visits) -> str:
    """Return visits as CSV with a header; texts that a spreadsheet would compute are marked as texts."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for visit in visits:
        values = visit.as_json()
        rows.writerow([_cell(values[name]) for name in COLUMNS])
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4f}" if isinstance(value, float) else text_cell(str(value))


def _visits(hits: Hits, gap: float) -> list[list[Hit]]:
    """Return the hits of each visit, the most similar first.

    Hits of one person and camera are put to the visit that ended last before they begin, if it ended `gap` seconds ago
    or less. Those that are known to be one person may also overlap; others that do are two.
    """
    groups: dict[tuple[str | None, str, object], list[tuple[float, float, Hit]]] = {}
    alone: list[list[Hit]] = []
    for hit in hits:
        name, (clock, first, last) = _name(hit), span_of_row(hit)
        if name is None or not clock:
            alone.append([hit])
        else:
            groups.setdefault((hit.camera, clock, name), []).append((first, last, hit))
    found = []
    for (_, _, name), group in groups.items():
        open_visits: list[tuple[float, list[Hit]]] = []
        for first, last, hit in sorted(group, key=lambda each: each[:2]):
            may = [
                at
                for at, (end, _) in enumerate(open_visits)
                if first - end <= gap and (name != "match" or first >= end)
            ]
            if may:
                at = max(may, key=lambda at: open_visits[at][0])
                end, members = open_visits[at]
                open_visits[at] = (max(end, last), [*members, hit])
            else:
                open_visits.append((last, [hit]))
        found += [sorted(members, key=lambda hit: (-hit.similarity, hit.id)) for _, members in open_visits]
    return found + alone


def _name(hit: Hit) -> object:
    """Return what hits of one visit have in common: the person or, above the threshold, that they match."""
    person = _person(hit)
    if person is not None:
        return ("pid" if hit.pid is not None else PERSON, person)
    return "match" if hit.same else None


def _person(hit: Hit) -> int | None:
    proposed = hit.attributes.get(PERSON)
    if hit.pid is not None:
        return hit.pid
    return proposed if isinstance(proposed, int) and not isinstance(proposed, bool) else None


def _visit(rank: int, hits: list[Hit]) -> Visit:
    """Return hits, the most similar first, as a visit."""
    best = hits[0]
    video = best.attributes.get("video")
    mine = [seconds_in_video(hit) for hit in hits if hit.attributes.get("video") == video]
    spans = [span for span in mine if span is not None]
    times = [(first, last) for clock, first, last in map(span_of_row, hits) if clock == "time"]
    return Visit(
        rank=rank,
        hits=tuple(hits),
        camera=best.camera,
        video=video if isinstance(video, str) and spans else None,
        first=min(span[0] for span in spans) if spans else None,
        last=max(span[1] for span in spans) if spans else None,
        start=as_time(min(first for first, _ in times)) if times else None,
        end=as_time(max(last for _, last in times)) if times else None,
    )
