"""Which rows of a gallery are meant: one object, as a test in Python, a mask over columns, SQL and Milvus's language.

`Filter.matches` is the definition; the others give the same rows, which a property test compares.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reidkit.errors import DataError, UsageError
from reidkit.gallery.row import as_time, camera_name, check_name, check_texts, check_value, to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from numpy.typing import NDArray

    from reidkit.gallery.row import Row, Value

UNKNOWN = np.iinfo(np.int64).min
"""A pid or a time that is not known, in a column."""

MILVUS_UNKNOWN = -(2**62)
"""The same in Milvus, whose language cannot write the smallest int64."""

_EXACT = 2**53
"""From here on Milvus compares whole numbers with fractions by rounding, and so takes different ones for equal."""

_LISTED = "(SELECT value FROM json_each(?))"
_CAMERAS = "(SELECT id FROM cameras WHERE name IN (SELECT value FROM json_each(?)))"
_VALUE = f"AND json_extract(rows.attributes, ?) IN {_LISTED}"
_TEXT = f"(json_type(rows.attributes, ?) = 'text' {_VALUE})"
_NUMBER = f"(json_type(rows.attributes, ?) IN ('integer', 'real') {_VALUE})"


class Columns(NamedTuple):
    """What is known of N rows, as arrays [N]; `codes` gives the number of each camera by its name.

    Cameras are -1 where they are not known, pids and times (microseconds since 1970) `UNKNOWN`.
    """

    cameras: NDArray[np.int32]
    pids: NDArray[np.int64]
    times: NDArray[np.int64]
    codes: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Filter:
    """The rows that meet every condition that is given; all of them where none is.

    What is not known of a row is in no list and at no time: `cameras`, `pids`, `tracks`, `since`, `until` and
    `attributes` leave it out, `not_cameras`, `not_pids` and `not_keys` let it pass.

    Attributes:
        cameras: One of these cameras, by name; a number is its name as text.
        not_cameras: None of these.
        pids: One of these ids.
        not_pids: None of these.
        tracks: One of these tracks.
        keys: One of these keys.
        not_keys: None of these.
        since: Taken at this time or later; a time may also be given as text of ISO 8601, or in seconds since 1970.
        until: Taken before this time.
        older_than: Taken before this time or, where that is not known, added before it: what retention removes.
        attributes: Each of these attributes has this value, or one of these values.

    Raises:
        UsageError: a value that cannot be one.
    """

    cameras: Collection[str | int] | None = None
    not_cameras: Collection[str | int] = ()
    pids: Collection[int] | None = None
    not_pids: Collection[int] = ()
    tracks: Collection[str] | None = None
    keys: Collection[str] | None = None
    not_keys: Collection[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    older_than: datetime | None = None
    attributes: Mapping[str, Value | Collection[Value]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for each in fields(self):
            given = getattr(self, each.name)
            if given is not None:
                try:
                    object.__setattr__(self, each.name, _CHECKS[each.name](given))
                except DataError as error:
                    raise UsageError(f"{each.name}: {error}", argument=each.name) from None

    def __bool__(self) -> bool:
        return self != Filter()

    def conditions(self) -> dict[str, Any]:
        """Return the conditions that are given, by name; none where every row meets the filter."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in given.items() if value != getattr(EVERYTHING, name)}

    def matches(self, row: Row) -> bool:
        """Return whether a row meets the filter."""
        known = ((self.cameras, row.camera), (self.pids, row.pid), (self.tracks, row.track), (self.keys, row.key))
        not_those = ((self.not_cameras, row.camera), (self.not_pids, row.pid), (self.not_keys, row.key))
        return (
            all(wanted is None or value in wanted for wanted, value in known)
            and not any(value in unwanted for unwanted, value in not_those)
            and self._in_time(row)
            and all(_is_one_of(row.attributes.get(name), wanted) for name, wanted in self._wanted())
        )

    def mask(self, columns: Columns) -> NDArray[np.bool_] | None:
        """Return which rows meet the filter, bool [N]; None where more must be known than the columns."""
        if self.tracks is not None or self.keys is not None or self.not_keys or self.older_than or self.attributes:
            return None
        passed = np.ones(len(columns.cameras), np.bool_)
        codes = columns.codes
        if self.cameras is not None:
            passed &= _among(columns.cameras, codes, self.cameras)
        if self.not_cameras:
            passed &= ~_among(columns.cameras, codes, self.not_cameras)
        if self.pids is not None:
            passed &= np.isin(columns.pids, list(self.pids))
        if self.not_pids:
            passed &= ~np.isin(columns.pids, list(self.not_pids))
        if self.since:
            passed &= columns.times >= to_micros(self.since)
        if self.until:
            passed &= (columns.times < to_micros(self.until)) & (columns.times != UNKNOWN)
        return passed

    def sql(self) -> tuple[str, list[Any]]:
        """Return the condition of a SELECT from `rows`, and its parameters: whatever is given is a parameter."""
        conditions = [*self._lists_in_sql(), *self._times_in_sql()]
        conditions += [_attribute_sql(name, values) for name, values in self._wanted()]
        where = " AND ".join(condition for condition, _ in conditions) or "1"
        return where, [value for _, values in conditions for value in values]

    def _lists_in_sql(self) -> Iterator[tuple[str, list[Any]]]:
        known = (("pid", self.pids, _LISTED), ("track", self.tracks, _LISTED), ("key", self.keys, _LISTED))
        for name, wanted, listed in (("camera", self.cameras, _CAMERAS), *known):
            if wanted is not None:
                yield f"rows.{name} IN {listed}", [_json(wanted)]
        known_not = (("pid", self.not_pids, _LISTED), ("key", self.not_keys, _LISTED))
        for name, unwanted, listed in (("camera", self.not_cameras, _CAMERAS), *known_not):
            if unwanted:
                yield f"(rows.{name} IS NULL OR rows.{name} NOT IN {listed})", [_json(unwanted)]

    def _times_in_sql(self) -> Iterator[tuple[str, list[Any]]]:
        for condition, time in (
            ("rows.time >= ?", self.since),
            ("rows.time < ?", self.until),
            ("coalesce(rows.time, rows.added) < ?", self.older_than),
        ):
            if time:
                yield condition, [to_micros(time)]

    def milvus(self) -> str:
        """Return the filter in Milvus's language, over fields of the names of `Row`; times are in microseconds.

        Values go through JSON and names are fixed, so that none can end its place. Fields that are not known hold ""
        or, for pids and times, `MILVUS_UNKNOWN`; numbers of attributes that are large are text in `large`.
        """
        # No row has a pid below 0, and one that is not known must not be found by its number.
        pids = None if self.pids is None else tuple(pid for pid in self.pids if pid >= 0)
        not_pids = tuple(pid for pid in self.not_pids if pid >= 0)
        wanted = (("camera", self.cameras), ("pid", pids), ("track", self.tracks), ("key", self.keys))
        unwanted = (("camera", self.not_cameras), ("pid", not_pids), ("key", self.not_keys))
        parts = [f"{name} in {_json(values)}" for name, values in wanted if values is not None]
        parts += [f"{name} not in {_json(values)}" for name, values in unwanted if values]
        parts += self._times_in_milvus()
        for name, values in self._wanted():
            alternatives = [_attribute_milvus(name, value) for value in values]
            parts.append(f"({' or '.join(alternatives)})" if alternatives else "key in []")
        return " and ".join(parts)

    def _times_in_milvus(self) -> Iterator[str]:
        known, unknown = f"time != {MILVUS_UNKNOWN}", f"time == {MILVUS_UNKNOWN}"
        if self.since:
            yield f"time >= {to_micros(self.since)}"
        if self.until:
            yield f"({known} and time < {to_micros(self.until)})"
        if self.older_than:
            limit = to_micros(self.older_than)
            yield f"(({known} and time < {limit}) or ({unknown} and added < {limit}))"

    def _in_time(self, row: Row) -> bool:
        age = row.time or row.added
        return (
            not (self.since and (row.time is None or row.time < self.since))
            and not (self.until and (row.time is None or row.time >= self.until))
            and not (self.older_than and (age is None or age >= self.older_than))
        )

    def _wanted(self) -> Iterable[tuple[str, tuple[Value, ...]]]:
        return self.attributes.items()  # type: ignore[return-value]  # tuples, since __post_init__


