from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

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
