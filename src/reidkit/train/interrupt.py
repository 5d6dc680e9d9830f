"""Ctrl-C and SIGTERM end a run between two steps, with its state saved."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from reidkit.types import RunError

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from reidkit.train.checkpoint import Place

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppedError(RunError):
    """The run was stopped from outside and can go on. Its status is the one shells give a command ended by Ctrl-C."""

    status = 130


class Interrupt:
    """While entered, the first signal only sets `requested`; a second one ends the process as it always does."""

    def __init__(self, resume: str) -> None:
        self.requested = False
        self.resume = resume
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Interrupt:
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def stopped(self, place: Place) -> StoppedError:
        """The error to raise once the state is saved."""
        return StoppedError(f"stopped and saved at step {place.step} of epoch {place.epoch}; go on with: {self.resume}")

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
