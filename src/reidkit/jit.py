"""Loops that are compiled at their first call, and kept on disk wherever that is possible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import numba

from reidkit.fallback import remark, temporary_folder

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


def njit(**options: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`numba.njit` with these options, free of the interpreter's lock, with a cache.

    The cache lies where numba puts it; in a temporary folder where neither the installation nor the user's home can be
    written; and nowhere where that is not possible either.
    """

    def compiled(function: Callable[P, R]) -> Callable[P, R]:
        try:
            loop = numba.njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:
            loop = numba.njit(cache=_other_place(), nogil=True, **options)(function)
        return cast("Callable[P, R]", loop)

    return compiled


def _other_place() -> bool:
    """Have numba keep what it compiles in a temporary folder; whether there is one."""
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
