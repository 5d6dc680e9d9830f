"""Tests of how a request is read: where its errors are."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from reidkit.serve.messages import validated
from reidkit.serve.problems import Problem


class Asked(BaseModel):
    """A request with each kind of place."""

    radius: float | str = 0.0
    rows: list[dict[str, int | list[int]]] = []
    pair: tuple[int, int] = (0, 0)


@pytest.mark.parametrize(
    ("value", "pointers"),
    [
        ({"rows": [{"a": 1}, {"b": [1, "x"]}]}, ["/rows/1/b/1"]),
        ({"rows": [{"b": [0.5]}, {"b": None}]}, ["/rows/0/b/0", "/rows/1/b"]),
        ({"radius": [], "rows": 3}, ["/radius", "/rows"]),
        ({"pair": [1]}, ["/pair/1"]),
        ({"pair": "12"}, ["/pair"]),
        (3, ["/"]),
    ],
)
def test_an_error_is_where_the_value_is(value: object, pointers: list[str]) -> None:
    """Pydantic names types between the parts of a place, and places that a list is too short for."""
    with pytest.raises(Problem) as refused:
        validated(Asked, value)
    assert [each["pointer"] for each in refused.value.extensions["errors"]] == pointers
