"""What is the whole process's is as it was when all threads have done, whichever of them began first."""

from __future__ import annotations

import re
import threading
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from reidkit.model import tensors, weights
from reidkit.plots import style
from reidkit.process_settings import restored, without_warnings

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

SOURCES = Path(__file__).parents[1] / "src"


def entered(context: AbstractContextManager[None]) -> ExitStack:
    stack = ExitStack()
    stack.enter_context(context)
    return stack


def test_the_last_to_go_puts_back_what_the_first_has_found() -> None:
    found = {"setting": "theirs"}

    def change(inside: str) -> ExitStack:
        stack = entered(restored("test", lambda: found["setting"], lambda before: found.update(setting=before)))
        found["setting"] = inside
        return stack

    first, second = change("first"), change("second")
    first.close()
    assert found == {"setting": "second"}
    second.close()
    assert found == {"setting": "theirs"}
    with pytest.raises(ZeroDivisionError), change("third"):
        raise ZeroDivisionError
    assert found == {"setting": "theirs"}


def test_warnings_are_heard_again_after_the_last() -> None:
    before = list(warnings.filters)
    first, second = entered(without_warnings("odd")), entered(without_warnings(category=UserWarning))
    warnings.warn("odd thing", RuntimeWarning, stacklevel=1)
    warnings.warn("any", UserWarning, stacklevel=1)
    with pytest.raises(RuntimeWarning, match="other"):  # as in all tests
        warnings.warn("other", RuntimeWarning, stacklevel=1)
    first.close()
    warnings.warn("any", UserWarning, stacklevel=1)
    second.close()
    assert list(warnings.filters) == before
    with pytest.raises(UserWarning, match="any"):
        warnings.warn("any", UserWarning, stacklevel=1)


def test_nothing_else_changes_the_filters() -> None:
    """`warnings.catch_warnings` in two threads leaves the filters of one of them for good."""
    there = [file.name for file in SOURCES.rglob("*.py") if re.search(r"warnings\.catch_", file.read_text("utf-8"))]
    assert there == ["process_settings.py"]


def test_weights_read_in_two_threads_leave_the_filters_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No warning was ever heard again in the process."""
    torch.save({"weight": torch.zeros(2)}, path := tmp_path / "weights.pth")
    before, load = list(warnings.filters), tensors._load
    inside, second_inside = threading.Event(), threading.Event()
    first = threading.Thread(target=weights.read, args=[path])
    second = threading.Thread(target=weights.read, args=[path])

    def loading(file: Any) -> Any:
        if threading.current_thread() is first:
            inside.set()
            assert second_inside.wait(60)
        else:
            second_inside.set()
            first.join(60)
        return load(file)

    monkeypatch.setattr(tensors, "_load", loading)
    first.start()
    assert inside.wait(60)
    second.start()
    second.join(60)
    assert list(warnings.filters) == before


def test_figures_saved_in_two_threads_leave_the_settings_as_they_were() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams.copy())
    inside, second_inside, leave = (threading.Event() for _ in range(3))

    class Figure:
        def __init__(self, here: threading.Event, until: threading.Event) -> None:
            self.here, self.until = here, until

        def savefig(self, *_: object, **__: object) -> None:
            self.here.set()
            assert self.until.wait(60)
            self.salt = mpl.rcParams["svg.hashsalt"]

    ended = threading.Event()
    one: Any = Figure(inside, leave)
    another: Any = Figure(second_inside, ended)
    first = threading.Thread(target=style._encode, args=[one, "svg", "one"])
    second = threading.Thread(target=style._encode, args=[another, "svg", "another"])
    first.start()
    assert inside.wait(60)
    second.start()
    second_inside.wait(0.3)  # which it is not, as long as the first one is at work
    leave.set()
    first.join()
    ended.set()
    second.join()
    assert dict(mpl.rcParams.copy()) == before
    assert (one.salt, another.salt) == ("one", "another")
