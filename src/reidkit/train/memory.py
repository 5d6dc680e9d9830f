"""Keeping large freed blocks in the process, where glibc would hand them back to the system after every step."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell the allocator to keep what is freed; whether it could be told (it is glibc's or not).

    The activations of a step are blocks of megabytes. By default each is mapped, zeroed page by page by the kernel,
    and unmapped again, in every step. The effect is that of MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_MAX_, without
    the need to set them before the process starts.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _NEVER))
