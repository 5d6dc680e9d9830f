"""Ctrl-C while a library works: it is not dropped, and no other error is made of it."""

from __future__ import annotations

import _thread
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

DELAY = 0.01
"""Seconds after which an interrupt that was dropped is sent again."""


@contextmanager
def dropped_interrupts_sent_again() -> Iterator[None]:
    """Send a Ctrl-C again that came while an object was cleared away, where Python drops every error.

    Each pool of threads is cleared away by callbacks of weak references: of a thousand interrupts of a loop over such
    pools Python drops one or two. Only the main thread is interrupted; in others this does nothing.
    """
    if not in_main_thread():
        yield
        return

    def send_again(unraisable: sys.UnraisableHookArgs) -> None:
        if unraisable.exc_type is KeyboardInterrupt:
            threading.Timer(DELAY, _thread.interrupt_main).start()
        else:
            before(unraisable)

    before, sys.unraisablehook = sys.unraisablehook, send_again
    try:
        yield
    finally:
        sys.unraisablehook = before


@contextmanager
def interrupts_heard() -> Iterator[None]:
    """Let a Ctrl-C in here end in KeyboardInterrupt: not dropped, nor as another error that a library made of it.

    As that of a ZIP file, "Can't close the ZIP file while there is an open writing handle on it".
    """
    handled = sys.exception()
    with dropped_interrupts_sent_again():
        try:
            yield
        except Exception as error:
            cause: BaseException | None = error
            while cause is not None and cause is not handled:
                if isinstance(cause, KeyboardInterrupt):
                    raise cause from None
                cause = cause.__context__
            raise


def in_main_thread() -> bool:
    """Whether this is the thread that Ctrl-C interrupts."""
    return threading.current_thread() is threading.main_thread()
