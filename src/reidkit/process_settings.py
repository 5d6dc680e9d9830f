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

TRAINING = "training"
"""The settings of a run, which are entered as long as it goes on."""

_LOCK = threading.Lock()
_HELD: dict[Hashable, tuple[list[int], Any]] = {}
"""By setting: the threads of those inside, and what was set before the first of them."""


@contextmanager
def restored(setting: Hashable, read: Callable[[], T], write: Callable[[T], object]) -> Iterator[None]:
    """Note what `read` gives, and `write` it back when the last that has entered this `setting`, a name, has left."""
    me = threading.get_ident()
    with _LOCK:
        if setting not in _HELD:
            _HELD[setting] = [], read()
        _HELD[setting][0].append(me)
    try:
        yield
    finally:
        with _LOCK:
            threads, before = _HELD[setting]
            threads.remove(me)
            if not threads:
                del _HELD[setting]
                write(before)


def is_entered_elsewhere(setting: Hashable) -> bool:
    """Whether another thread than this one has entered a setting."""
    with _LOCK:
        threads, _ = _HELD.get(setting, ([], None))
        return any(thread != threading.get_ident() for thread in threads)


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