def _among(cameras: NDArray[np.int32], codes: Mapping[str, int], names: Collection[str | int]) -> NDArray[np.bool_]:
    """Return which cameras are among these: by one comparison for one, which is what is asked for most."""
    wanted = [codes[str(name)] for name in names if name in codes]
    return cameras == wanted[0] if len(wanted) == 1 else np.isin(cameras, wanted)


def _attribute_sql(name: str, values: tuple[Value, ...]) -> tuple[str, list[Any]]:
    """Return the condition that an attribute is one of these: in JSON, true is not 1, and "1" is no number."""
    path, plain = f'$."{name}"', [value for value in values if not isinstance(value, bool)]
    texts, others = [v for v in plain if isinstance(v, str)], [v for v in plain if not isinstance(v, str)]
    conditions, given = [], []
    for condition, some in ((_TEXT, texts), (_NUMBER, others)):
        if some:
            conditions.append(condition)
            given += [path, path, _json(some)]
    for value in values:
        if isinstance(value, bool):
            conditions.append("json_type(rows.attributes, ?) = ?")
            given += [path, "true" if value else "false"]
    return f"({' OR '.join(conditions)})" if conditions else "0", given


def is_large(value: Value) -> bool:
    """Return whether Milvus would round a number when it compares it."""
    return not isinstance(value, str | bool) and abs(value) >= _EXACT


