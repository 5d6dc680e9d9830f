from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pytest

from reidkit import strict_json
from reidkit.strict_json import JsonError, parse, read

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_taken() -> None:
    text = '{"a": [1, -2.5, 1e3, true, null, "x"], "b": {}}'
    value = {"a": [1, -2.5, 1000.0, True, None, "x"], "b": {}}
    assert parse(text) == parse(text.encode()) == parse(b"\xef\xbb\xbf" + text.encode()) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1, column 1"),
        ("{", "line 1, column 2"),
        ('// mine\n{"a": 1}', "line 1, column 1"),
        ("[1]\n[2]", "line 2, column 1"),
        ("[" * 100_000, "too deep"),
        ("[" * 33 + "]" * 33, "too deep"),
        ('{"a":' * 40 + "1" + "}" * 40, "too deep"),
        ("9" * 5000, "too many digits"),
        ("-" + "9" * 18, "too many digits"),
        ("1e400", "too large"),
        ("[NaN]", "NaN"),
        ("-Infinity", "-Infinity"),
        ('{"a": 1, "b": 2, "a": 3}', "'a' twice"),
        (b"\xff\xfe{}", "not UTF-8"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b"\x00" * 10, "line 1"),
    ],
)
def test_what_is_refused(text: str | bytes, why: str) -> None:
    with pytest.raises(JsonError, match=why) as caught:
        parse(text)
    assert len(str(caught.value)) < 100


def test_files_that_are_too_large_or_none(tmp_path: Path) -> None:
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(2**30)  # no bytes on the disk
    os.mkfifo(tmp_path / "pipe.json")
    for name, why in (("large.json", "larger than 64 MB"), ("pipe.json", "no regular file")):
        with pytest.raises(JsonError, match=why):
            read(tmp_path / name)


@dataclass(frozen=True)
class Inner:
    """A rule of its own: `low` is not above `high`."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


@dataclass(frozen=True)
class Outer:
    """One field of every kind."""

    name: str
    count: int
    flag: bool
    kind: Literal["a", "b"]
    inner: Inner | None
    pairs: tuple[tuple[int, float], ...] = ()


WHOLE = {"name": "x", "count": 3, "flag": True, "kind": "b", "inner": {"low": 0, "high": 1.5}, "pairs": [[1, 2]]}


def test_an_object_becomes_a_dataclass() -> None:
    found = strict_json.fit(WHOLE, Outer)
    assert found == Outer("x", 3, True, "b", Inner(0.0, 1.5), ((1, 2.0),))
    assert type(found.inner.low) is float
    short = {key: value for key, value in WHOLE.items() if key != "pairs"} | {"inner": None}
    assert strict_json.fit(short, Outer) == Outer("x", 3, True, "b", None)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"more": 1}, "more: there is no such key"),
        ({"name": 1}, "name: it must be text"),
        ({"count": True}, "count: it must be a whole number"),
        ({"count": 3.0}, "count: it must be a whole number"),
        ({"flag": 1}, "flag: it must be true or false"),
        ({"kind": "c"}, "kind: it must be a or b"),
        ({"inner": 1}, "inner: it must be an object"),
        ({"inner": {"low": 0}}, "inner.high: it is missing"),
        ({"pairs": {}}, "pairs: it must be a list"),
        ({"pairs": [[1, 2], [1]]}, "pairs.1: it must have 2 entries"),
        ({"pairs": [[1, "2"]]}, "pairs.0.1: it must be a number"),
    ],
)
def test_what_does_not_fit_is_named(changed: dict[str, object], sentence: str) -> None:
    with pytest.raises(strict_json.JsonError, match=re.escape(sentence)):
        strict_json.fit(WHOLE | changed, Outer)


def test_what_is_missing_or_breaks_a_rule_is_named() -> None:
    with pytest.raises(strict_json.JsonError, match="high: it is missing"):
        strict_json.fit({"low": 1}, Inner)
    with pytest.raises(strict_json.JsonError, match="the whole: low is above high"):
        strict_json.fit({"low": 2, "high": 1}, Inner)
    with pytest.raises(strict_json.JsonError, match="the whole: it must be an object"):
        strict_json.fit([], Inner)
