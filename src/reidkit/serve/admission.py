"""Who may come in: refuse a request before its body is read, when it would have to wait too long."""

from __future__ import annotations

import math
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reidkit.serve.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEAST_RATE = 0.5
"""Images a second that are expected of the slowest machine: a rate of 0 would refuse everybody forever."""
MOST_BYTES = 2**29
"""Of all bodies at one time."""
MEMORY = 5.0
"""Seconds of work after which a measurement counts for 1/e of a new one."""
ENOUGH = 4
"""Images that have to be done before the measured rate is believed."""


class Place:
    """A place that a request holds, and the bytes of its body."""

    def __init__(self, admission: Admission) -> None:
        self.bytes = 0
        self._admission = admission

    def take(self, count: int) -> None:
        """Count bytes of the body as they arrive, or give them back.

        Raises:
            Problem: `overloaded`: all bodies together would take too much memory.
        """
        self._admission.count_bytes(count)
        self.bytes += count


class Admission:
    """Places for images, from before the body is read until the answer: as many as are done in `longest` seconds.

    The rate is measured over whole requests, from body to answer, while there are any: in a busy service much of it is
    HTTP and decoding, of which the network knows nothing. A body that arrives slowly takes a place, and no time. A
    request of 16 images takes 16 places. The first request of an idle service is always let in.

    Attributes:
        longest: Seconds that a request may have to wait.
        places: Places that are taken.
        bytes: Bytes of all bodies that are in memory.
    """

    def __init__(self, expected: Callable[[], float], longest: float = 2.0) -> None:
        """`expected` gives the images a second that are counted on before anything has been measured."""
        self.longest, self.places, self.bytes = longest, 0, 0
        self._expected = expected
        self._lock = threading.Lock()
        self._working = 0  # places whose bodies have been read
        self._busy, self._done, self._since = 0.0, 0.0, 0.0  # seconds and images, which fade; the last change
        self._ever = 0  # images that were done since the start

    @property
    def rate(self) -> float:
        """Images that are done in a second of work."""
        measured = self._done / self._busy if self._ever >= ENOUGH and self._busy else self._expected()
        return max(measured, LEAST_RATE)

    def wait(self, images: int = 1) -> float:
        """Return the seconds until `images` more would be done."""
        return (self.places + images) / self.rate

    @contextmanager
    def place(self, images: int = 1, *, more: bool = False) -> Iterator[Place]:
        """Hold places for images. With `more` they are for a request that has one already, and is at work.

        Raises:
            Problem: `overloaded`, with the seconds after which there will be room.
        """
        with self._lock:
            held_by_others = self.places - 1 if more else self.places
            if held_by_others and (wait := self.wait(images)) > self.longest:
                raise Problem(
                    "overloaded",
                    f"About {wait:.1f} s of work are waiting, and {self.longest:g} s are the limit.",
                    retry_after=math.ceil(wait - self.longest),
                )
            self.places += images
        place = Place(self)
        try:
            if more:
                with self.work(images):
                    yield place
            else:
                yield place
        finally:
            with self._lock:
                self.places -= images
                self.bytes -= place.bytes

    def count_bytes(self, count: int) -> None:
        """Count bytes of a body, or give them back: see `Place.take`."""
        with self._lock:
            if self.bytes + count > MOST_BYTES:
                raise Problem("overloaded", "The bodies of other requests fill the memory.", retry_after=1)
            self.bytes += count

    @contextmanager
    def work(self, images: int = 1) -> Iterator[None]:
        """Measure how long images take that have a place, from now on."""
        with self._lock:
            self._count_time()
            self._working += images
        finished = False
        try:
            yield
            finished = True
        finally:
            with self._lock:
                self._count_time()
                self._working -= images
                self._done += images if finished else 0
                self._ever += images if finished else 0

    def _count_time(self) -> None:
        """Count the time since the last change, if there was work; older measurements fade."""
        now = time.monotonic()
        if self._working:
            fade = math.exp(-(now - self._since) / MEMORY)
            self._busy = self._busy * fade + now - self._since
            self._done *= fade
        self._since = now
