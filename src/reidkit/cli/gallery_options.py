"""Options of `reidkit gallery`: which rows to select, and how times, similarities and attributes are written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reidkit.errors import UsageError

if TYPE_CHECKING:
    from reidkit.gallery import Filter

ModelOption = Annotated[
    Path | None, typer.Option("--model", help="The gallery's model: a run's folder, a .safetensors, .onnx or .xml.")
]
Uri = Annotated[str, typer.Argument(metavar="GALLERY", help="Its file, as people.db, or milvus://host:port/name.")]

_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, kw_only=True)
class Which:
    """The options that say which rows of a gallery are meant."""

    camera: Annotated[list[str] | None, typer.Option("--camera", help="Rows of this camera.")] = None
    not_camera: Annotated[list[str] | None, typer.Option("--not-camera", help="No rows of this camera.")] = None
    pid: Annotated[list[str] | None, typer.Option("--pid", metavar="<int>", help="Rows of this id.")] = None
    track: Annotated[list[str] | None, typer.Option("--track", help="Rows of this track.")] = None
    attribute: Annotated[
        list[str] | None, typer.Option("--attribute", metavar="NAME=VALUE", help="Rows with this attribute.")
    ] = None
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="2026-11-26T08:00Z, or 2h ago.")] = None
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Rows from before this time.")] = None
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="Rows taken longer ago: 72h, 30d, or a time.")
    ] = None

    def filter(self) -> Filter:
        """Return them as a gallery takes them."""
        from reidkit.gallery.filters import Filter

        return Filter(
            cameras=self.camera,
            not_cameras=self.not_camera or (),
            pids=None if self.pid is None else [parse_pid(text) for text in self.pid],
            tracks=self.track,
            attributes=parse_attributes(self.attribute or []),
            since=parse_time(self.since) if self.since else None,
            until=parse_time(self.until) if self.until else None,
            older_than=parse_time(self.older_than) if self.older_than else None,
        )


def parse_pid(text: str) -> int:
    """Return an id.

    Raises:
        UsageError: it is none.
    """
    try:
        return int(text)
    except ValueError:
        raise UsageError(
            f"--pid {text} is no number: people who have names are found by --attribute person={text}"
        ) from None


def parse_time(text: str) -> datetime:
    """Return a time: as text of ISO 8601, or so long ago (72h, 30d).

    Raises:
        UsageError: it is neither.
    """
    from reidkit.errors import DataError
    from reidkit.gallery.row import as_time

    if age := _AGE.fullmatch(text.strip()):
        return datetime.now(UTC) - timedelta(seconds=float(age[1]) * _SECONDS[age[2]])
    try:
        return as_time(text)
    except (DataError, OverflowError):
        raise UsageError(f"{text} is no time: write 2026-11-26T08:00Z, or an age as 72h or 30d") from None


def parse_duration(text: str, option: str) -> float:
    """Return seconds of a duration as 90s, 10m or 8h.

    Raises:
        UsageError: it is none.
    """
    if not (age := _AGE.fullmatch(text.strip())):
        raise UsageError(f"{option} {text} is no duration: write 90s, 10m or 8h")
    return float(age[1]) * _SECONDS[age[2]]


def parse_radius(text: str | None) -> float | Literal["calibrated"] | None:
    """Return the least similarity.

    Raises:
        UsageError: it is none.
    """
    if text is None or text == "calibrated":
        return text  # type: ignore[return-value]
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--radius {text} is no similarity: give a number, or calibrated") from None


def parse_attributes(pairs: list[str]) -> dict[str, Any]:
    """Return attributes of words as NAME=VALUE.

    Raises:
        UsageError: one is not written so.
    """
    from reidkit.gallery.table import value_of

    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise UsageError(f"--attribute {pair} has no value: write NAME=VALUE")
        found[name] = value_of(value)
    return found
