from __future__ import annotations

import pickle

import pytest

from reidkit import errors
from reidkit.errors import (
    DataError,
    DivergedError,
    MissingFileError,
    PeerError,
    ReidkitError,
    RunError,
    UsageError,
    WeightsError,
)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (UsageError, ValueError),
        (DataError, ValueError),
        (MissingFileError, ValueError),
        (MissingFileError, FileNotFoundError),
        (MissingFileError, OSError),
        (WeightsError, ValueError),
        (DivergedError, ValueError),
        (RunError, RuntimeError),
        (PeerError, RuntimeError),
    ],
)
def test_each_is_caught_as_the_builtin_one_that_a_caller_knows(
    error: type[ReidkitError], builtin: type[Exception]
) -> None:
    with pytest.raises(builtin, match="a sentence"):
        raise error("a sentence")


@pytest.mark.parametrize("name", [name for name in dir(errors) if name.endswith("Error")])
def test_each_says_its_sentence_alone_and_survives_another_process(name: str) -> None:
    error = getattr(errors, name)("no query has a true match: pass cameras='any'", argument="cameras")
    assert str(error) == "no query has a true match: pass cameras='any'"
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
    assert type(again) is type(error)
    assert (str(again), again.argument, again.status) == (str(error), "cameras", error.status)


def test_without_an_argument_there_is_none() -> None:
    assert DataError("x.jpg is empty").argument == ""
    assert str(DataError()) == ""


def test_names_of_files_cannot_write_to_the_terminal() -> None:
    assert str(DataError("\x1b[31mred.jpg is empty")) == "\\x1b[31mred.jpg is empty"
    assert str(MissingFileError("a\nb is not there")) == "a\\nb is not there"
