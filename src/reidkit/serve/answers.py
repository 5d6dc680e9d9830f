"""What answers say: their members, and how rows and hits become them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from typing_extensions import TypedDict

from reidkit.gallery.row import time_text

if TYPE_CHECKING:
    from datetime import datetime

    from reidkit.gallery import Hit, Hits, Row


class RowAnswer(TypedDict):
    """A row of the gallery; times are RFC 3339 in UTC."""

    key: str
    pid: int | None
    camera: str | None
    track: str | None
    time: str | None
    attributes: dict[str, Any]
    image: str


class StoredAnswer(RowAnswer):
    """A row that was put, and what became of it."""

    status: Literal["added", "replaced", "unchanged"]


class HitAnswer(RowAnswer):
    """A row that was found. What needs a calibration is null without one."""

    rank: int
    similarity: float
    probability: float | None
    same: bool | None
    threshold: float | None
    calibration: Literal["pair", "all", "none"]
    marked: bool


class ThresholdAnswer(TypedDict):
    """The general threshold, and which share of the pairs of two people reach it."""

    far: float | None
    threshold: float


class SearchAnswer(TypedDict):
    """The hits of a search, most similar first, and what was searched; `next` is the cursor of the next page."""

    search_id: str
    model: str
    took_ms: float
    exact: bool
    searched: int
    passed_filter: int
    candidates: int
    calibration: ThresholdAnswer | None
    results: list[HitAnswer]
    next: str


class BatchAnswer(TypedDict):
    """The result of each search, in their order, or `{"problem": ...}`."""

    results: list[dict[str, Any]]


class EmbedAnswer(TypedDict):
    """The feature of each picture, in their order, or `{"index": ..., "problem": ...}`."""

    model: str
    dim: int
    items: list[dict[str, Any]]


class CompareAnswer(TypedDict):
    """How similar two images are, and whether they show one person; null where nothing is calibrated."""

    similarity: float
    probability: float | None
    same: bool | None
    threshold: float | None
    far: float | None
    calibration: Literal["pair", "all", "none"]


class RowsAnswer(TypedDict):
    """Rows, and the cursor of the next page; "" on the last one."""

    rows: list[RowAnswer]
    next: str


class ChangesAnswer(TypedDict):
    """How many rows were added, replaced and unchanged; which failed, each with its problem."""

    added: int
    replaced: int
    unchanged: int
    failed: list[dict[str, Any]]


class RemovedAnswer(TypedDict):
    """How many rows met the filter, and whether they were removed."""

    count: int
    removed: bool


class CameraAnswer(TypedDict):
    """A camera: its name, how many rows it has, their first and last time."""

    name: str | None
    rows: int
    first: str | None
    last: str | None


class CamerasAnswer(TypedDict):
    """The cameras of the gallery."""

    cameras: list[CameraAnswer]


class EntriesAnswer(TypedDict):
    """Entries of the audit log, oldest first."""

    entries: list[dict[str, Any]]


class SessionAnswer(TypedDict):
    """Who has signed in, and what they may do."""

    name: str
    roles: list[str]


class StatusAnswer(TypedDict):
    """How the service is."""

    status: Literal["live", "loading", "ready", "stopping", "unavailable"]


class InfoAnswer(TypedDict):
    """What the service is, and what it takes."""

    version: str
    actor: dict[str, Any]
    model: dict[str, Any]
    gallery: dict[str, Any]
    calibration: dict[str, Any] | None
    limits: dict[str, Any]
    require_purpose: bool
    videos: bool


def moment(time: datetime | None) -> str | None:
    """Return a time as RFC 3339 in UTC, to the millisecond."""
    return time_text(time, "milliseconds")


def row_answer(row: Row) -> RowAnswer:
    """Return what is said of a row."""
    return {
        "key": row.key,
        "pid": row.pid,
        "camera": row.camera,
        "track": row.track,
        "time": moment(row.time),
        "attributes": dict(row.attributes),
        "image": f"/v1/images/{quote(row.key, safe='')}",
    }


def hit_answer(hit: Hit) -> HitAnswer:
    """Return what is said of a hit."""
    return {
        **row_answer(hit),
        "rank": hit.rank,
        "similarity": round(hit.similarity, 6),
        "probability": None if hit.probability is None else round(hit.probability, 6),
        "same": hit.same,
        "threshold": hit.threshold,
        "calibration": hit.calibration or "none",
        "marked": hit.marked,
    }


KEPT_BY_ITS_OWNER = {"Cache-Control": "private, max-age=300", "Vary": "Authorization, Cookie"}
"""Headers of pictures and clips: a browser shows what it has kept only to who signed in as it was sent."""


def entity_tag(data: bytes) -> str:
    """Return what the header `ETag` of a file, a picture or a clip says."""
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def hits_answer(hits: Hits, model: str, milliseconds: float, search_id: str) -> SearchAnswer:
    """Return what is said of a search."""
    return {
        "search_id": search_id,
        "model": model,
        "took_ms": round(milliseconds, 1),
        "exact": hits.exact,
        "searched": hits.searched,
        "passed_filter": hits.passed,
        "candidates": hits.candidates,
        "calibration": None if hits.threshold is None else {"far": hits.far, "threshold": hits.threshold},
        "results": [hit_answer(hit) for hit in hits],
        "next": hits.next,
    }
