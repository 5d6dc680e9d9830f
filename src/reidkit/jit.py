"""Loops that are compiled at their first call, and the temporary folder for what can be made again."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from functools import cache, cached_property, update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from reidkit.terminal import harmless

if TYPE_CHECKING:
    from collections.abc import Callable


@cache
def temporary_folder() -> Path:
    """Return a folder for temporary files of this user alone, the same one each time where that is safe.

    What lies in it is run (compiled loops) or trusted (decoded images), so nobody else may be able to write there: a
    folder of that name which is another user's, a link or open to others is left alone, and a new one made.

    Raises:
        OSError: there is no place for temporary files.
    """
    user = os.getuid() if hasattr(os, "getuid") else -1
    folder = Path(tempfile.gettempdir()) / (f"reidkit-{user}" if user >= 0 else "reidkit")
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        others = stat.S_IWGRP | stat.S_IWOTH
        mine = stat.S_ISDIR(found.st_mode) and (user < 0 or (found.st_uid == user and not found.st_mode & others))
        if not mine or not os.access(folder, os.W_OK | os.X_OK):
            return Path(tempfile.mkdtemp(prefix="reidkit-"))
    return folder


@cache
def remark(line: str) -> None:
    """Log a warning, once in this process."""
    logging.getLogger("reidkit").warning("%s", harmless(line))


_on_compiling: list[Callable[[], object]] = []


def tell_of_compiling(tell: Callable[[], object]) -> None:
    """Have `tell` called once, before this process compiles its first loop: that takes seconds, and is kept."""
    _on_compiling.append(tell)


@cache
def _listen() -> None:
    """Tell who wants to know when numba compiles, and not when it reads what was compiled before."""
    from numba.core import event

    class Listener(event.Listener):
        def on_start(self, _: object) -> None:
            while _on_compiling:
                _on_compiling.pop()()

        def on_end(self, _: object) -> None:
            pass

    event.register("numba:compile", Listener())


P = ParamSpec("P")
R = TypeVar("R")


class _Loop(Generic[P, R]):
    """A function that numba compiles when it is first called, or when another loop that calls it is compiled.

    numba takes a third of a second to load, and most commands import modules with loops that they never call.
    """

    def __init__(self, function: Callable[P, R], options: dict[str, Any]) -> None:
        update_wrapper(self, function)
        self._function, self._options = function, options

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return cast("R", self._dispatcher(*args, **kwargs))

    @cached_property
    def _dispatcher(self) -> Any:
        import numba

        _listen()
        try:
            return numba.njit(cache=True, nogil=True, **self._options)(self._function)
        except RuntimeError:
            return numba.njit(cache=_other_place(), nogil=True, **self._options)(self._function)

    @property
    def _numba_type_(self) -> Any:
        """What numba takes this for in a loop that calls it: the compiled function."""
        return self._dispatcher._numba_type_


def njit(**options: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`numba.njit` with these options, free of the interpreter's lock, with a cache; numba is loaded at the first call.

    The cache lies where numba puts it; in a temporary folder where neither the installation nor the user's home can be
    written; and nowhere where that is not possible either.
    """

    def compiled(function: Callable[P, R]) -> Callable[P, R]:
        return _Loop(function, options)

    return compiled


def _other_place() -> bool:
    """Have numba keep what it compiles in a temporary folder; whether there is one."""
    import numba

    try:
        folder = temporary_folder() / "numba"
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return False
    vars(numba.config)["CACHE_DIR"] = str(folder)
    remark(f"compiled loops are kept in {folder}: neither the installation nor the home folder can be written")
    return True


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a loop over numbers; divisions by zero give infinities, as in NumPy.

    Sums may be taken in any order, but in the same one at every call: equal rows give equal bits.
    """
    return njit(error_model="numpy", fastmath={"reassoc", "contract"})(function)
