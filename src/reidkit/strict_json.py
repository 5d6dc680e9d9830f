"""JSON that others wrote: what it says is unambiguous and of a size that can be handled, or it is refused."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 2**26
"""Bytes of a file: a recipe has a thousand, the calibration of a thousand cameras some millions."""
DEPTH = 32
"""How many lists and objects lie in each other at most."""
DIGITS = 18
"""Of a whole number: every one fits into 64 bits."""


class JsonError(ValueError):
    """Why a text is no JSON that is taken, as a part of a sentence."""


def parse(text: str | bytes) -> Any:
    """Return the value of a JSON text; bytes are UTF-8, with a byte order mark or without.

    Raises:
        JsonError: it is not JSON, holds NaN or infinity, a number of more than 18 digits, a key twice in one object, or
            lists in lists without end.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        value = json.loads(
            text, parse_int=_whole, parse_float=_number, parse_constant=_constant, object_pairs_hook=_object
        )
    except UnicodeDecodeError:
        raise JsonError("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise JsonError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise JsonError("lists or objects lie too deep in each other") from None
    if _deeper(value, DEPTH):
        raise JsonError("lists or objects lie too deep in each other")
    return value


def read(path: Path) -> Any:
    """Return the value of a JSON file.

    Raises:
        OSError: the file cannot be read.
        JsonError: as `parse`; or it is no regular file, or too large.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise JsonError("it is no regular file")
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise JsonError(f"it is larger than {LARGEST >> 20} MB")
    return parse(content)


def _whole(text: str) -> int:
    if len(text) > DIGITS:
        raise JsonError("a number has too many digits")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise JsonError("a number is too large")
    return value


def _constant(text: str) -> float:
    raise JsonError(f"it holds {text}, which JSON does not have")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise JsonError(f"it holds {twice[:40]!a} twice")
    return value


def _deeper(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(each, levels - 1) for each in inner)
