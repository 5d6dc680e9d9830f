"""The check of a section when it is made: types of its fields first, then its rules."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import fields, replace
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, cast, get_args, get_origin, get_type_hints

from reidkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LARGEST = 2**31
"""No number of a recipe is as large, so that products of a few of them stay exact."""

Rule = tuple[bool, str, str]
"""Whether the rule holds, the field that it is about, and what it says: `(lr > 0, "lr", "must be above 0")`."""


class Section:
    """Part of a recipe. Its values are checked when it is made, from Python as from text."""

    prefix: ClassVar[str | None] = None
    """Before the names of its fields in a key, with the dot; None is the name of the class."""

    def __post_init__(self) -> None:
        """Check and convert every field.

        Raises:
            UsageError: a value is of another type, or breaks a rule; the sentence names its key.
        """
        for name, hint in field_types(type(self)).items():
            object.__setattr__(self, name, _fit(getattr(self, name), hint, self.key(name)))
        for holds, name, words in self.rules():
            if not holds:
                raise UsageError(f"{self.key(name)} {words}", argument=self.key(name))

    def rules(self) -> Iterator[Rule]:
        """Give what the types of the fields do not say of their values."""
        yield from ()

    def not_negative(self, *names: str) -> Iterator[Rule]:
        """Give the rule of fields that must be 0 or more."""
        yield from ((getattr(self, name) >= 0, name, "must not be negative") for name in names)

    def positive(self, *names: str) -> Iterator[Rule]:
        """Give the rule of fields that must be above 0."""
        yield from ((getattr(self, name) > 0, name, "must be above 0") for name in names)

    def at_least_1(self, *names: str) -> Iterator[Rule]:
        """Give the rule of counts that must be 1 or more."""
        yield from ((getattr(self, name) >= 1, name, "must be at least 1") for name in names)

    def fractions(self, *names: str) -> Iterator[Rule]:
        """Give the rule of fields that must be from 0 to 1."""
        yield from ((0 <= getattr(self, name) <= 1, name, "must be between 0 and 1") for name in names)

    @classmethod
    def key(cls, name: str) -> str:
        """Return the key of a field, as `optim.lr`; of a field that has its section in its name, that name."""
        prefix = f"{cls.__name__.lower()}." if cls.prefix is None else cls.prefix
        return name if "." in name else prefix + name


def field_types(kind: type[Section]) -> dict[str, Any]:
    """Return the type of each field of a section, by its name."""
    return _field_types(cast("Any", kind))  # mypy takes a class for its instances' __hash__


@cache
def _field_types(kind: type[Section]) -> dict[str, Any]:
    return {name: hint for name, hint in get_type_hints(kind).items() if get_origin(hint) is not ClassVar}


def in_words(value: object, longest: int = 100) -> str:
    """Return a value as a sentence can have it: one line, not too long, true and false as in JSON."""
    try:
        text = str(value).lower() if isinstance(value, bool) else value if isinstance(value, str) else repr(value)
    except ValueError:  # of a number with thousands of digits
        text = f"a {type(value).__name__} without end"
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
    either = " or ".join(filter(None, (", ".join(known[:-1]), known[-1])))
    if words in known:  # of another type, as the text 1 for the number
        words = f"the text {words!r}" if isinstance(value, str) else f"a {type(value).__name__}"
    remedy = f"; did you mean {close[0]}?" if close else ""
    raise UsageError(f"{argument} must be {either}, not {words}{remedy}", argument=argument)


def check_whole(value: object, argument: str, *, least: int = 0) -> int:
    """Return a whole number from `least` on as an int: one of numpy's, or a float without a fraction, is one.

    Raises:
        UsageError: it is none; the sentence names the argument.
    """
    number: Any = value
    whole = isinstance(value, Integral) or (isinstance(value, Real) and float(value).is_integer())
    if isinstance(value, bool) or not whole or number < least:
        _refuse(argument, f"a whole number from {least} on", value)
    return int(number)


def check_number(value: object, argument: str) -> float:
    """Return a number as a float, be it one of numpy's; what range it must be in, NaN or not, the caller knows.

    Raises:
        UsageError: it is none; the sentence names the argument.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        _refuse(argument, "a number", value)
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


def _fills(choice: Any, value: Any) -> bool:
    """Whether a text is the name that a choice as `timm:NAME` leaves open."""
    start, colon, name = str(choice).partition(":")
    given = str(value).partition(":")
    return name == "NAME" and given[:2] == (start, colon) and bool(re.fullmatch(r"[\w.\-/:]+", given[2]))


def _fit(value: object, hint: Any, key: str) -> Any:
    """Return the value in the type of its field, as 1 for a float is 1.0.

    Raises:
        UsageError: it is of another type.
        TypeError: no field can have such a type; a union of Literals is written as one Literal of both.
    """
    if isinstance(hint, type) and issubclass(hint, Section):
        return value if isinstance(value, hint) else _refuse(key, f"a section made by {hint.__name__}", value)
    if get_origin(hint) is Literal:
        return check_choice(value, hint, key)
    if get_origin(hint) is tuple:
        return _fit_tuple(value, get_args(hint), key)
    if hint in (int, float):
        return _fit_number(value, hint, key)
    if hint not in (bool, str):
        raise TypeError(f"{key} is of the type {hint}: give it int, float, bool, str, a Literal, a tuple or a section")
    return value if isinstance(value, hint) else _refuse(key, "true or false" if hint is bool else "text", value)


def _fit_number(value: object, hint: type[int | float], key: str) -> int | float:
    number: Any = value  # numpy's numbers are Real ones, too
    whole = isinstance(value, Integral) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not isinstance(value, Real) or not (whole or hint is float):
        _refuse(key, "a whole number" if hint is int else "a number", value)
    if not abs(number) < LARGEST:  # nor is NaN
        _refuse(key, f"a finite number below {LARGEST:,}", value)
    return hint(number)


def _fit_tuple(value: object, hints: tuple[Any, ...], key: str) -> tuple[Any, ...]:
    several = hints[-1] is ...
    if not isinstance(value, list | tuple) or not (several or len(value) == len(hints)):
        _refuse(key, "a list of numbers" if several else f"a list of {len(hints)} numbers", value)
    return tuple(_fit(each, hints[0], key) for each in value)


def _refuse(key: str, wanted: str, value: object) -> NoReturn:
    words = in_words(value)
    digits = isinstance(value, str) and value.strip().lstrip("+-")[:1].isdecimal()  # else as if 3 were not a number
    raise UsageError(f"{key} must be {wanted}, not {f'the text {words!r}' if digits else words}", argument=key)
