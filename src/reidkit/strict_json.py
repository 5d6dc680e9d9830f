"""Read JSON from elsewhere: refuse what is ambiguous or too large.

`parse` and `read` give plain values; `fit` makes a dataclass of them, as strictly: every key is known, none is missing
that has no default, and every value has the type of its field.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_args, get_origin, get_type_hints

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


# Values as the fields of a dataclass.


def fit(value: object, hint: Any, key: str = "") -> Any:
    """Return a JSON value in the type `hint`, which `key` has.

    A dataclass is made from an object, a tuple from a list, a float from any number; of a union the type that
    fits is taken. `hint` may also be a Literal, int, str, bool or None.

    Raises:
        JsonError: the value has another type; the sentence begins with its key, as `settings.far`.
    """
    if dataclasses.is_dataclass(hint):
        return _fit_object(value, hint, key)
    if get_origin(hint) is UnionType:
        return _fit_union(value, get_args(hint), key)
    if get_origin(hint) is tuple:
        return _fit_list(value, get_args(hint), key)
    if get_origin(hint) is Literal:
        fits = any(type(value) is type(choice) and value == choice for choice in get_args(hint))
        return value if fits else _refuse(key, f"it must be {' or '.join(map(str, get_args(hint)))}")
    if hint is float and type(value) in (int, float):
        return float(value)  # type: ignore[arg-type]
    return value if type(value) is hint else _refuse(key, f"it must be {_WORDS[hint]}")


_WORDS = {float: "a number", int: "a whole number", str: "text", bool: "true or false", type(None): "null"}


def _fit_object(value: object, kind: Any, key: str) -> Any:
    if not isinstance(value, dict):
        _refuse(key, "it must be an object")
    hints, prefix = _field_types(kind), f"{key}." if key else ""
    needed = {field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING}
    for name in (*(needed - value.keys()), *(value.keys() - hints.keys())):
        _refuse(f"{prefix}{name}"[:80], "it is missing" if name in needed else "there is no such key")
    fields = {name: fit(each, hints[name], prefix + name) for name, each in value.items()}
    try:
        return kind(**fields)
    except ValueError as error:  # a rule of its own
        raise JsonError(f"{key or 'the whole'}: {error}") from None


@cache
def _field_types(kind: Any) -> dict[str, Any]:
    known = get_type_hints(kind)
    return {field.name: known[field.name] for field in dataclasses.fields(kind)}


def _fit_union(value: object, hints: tuple[Any, ...], key: str) -> Any:
    """Take the dataclass that has the keys of an object; else the type of the value, or the last one."""
    if isinstance(value, dict):
        kinds: list[Any] = [hint for hint in hints if dataclasses.is_dataclass(hint)]
        hints = tuple(kind for kind in kinds if value.keys() <= _field_types(kind).keys()) or tuple(kinds) or hints
    return fit(value, next((hint for hint in hints if type(value) is hint), hints[0]), key)


def _fit_list(value: object, hints: tuple[Any, ...], key: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        _refuse(key, "it must be a list")
    if hints[-1] is ...:
        hints = hints[:1] * len(value)
    if len(value) != len(hints):
        _refuse(key, f"it must have {len(hints)} entries")
    return tuple(fit(each, hint, f"{key}.{i}") for i, (each, hint) in enumerate(zip(value, hints, strict=True)))


def _refuse(key: str, why: str) -> NoReturn:
    raise JsonError(f"{key or 'the whole'}: {why}")
