"""Settings of the whole process that are changed for a while, and are as they were afterwards, from threads too.

Where each thread puts back what it has found, the last to end may put back what the first one has set. Here the first
to come notes what was set, and the last to go puts it back.
"""

from __future__ import annotations

import sys
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

T = TypeVar("T")

_LOCK = threading.Lock()
_HELD: dict[Hashable, tuple[int, Any]] = {}
"""By setting: how many are inside, and what was set before the first of them."""


@contextmanager
def restored(setting: Hashable, read: Callable[[], T], write: Callable[[T], object]) -> Iterator[None]:
    """Note what `read` gives, and `write` it back when the last that has entered this `setting`, a name, has left."""
    with _LOCK:
        inside, before = _HELD[setting] if setting in _HELD else (0, read())
        _HELD[setting] = inside + 1, before
    try:
        yield
    finally:
        with _LOCK:
            inside, before = _HELD.pop(setting)
            if inside > 1:
                _HELD[setting] = inside - 1, before
            else:
                write(before)


@contextmanager
def without_warnings(message: str = "", category: type[Warning] = Warning) -> Iterator[None]:
    """Ignore warnings of a category whose text begins with a regular expression; those of other threads, too."""
    if getattr(sys.flags, "context_aware_warnings", False):  # Python 3.14: filters are of a thread, where it is told so
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message, category)
            yield
        return
    with restored("warnings", _enter, lambda guard: guard.__exit__(None, None, None)):
        warnings.filterwarnings("ignore", message, category)
        yield


def _enter() -> warnings.catch_warnings[None]:
    guard = warnings.catch_warnings()
    guard.__enter__()
    return guard
