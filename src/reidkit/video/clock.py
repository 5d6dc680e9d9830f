"""The seconds of a file's frames: those that the file gives as far as they can be, and rising whatever it gives."""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

from reidkit.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Decoded = TypeVar("Decoded")

FALLBACK_RATE = 25.0
"""Frames a second, where frames have no times and the file no rate."""

JUMP = 1.0
"""Seconds by which times may go back or ahead from one frame to the next before it is asked whether they are right."""

HELD = 8
"""Frames that have to follow a jump before it counts as one."""

GAP = 10.0
"""A jump ahead by so many seconds is worth to know."""


class Clock:
    """The second of each frame from the first one on.

    Frames without a time, or with one a little before that of the last one, follow a step on. Single frames whose times
    are far from those around them are put between these. Where times go back and stay there, as of two recordings in
    one file, they go on from the last one. Where they jump ahead and stay there, that is what they are.

    Attributes:
        last: The second of the last frame.
        moved: How many frames have another second than the file gives.
    """

    def __init__(self, rate: float) -> None:
        self._steps: deque[float] = deque(maxlen=9)
        self._usual = 1 / (rate or FALLBACK_RATE)
        self._first: float | None = None
        self.last, self.moved = -self._usual, 0
        self._stepped = self._alone = self._begun = self._gaps = 0
        self._begun_at, self._longest = 0.0, (0.0, 0.0)

    def timed(self, frames: Iterable[Decoded]) -> Iterator[tuple[Decoded, float]]:
        """Yield the frames of PyAV with their seconds; those behind a jump when it is known what it is."""
        held: list[Decoded] = []
        for frame in frames:
            if held and self._follows(frame, self.last, len(held)) and not self._follows(frame, self._told(held[-1])):
                yield from self._between(held, self._told(frame))
                held = []
            held.append(frame)
            if self._follows(held[0], self.last) or len(held) > HELD:
                yield from ((each, self.second(each)) for each in held)
                held = []
        yield from ((each, self.second(each)) for each in held)

    def second(self, decoded: Any) -> float:
        """Return the second of the next frame, whose time is not wrong by itself."""
        if decoded.time is None:
            return self._stepped_on()
        if self._first is None:
            self._first = float(decoded.time) - max(self.last + self._usual, 0.0)
        second = self._told(decoded)
        if second <= self.last - JUMP:
            self._begun, self._begun_at = self._begun + 1, self._begun_at or self.last
            self._first += second - (self.last + self._step)
            second = self.last + self._step
        elif second <= self.last:
            return self._stepped_on()
        elif self.last >= 0:
            self._note_step(second)
        return self._put(second, moved=self._begun > 0)

    def notes(self) -> list[str]:
        """Return a sentence for each thing that was odd."""
        found = []
        if self._stepped:
            frames = counted(self._stepped, "frame")
            found.append(
                f"{frames} without a time, or with an earlier one: each was put {self._step:.3g} s after the last"
            )
        if self._alone:
            found.append(f"{counted(self._alone, 'frame')} with times far from the others: put between those around")
        if self._begun:
            found.append(
                f"its times begin again {counted(self._begun, 'time')}, first behind second {self._begun_at:.1f}: what "
                "follows was put right behind it, so that clock times are too early by what was not recorded"
            )
        if self._gaps:
            first, last = self._longest
            found.append(
                f"its times jump ahead {counted(self._gaps, 'time')}, by most from second {first:.1f} to {last:.1f}: "
                "see whether the recording was paused, as clock times are wrong if it was not"
            )
        return found

    @property
    def trusted(self) -> bool:
        """Whether the length that a file says it has can be right, by the times of its frames."""
        return not self._alone

    @property
    def _step(self) -> float:
        """The usual seconds from one frame to the next, of late."""
        return median(self._steps) if self._steps else self._usual

    def _note_step(self, second: float) -> None:
        if second - self.last > GAP and second - self.last > 3 * self._step:
            self._gaps += 1
            self._longest = max(self._longest, (self.last, second), key=lambda gap: gap[1] - gap[0])
        else:
            self._steps.append(second - self.last)

    def _told(self, frame: Any) -> float:
        """Return the second that a frame's own time gives; that of the last one where it has none."""
        return self.last if frame.time is None else float(frame.time) - (self._first or 0.0)

    def _follows(self, frame: Any, second: float, between: int = 0) -> bool:
        """Return whether a frame may come soon after a second, with so many frames between them."""
        if self._first is None or frame.time is None:
            return True
        return -JUMP < self._told(frame) - second <= max(JUMP, (3 + between) * self._step)

    def _between(self, held: list[Decoded], until: float) -> Iterator[tuple[Decoded, float]]:
        """Yield frames whose times are wrong with seconds between the last one and another."""
        step = (until - self.last) / (len(held) + 1) if until > self.last else self._step
        self._alone += len(held)
        for frame in held:
            yield frame, self._put(self.last + step, moved=True)

    def _stepped_on(self) -> float:
        self._stepped += 1
        return self._put(self.last + self._step, moved=True)

    def _put(self, second: float, *, moved: bool) -> float:
        self.last, self.moved = second, self.moved + moved
        return second
