"""What a gallery knows of an image beside its feature: key, id, camera, track, time, attributes."""

from __future__ import annotations

import math
import numbers
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime, timedelta
from time import time_ns
from typing import Any, TypeAlias, TypeVar

from reidkit.errors import DataError, UsageError

Made = TypeVar("Made", bound="Row")

Camera: TypeAlias = str | int | None
"""What a camera is called; a number is its name as text. None: not known."""

Time: TypeAlias = datetime | float | str
"""A time with a zone, seconds since 1970 (UTC), or text of ISO 8601. Without a zone it is UTC."""

Value: TypeAlias = str | int | float | bool
"""The value of an attribute."""

LONGEST_KEY = 512
LONGEST_TEXT = 1024
MOST_ATTRIBUTES = 64
LONGEST_NAME = 64
LARGEST = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    """An image of a gallery, without its feature.

    Attributes:
        key: What it is called: 1 to 512 characters, no control characters; made NFC.
        pid: The id of its person, 0 or more; None where that is not known.
        camera: What its camera is called.
        track: What its track is called: images of one person in one camera without a break.
        time: When it was taken; in UTC, to the microsecond.
        image: Where the picture lies, as whoever added it says; a path is relative to a folder that they know.
        attributes: Anything else that is filtered by, a number, a text or true and false by name.
        id: Given by the gallery, rising with every row that is added, never given twice; 0 before that.
        added: When it was added; given by the gallery.

    Raises:
        DataError: one of them is not as said here.
    """

    key: str
    _: KW_ONLY
    pid: int | None = None
    camera: str | None = None
    track: str | None = None
    time: datetime | None = None
    image: str | None = None
    attributes: Mapping[str, Value] = field(default_factory=dict)
    id: int = 0
    added: datetime | None = None

    def __post_init__(self) -> None:
        values = {
            "key": check_text(self.key, "a key", LONGEST_KEY),
            "pid": _pid(self.pid, self.key),
            "camera": camera_name(self.camera),
            "track": self.track if self.track is None else check_text(self.track, "a track"),
            "time": None if self.time is None else as_time(self.time),
            "image": self.image if self.image is None else check_text(self.image, "an image", 4 * LONGEST_TEXT),
            "attributes": check_attributes(self.attributes, self.key),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)


def made_of(kind: type[Made], values: Mapping[str, Any]) -> Made:
    """Return a row of values that were checked before, all of them: checking takes as long as finding it."""
    row = object.__new__(kind)
    vars(row).update(values)
    return row


def check_text(text: object, what: str, longest: int = LONGEST_TEXT) -> str:
    """Return a text in its normal form NFC.

    Raises:
        DataError: it is none, empty, too long, or holds control characters.
    """
    if not isinstance(text, str):
        raise DataError(f"{what} is {text!r} and not text: pass a str")
    if text.isascii() and text.isprintable() and 0 < len(text) <= longest:
        return text
    normal = unicodedata.normalize("NFC", text)
    if not 0 < len(normal) <= longest:
        raise DataError(f"{what} of {len(normal)} characters: give it 1 to {longest}")
    if any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in normal):
        raise DataError(f"{what} {normal} holds control characters or half a character: leave them out")
    return normal


def camera_name(camera: Camera) -> str | None:
    """Return what a camera is called; -1 as a number is an unknown one.

    Raises:
        DataError: the name is no text, empty, too long, or holds control characters.
    """
    if camera is None or camera == -1:
        return None
    if isinstance(camera, numbers.Integral) and not isinstance(camera, bool):
        return str(int(camera))
    return check_text(camera, "a camera")


def as_time(time: Time) -> datetime:
    """Return a time in UTC.

    Raises:
        DataError: it is none, or lies outside of the years 1 to 9999.
    """
    try:
        if isinstance(time, str):
            time = datetime.fromisoformat(time.strip())
        if isinstance(time, datetime):
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        if isinstance(time, numbers.Real) and not isinstance(time, bool):
            return _EPOCH + timedelta(seconds=float(time))
    except (ValueError, OverflowError):
        pass
    raise DataError(f"{time!r} is no time: write it as 2026-11-26T08:30:00Z, or as seconds since 1970")


