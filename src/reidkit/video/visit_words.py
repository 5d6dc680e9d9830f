"""Visits in words: how probable one is, and from when to when it lasts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reidkit.terminal import chance_words

if TYPE_CHECKING:
    from reidkit.video.visits import Visit


def visit_chance(visit: Visit) -> str:
    """Return how probable a visit is in per cent; its similarity where nothing is calibrated."""
    return f"{visit.similarity:.2f}" if visit.probability is None else chance_words(visit.probability)


def span_words(visit: Visit, *, day: bool = True) -> str:
    """Return from when to when a visit lasts: by the clock (UTC), or in its video; "" where neither is known."""
    if visit.start is not None and visit.end is not None:
        begin = visit.start.strftime("%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S")
        same_day = visit.start.date() == visit.end.date() or not day
        return f"{begin} - {visit.end.strftime('%H:%M:%S' if same_day else '%Y-%m-%d %H:%M:%S')}"
    if visit.first is not None and visit.last is not None:
        return f"{clock(visit.first)} - {clock(visit.last)}"
    return ""


def clock(seconds: float) -> str:
    """Return a place in a video, as players show it.

    >>> clock(75.4), clock(3675)
    ('1:15', '1:01:15')
    """
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
