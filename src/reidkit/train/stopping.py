"""Where a run can end before its time, so that it can go on from there: between two steps."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from reidkit.types import DataError, PeerError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reidkit.train.checkpoint import Place
    from reidkit.train.loop import Loop
    from reidkit.types import ReidkitError

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


def stopped(run: Loop, save: Callable[[Place], None], place: Place, trouble: DataError | None) -> ReidkitError:
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
