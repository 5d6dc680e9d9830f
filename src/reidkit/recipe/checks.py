"""The check of a section when it is made: types of its fields first, then its rules."""

from __future__ import annotations

from functools import cache
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast, get_args, get_origin, get_type_hints

from reidkit.arguments import check_choice, refuse
from reidkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def _fit(value: object, hint: Any, key: str) -> Any:
    """Return the value in the type of its field, as 1 for a float is 1.0.

    Raises:
        UsageError: it is of another type.
        TypeError: no field can have such a type; a union of Literals is written as one Literal of both.
    """
    if isinstance(hint, type) and issubclass(hint, Section):
        return value if isinstance(value, hint) else refuse(key, f"a section made by {hint.__name__}", value)
    if get_origin(hint) is Literal:
        return check_choice(value, hint, key)
    if get_origin(hint) is tuple:
        return _fit_tuple(value, get_args(hint), key)
    if hint in (int, float):
        return _fit_number(value, hint, key)
    if hint not in (bool, str):
        raise TypeError(f"{key} is of the type {hint}: give it int, float, bool, str, a Literal, a tuple or a section")
    return value if isinstance(value, hint) else refuse(key, "true or false" if hint is bool else "text", value)


def _fit_number(value: object, hint: type[int | float], key: str) -> int | float:
    number: Any = value  # numpy's numbers are Real ones, too
    whole = isinstance(value, Integral) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not isinstance(value, Real) or not (whole or hint is float):
        refuse(key, "a whole number" if hint is int else "a number", value)
    if not abs(number) < LARGEST:  # nor is NaN
        refuse(key, f"a finite number below {LARGEST:,}", value)
    return hint(number)


def _fit_tuple(value: object, hints: tuple[Any, ...], key: str) -> tuple[Any, ...]:
    several = hints[-1] is ...
    if not isinstance(value, list | tuple) or not (several or len(value) == len(hints)):
        refuse(key, "a list of numbers" if several else f"a list of {len(hints)} numbers", value)
    return tuple(_fit(each, hints[0], key) for each in value)