def to_micros(time: datetime) -> int:
    """Microseconds since 1970, UTC."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    """Return the time so many microseconds after 1970 began, in UTC."""
    return _EPOCH + timedelta(microseconds=micros)


def time_of(micros: int | None) -> datetime | None:
    """Return what `from_micros` does, or None for a time that is not known."""
    return None if micros is None else from_micros(micros)


def time_text(time: datetime | None, timespec: str = "auto") -> str | None:
    """Return a time as RFC 3339 in UTC, as exactly as it is known or, with a `timespec`, as `isoformat` has it."""
    return None if time is None else time.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def now_micros() -> int:
    """Return the present time in microseconds since 1970."""
    return time_ns() // 1000


def check_attributes(attributes: Mapping[str, Any], key: str = "") -> dict[str, Value]:
    """Return attributes as they are kept.

    Raises:
        DataError: a name or a value that cannot be filtered by.
    """
    if not isinstance(attributes, Mapping) or len(attributes) > MOST_ATTRIBUTES:
        raise DataError(f"attributes of {key} are no more than {MOST_ATTRIBUTES} names with a value each: pass a dict")
    return {check_name(name): check_value(value, name) for name, value in attributes.items()}


def check_name(name: object) -> str:
    """Return the name of an attribute.

    Raises:
        DataError: it cannot be one.
    """
    text = check_text(name, "the name of an attribute", LONGEST_NAME)
    if '"' in text or "\\" in text:
        raise DataError(f"the name {text} of an attribute holds a quote or a backslash: leave it out")
    return text


def check_value(value: object, name: object) -> Value:
    """Return the value of an attribute.

    Raises:
        DataError: it is no text, number, true or false.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral) and abs(int(value)) <= LARGEST:
        return int(value)
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral) and math.isfinite(value):
        return float(value)
    if value == "":
        return ""
    if isinstance(value, str):
        return check_text(value, f"the attribute {name}")
    raise DataError(f"the attribute {name} is {value!r}: give it a text, a number of 64 bits, true or false")


def check_texts(texts: Iterable[object], what: str) -> tuple[str, ...]:
    """Return several texts in their normal form, each once.

    Raises:
        DataError: one is none.
    """
    return tuple(dict.fromkeys(check_text(text, what) for text in texts))


def _pid(pid: int | None, key: str) -> int | None:
    """Return an id; -1, which is junk, is none."""
    if pid is None or (isinstance(pid, numbers.Integral) and pid == -1):
        return None
    if isinstance(pid, bool) or not isinstance(pid, numbers.Integral) or not 0 <= pid <= LARGEST:
        raise DataError(f"the pid of {key} is {pid!r}: give it a whole number from 0 up, or None")
    return int(pid)


def check_rows(rows: Sequence[Row]) -> None:
    """Refuse rows that are none, as their keys alone.

    Raises:
        UsageError: they are no list of rows.
    """
    if not isinstance(rows, Sequence) or not all(isinstance(row, Row) for row in rows):
        raise UsageError("rows are no list of Row: pass [Row(key=key) for key in keys]", argument="rows")


def rows_of(count: int, *, keys: Sequence[str], **columns: Sequence[Any] | None) -> list[Row]:
    """Return rows of columns: `cameras`, `pids`, `tracks`, `times`, `attributes`; None: not known.

    Raises:
        DataError: a value that cannot be one.
        UsageError: a column of another length.
    """
    known = {name: column for name, column in {"keys": keys, **columns}.items() if column is not None}
    for name, column in known.items():
        if isinstance(column, str) or not isinstance(column, Iterable):
            raise UsageError(f"{name} is {column!r}: pass a list, one for each image", argument=name)
    given = {name: list(column) for name, column in known.items()}
    for name, column in given.items():
        if len(column) != count:
            raise UsageError(f"there are {len(column)} {name} for {count} images: pass one for each", argument=name)
    names = {name: name if name == "attributes" else name.removesuffix("s") for name in given}
    return [Row(**{names[name]: column[at] for name, column in given.items()}) for at in range(count)]


def keys_of(images: Sequence[object]) -> list[str]:
    """Return the paths of images, as text.

    Raises:
        UsageError: one has none.
    """
    keys = []
    for index, image in enumerate(images):
        if not isinstance(image, str | os.PathLike):
            raise UsageError(f"image {index} has no path to be its key: pass keys", argument="keys")
        keys.append(os.fspath(image))
    return keys
