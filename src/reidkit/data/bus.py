"""What to say when a mapped file is cut short by somebody else: the system then ends the process by SIGBUS.

No lock keeps another program from that on Linux, and a look at the file's size before each batch may come too early.
Reading the images instead of mapping them would notice, and costs a copy of each. So the signal itself is answered,
which costs nothing until it comes.
"""

from __future__ import annotations

import ctypes
import faulthandler
import signal
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_STDERR = 2
_KEPT: list[Any] = []
"""What the handler uses, which must not be freed."""


@cache
def explain_bus_errors(folder: Path) -> bool:
    """End this process, should a file mapped from `folder` lose its pages, in a sentence and with status 1.

    Python's own handlers cannot do it: they run when the instruction that failed is over, which it never is. This one
    is compiled, and calls nothing but what POSIX allows in a handler.

    Returns:
        Whether the signal is answered: not where there is none, or where somebody else does.
    """
    number = getattr(signal, "SIGBUS", None)
    if number is None or signal.getsignal(number) != signal.SIG_DFL or faulthandler.is_enabled():
        return False
    library = ctypes.CDLL(None)
    line = (
        f"reidkit: the image cache in {folder} can no longer be read (it was cut short while in use, or its disk has "
        "failed): run again, a training with resume=True (--resume), or do without a cache (--no-cache)\n"
    ).encode(errors="backslashreplace")
    text = ctypes.create_string_buffer(line, len(line))
    handler = _compiled(library, ctypes.addressof(text), len(line))
    _KEPT.extend((text, handler))
    library.signal.argtypes, library.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    library.signal(int(number), handler.address)
    return True


def _compiled(library: Any, text: int, length: int) -> Any:
    """A function of C's kind that writes `length` bytes at `text` to stderr and ends the process."""
    from numba import cfunc, types

    write, leave = library.write, library._exit
    write.argtypes, write.restype = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t), ctypes.c_ssize_t
    leave.argtypes, leave.restype = (ctypes.c_int,), None

    @cfunc(types.void(types.int32))
    def handler(number: int) -> None:  # noqa: ARG001
        write(_STDERR, text, length)
        leave(1)

    return handler
