"""Groups of images read in the order of their use, ahead of it, in bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

THREADS = 4
"""Groups that are read at the same time: at a URL most of the time goes by waiting for an answer."""


class ReadAhead:
    """What `read` gives for each group; as many groups as `limit` bytes hold, and the one that is asked for."""

    def __init__(self, read: Callable[[int], list[bytes]], sizes: NDArray[np.int64], limit: int) -> None:
        """`sizes` [G] are the bytes of each group."""
        self._read, self._sizes, self._limit = read, sizes.tolist(), limit
        self._lock = threading.Lock()
        self._held: dict[int, Future[list[bytes]]] = {}
        self._bytes = 0
        self._left: dict[int, int] = {}
        self._coming: deque[int] = deque()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="reidkit-shards")

    def expect(self, groups: NDArray[np.int64]) -> None:
        """Forget what was expected before: from now on come images of these groups [N], in this order."""
        found, first, counts = np.unique(groups, return_index=True, return_counts=True)
        order = found[np.argsort(first)].tolist()
        with self._lock:
            self._left = dict(zip(found.tolist(), counts.tolist(), strict=True))
            for group in [group for group in self._held if group not in self._left]:
                self._drop(group)
            self._coming = deque(group for group in order if group not in self._held)
            self._fill()

    def take(self, group: int, images: int) -> list[bytes]:
        """The files of a group, of which so many images are used now; when all that were expected are, it is let go.

        Raises:
            DataError: it cannot be read.
        """
        with self._lock:
            if group not in self._held:
                self._make_room(self._sizes[group])
                self._hold(group)
            future = self._held[group]
        try:
            return future.result()
        finally:
            with self._lock:
                left = self._left.get(group, 1) - images
                self._left[group] = left
                if group in self._held and (left <= 0 or future.exception()):
                    self._drop(group)
                self._fill()

    def _fill(self) -> None:
        while self._coming:
            group = self._coming[0]
            if group not in self._held:
                if self._bytes + self._sizes[group] > self._limit:
                    return
                self._hold(group)
            self._coming.popleft()

    def _make_room(self, size: int) -> None:
        """Let go of what was read first: somebody uses fewer images than was said, or others."""
        while self._held and self._bytes + size > self._limit:
            self._drop(next(iter(self._held)))

    def _hold(self, group: int) -> None:
        self._held[group] = self._pool.submit(self._read, group)
        self._bytes += self._sizes[group]

    def _drop(self, group: int) -> None:
        self._held.pop(group).cancel()
        self._bytes -= self._sizes[group]
