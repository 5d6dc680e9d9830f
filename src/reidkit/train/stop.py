"""Where a run can end before its time, so that it can go on from there: between two steps."""

from __future__ import annotations

import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from reidkit.errors import DataError, PeerError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType

    from reidkit.errors import ReidkitError
    from reidkit.train.checkpoint import Progress
    from reidkit.train.loop import Loop


# Ctrl-C, SIGTERM and a closed terminal end a run between two steps, with its state saved.

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

    def stopped(self, place: Progress) -> StoppedError:
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


T = TypeVar("T")


def until_stopped(batches: Iterator[T], run: Loop, stop: Callable[[DataError | None], ReidkitError]) -> Iterator[T]:
    """The batches of an epoch, until somebody asks the run to stop, or an image cannot be read.

    Each process of a group hears of the others' trouble before it begins a step that these would not take part in.

    Raises:
        ReidkitError: what `stop` gives, of the trouble with an image or of None.
    """
    more = True
    while more:
        requested = run.interrupt.requested  # what comes while this waits for data is seen after the step
        batch, trouble = None, None
        try:
            batch = next(batches, None)
        except DataError as error:
            trouble = error
        if run.group.any(requested or trouble is not None):
            raise stop(trouble) from None
        if batch is not None:
            yield batch
        more = batch is not None


@contextmanager
def or_stop(run: Loop, stop: Callable[[DataError | None], ReidkitError]) -> Iterator[None]:
    """Work at the end of an epoch for which images are read. In a group the others wait for it and can save nothing."""
    try:
        yield
    except DataError as error:
        raise (stop(error) if run.group.size == 1 else error) from None


def stopped(run: Loop, save: Callable[[Progress], None], place: Progress, trouble: DataError | None) -> ReidkitError:
    """Save the state at `place`, and say why the run ends and how it goes on.

    Of several processes the one with the trouble tells of it. Where the state cannot be saved on top of that, both are
    said: the last checkpoint stays.

    Raises:
        RunError: a stop was asked for, and the state cannot be saved.
    """
    if not run.group.any(trouble is not None):
        save(place)
        return run.interrupt.stopped(place)
    kept = f"saved at step {place.step} of epoch {place.epoch}, go on with: {run.interrupt.resume}"
    try:
        save(place)
    except RunError as error:
        kept = f"nor could the run be saved: {error}"
    if trouble is None:
        return PeerError(f"another process of this run cannot read an image; {kept}")
    return DataError(f"{trouble}; {kept}")
