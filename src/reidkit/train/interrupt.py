"""Ctrl-C, SIGTERM and a closed terminal end a run between two steps, with its state saved."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from reidkit.types import RunError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

    from reidkit.train.checkpoint import Place

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(RunError):
    """The run was stopped from outside and can go on.

    The status is the one that shells give a command ended by the signal: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, sentence: str, number: int = signal.SIGINT) -> None:
        super().__init__(sentence)
        self.status = 128 + number


class Interrupt:
    """While entered, the first signal only sets `requested`; a second one ends the process as it always does.

    `say` is told at once that the signal was heard, as the step may take a while.
    A signal that the process ignores stays ignored: that is what `nohup` is for.
    """

    def __init__(self, resume: str, say: Callable[[str], None] | None = None) -> None:
        self.requested = False
        self.resume = resume
        self._say = say
        self._number: int = signal.SIGINT
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Interrupt:
        heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._note) or signal.SIG_DFL for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def stopped(self, place: Place) -> StoppedError:
        """The error to raise once the state is saved."""
        sentence = f"stopped and saved at step {place.step} of epoch {place.epoch}; go on with: {self.resume}"
        return StoppedError(sentence, self._number)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.requested, self._number = True, number
        self._restore()
        if self._say:
            with suppress(RuntimeError):  # a line that the signal has broken into cannot take in another one
                self._say("stopping after this step; again to quit now")

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
