"""What a caller has given, as an argument of a function or as a value of a recipe: checked, and named in the error."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from reidkit.errors import UsageError
from reidkit.terminal import comma_list

if TYPE_CHECKING:
    from collections.abc import Mapping


def in_words(value: object, longest: int = 100) -> str:
    """Return a value as a sentence can have it: one line, not too long, true and false as in JSON."""
    try:
        text = str(value).lower() if isinstance(value, bool) else value if isinstance(value, str) else repr(value)
    except ValueError:  # of a number with thousands of digits
        text = "a number without end"
    plain = text if text.isprintable() else ascii(text)[1:-1]
    return plain if len(plain) <= longest else f"{plain[: longest - 3]}..."


def check_choice(value: object, hint: Any, argument: str) -> Any:
    """Return the value where it is one of those of a Literal; one that ends in `:NAME` stands for any name there.

    Raises:
        UsageError: it is another; the sentence names the argument, the choices, and the nearest of them.
    """
    choices = get_args(hint)
    for choice in choices:
        if type(choice) is type(value) and (choice == value or _fills(choice, value)):
            return value
    words, known = in_words(value), [str(choice) for choice in choices]
    close = difflib.get_close_matches(words.lower().replace("_", "-"), known, n=1, cutoff=0.8)
    if words in known:  # of another type, as the text 1 for the number
        words = f"the text {words!r}" if isinstance(value, str) else f"a {type(value).__name__}"
    remedy = f"; did you mean {close[0]}?" if close else ""
    raise UsageError(f"{argument} must be {comma_list(known, 'or')}, not {words}{remedy}", argument=argument)


def check_whole(value: object, argument: str, *, least: int = 0) -> int:
    """Return a whole number from `least` on as an int: one of numpy's, or a float without a fraction, is one.

    Raises:
        UsageError: it is none; the sentence names the argument.
    """
    number: Any = value
    whole = isinstance(value, Integral) or (isinstance(value, Real) and float(value).is_integer())
    if isinstance(value, bool) or not whole or number < least:
        refuse(argument, f"a whole number from {least} on", value)
    return int(number)


def check_number(value: object, argument: str) -> float:
    """Return a number as a float, be it one of numpy's; what range it must be in, NaN or not, the caller knows.

    Raises:
        UsageError: it is none; the sentence names the argument.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        refuse(argument, "a number", value)
    return float(value)


def check_path(path: object, wanted: str, argument: str = "path") -> Path:
    """Return a path that a caller has given.

    Raises:
        UsageError: it is something else, or empty, which would be this folder; `wanted` says what it should have been.
    """
    if not isinstance(path, str | os.PathLike) or (isinstance(path, str) and not path):
        found = "an empty text" if isinstance(path, str) else f"a {type(path).__name__}"
        raise UsageError(f"{found} is no path: pass {wanted}", argument=argument)
    return Path(path)


def with_fields(options: Any, kind: type[Any], changes: Mapping[str, object]) -> Any:
    """Return options of a dataclass with some fields changed by their names; None is its defaults.

    Raises:
        UsageError: they are something else, or there is no such field.
    """
    if not isinstance(options, kind | None):
        raise UsageError(
            f"options are a {type(options).__name__}: pass {kind.__name__}(...), or its fields by their names",
            argument="options",
        )
    known = [field.name for field in fields(kind)]
    if unknown := [name for name in changes if name not in known]:
        close = difflib.get_close_matches(unknown[0], known, n=1)
        remedy = f"did you mean {close[0]}?" if close else f"choose of {', '.join(known)}"
        raise UsageError(f"there is no argument {unknown[0]}; {remedy}", argument=unknown[0])
    return replace(options or kind(), **changes)


def refuse(argument: str, wanted: str, value: object) -> NoReturn:
    """Say what a value must be and what it is.

    Raises:
        UsageError: always; a text that looks like a number is called a text.
    """
    words = in_words(value)
    digits = isinstance(value, str) and value.strip().lstrip("+-")[:1].isdecimal()  # else as if 3 were not a number
    raise UsageError(
        f"{argument} must be {wanted}, not {f'the text {words!r}' if digits else words}", argument=argument
    )


def _fills(choice: Any, value: Any) -> bool:
    """Whether a text is the name that a choice as `timm:NAME` leaves open."""
    start, colon, name = str(choice).partition(":")
    given = str(value).partition(":")
    return name == "NAME" and given[:2] == (start, colon) and bool(re.fullmatch(r"[\w.\-/:]+", given[2]))
