"""Who may come in: refuse a request before its body is read, when it would have to wait too long."""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reidkit.serve.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEAST_RATE = 0.5
"""Images a second that are expected of the slowest machine: a rate of 0 would refuse everybody forever."""


class Admission:
    """Places for images, from before the body is read until the answer: as many as are done in `longest` seconds.

    A request of 16 images takes 16 places. The first request of an idle service is always let in.

    Attributes:
        longest: Seconds that a request may have to wait.
        places: Places that are taken.
    """

    def __init__(self, rate: Callable[[], float], longest: float = 2.0) -> None:
        """`rate` gives the images that are done a second."""
        self.longest, self.places = longest, 0
        self._rate = rate
        self._lock = threading.Lock()

    def wait(self, images: int = 1) -> float:
        """Return the seconds until `images` more would be done."""
        return (self.places + images) / max(self._rate(), LEAST_RATE)

    @contextmanager
    def place(self, images: int = 1, *, more: bool = False) -> Iterator[None]:
        """Hold places for images. With `more` they are for a request that has one already, and holds up nobody new.

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
        try:
            yield
        finally:
            with self._lock:
                self.places -= images
