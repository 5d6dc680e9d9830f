"""Work that is done in batches: a batch is what has come in while the last one ran, so nobody waits for a timer."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")

LOG = logging.getLogger("reidkit.serve")

SHARE = 0.2
"""What one batch counts for in the moving average of the rate."""


class ExpiredError(Exception):
    """An item waited until its deadline, and was not run."""


class ClosedError(Exception):
    """The batcher has been closed."""


class _Item(NamedTuple, Generic[T, R]):
    value: T
    future: Future[R]
    deadline: float
    since: float


class Batcher(Generic[T, R]):
    """One thread that runs items in batches.

    Items whose future has been cancelled, or whose deadline has passed, are dropped before the batch is run. When a
    batch raises, its items are run again one by one, so that one bad item fails alone.

    Attributes:
        rate: Items a second while there is work, a moving average; the time between batches counts.
        largest: How many items a batch has at most.
    """

    def __init__(
        self,
        run: Callable[[list[T]], Sequence[R]],
        *,
        largest: int = 32,
        name: str = "reidkit-batches",
        observe: Callable[[int, float, float], None] | None = None,
    ) -> None:
        """Start the thread.

        Args:
            run: Takes a list of values, gives the result of each in their order.
            largest: How many values it is given at most.
            name: Of the thread.
            observe: Called after each batch with its size, its seconds and the longest wait of an item in it.
        """
        self.largest, self.rate = largest, 0.0
        self._run, self._observe = run, observe
        self._waiting: deque[_Item[T, R]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._ended = time.monotonic()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._waiting)

    def submit(self, values: Sequence[T], *, timeout: float = 1e9) -> list[Future[R]]:
        """Put values into the queue; each gets a future. `timeout` is in seconds from now.

        Raises:
            ClosedError: the batcher has been closed.
        """
        now = time.monotonic()
        items: list[_Item[T, R]] = [_Item(value, Future(), now + timeout, now) for value in values]
        with self._changed:
            if self._closed:
                raise ClosedError
            self._waiting.extend(items)
            self._changed.notify()
        return [item.future for item in items]

    def close(self, timeout: float = 10.0) -> bool:
        """Take nothing new, run what waits for at most `timeout` seconds; whether all of it was run."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)
        with self._changed:
            left, self._waiting = list(self._waiting), deque()
        for item in left:
            if item.future.set_running_or_notify_cancel():
                item.future.set_exception(ClosedError())
        return not left and not self._thread.is_alive()

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            if batch:
                self._finish(batch)

    def _next(self) -> list[_Item[T, R]] | None:
        """Return what waits, without what nobody wants any more; None after the end."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if not self._waiting:
                return None
            taken: list[_Item[T, R]] = []
            now = time.monotonic()
            while self._waiting and len(taken) < self.largest:
                item = self._waiting.popleft()
                if not item.future.set_running_or_notify_cancel():
                    continue
                if item.deadline < now:
                    item.future.set_exception(ExpiredError())
                    continue
                taken.append(item)
            return taken

    def _finish(self, batch: list[_Item[T, R]]) -> None:
        started = time.monotonic()
        try:
            for item, result in list(zip(batch, self._run([item.value for item in batch]), strict=True)):
                item.future.set_result(result)
        except Exception:
            for item in batch:
                self._alone(item)
        now = time.monotonic()
        # From the end of the last batch, or since there was work again: what else the machine does counts, too.
        spent = max(now - max(self._ended, batch[0].since), 1e-6)
        self._ended = now
        rate = len(batch) / spent
        self.rate = rate if not self.rate else (1 - SHARE) * self.rate + SHARE * rate
        if self._observe:
            try:
                self._observe(len(batch), now - started, started - min(item.since for item in batch))
            except Exception:  # without the thread, whoever waits would wait for ever
                LOG.exception("a batch could not be counted")

    def _alone(self, item: _Item[T, R]) -> None:
        try:
            (result,) = self._run([item.value])
        except Exception as error:  # which is the item's own now
            item.future.set_exception(error)
        else:
            item.future.set_result(result)