def _attribute_milvus(name: str, value: Value) -> str:
    if is_large(value):
        return f"large[{_json(name)}] == {_json(str(int(value)))}"
    return f"attributes[{_json(name)}] == {_json(value)}"


def _is_one_of(value: Value | None, wanted: tuple[Value, ...]) -> bool:
    return any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in wanted)


def _json(values: Any) -> str:
    return json.dumps(list(values) if isinstance(values, tuple) else values, ensure_ascii=False, allow_nan=False)


def _several(given: Any) -> Collection[Any]:
    """Return a collection; a text alone is one value and no collection of letters."""
    if isinstance(given, str | int | float) or not isinstance(given, Collection):
        raise DataError(f"{given!r} is one value: pass a list of them")
    return given


def _cameras(given: Any) -> tuple[str, ...]:
    names = (camera_name(camera) for camera in _several(given))
    return tuple(dict.fromkeys(name for name in names if name is not None))


def _pids(given: Any) -> tuple[int, ...]:
    for pid in _several(given):
        if isinstance(pid, bool) or not isinstance(pid, int | np.integer):
            raise DataError(f"{pid!r} is no id: pass whole numbers")
    return tuple(dict.fromkeys(int(pid) for pid in given if -(2**63) < pid < 2**63))


def _texts(what: str) -> Callable[[Any], tuple[str, ...]]:
    return lambda given: check_texts(_several(given), what)


def _attributes(given: Any) -> dict[str, tuple[Value, ...]]:
    if not isinstance(given, Mapping):
        raise DataError("they are no names with values: pass a dict")
    found = {}
    for name, values in given.items():
        several = [values] if isinstance(values, str | int | float) else _several(values)
        found[check_name(name)] = tuple(check_value(value, name) for value in several)
    return found


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "cameras": _cameras,
    "not_cameras": _cameras,
    "pids": _pids,
    "not_pids": _pids,
    "tracks": _texts("a track"),
    "keys": _texts("a key"),
    "not_keys": _texts("a key"),
    "since": as_time,
    "until": as_time,
    "older_than": as_time,
    "attributes": _attributes,
}

EVERYTHING = Filter()


def check_filter(matching: object) -> Filter:
    """Return a filter.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(matching, Filter):
        raise UsageError(
            f"{matching!r} is no filter: pass a Filter of reidkit.gallery, as Filter(cameras=['hall'])",
            argument="matching",
        )
    return matching
