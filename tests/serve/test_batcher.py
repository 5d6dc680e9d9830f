"""Batches by hand: a worker that is held up shows what is put together, dropped and run again."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import pytest

from reidkit.serve.batcher import Batcher, ClosedError, ExpiredError


class Gate:
    """Doubles numbers, a batch at a time, once the gate is open; refuses negative ones."""

    def __init__(self):
        self.open, self.entered, self.batches = threading.Event(), threading.Event(), []

    def __call__(self, values):
        self.entered.set()
        assert self.open.wait(60)
        self.batches.append(list(values))
        if any(value < 0 for value in values):
            raise ValueError("negative")
        return [2 * value for value in values]


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def batcher(gate):
    made = Batcher(gate, largest=3)
    yield made
    gate.open.set()
    made.close()


def held(batcher, gate):
    """Have the worker busy with one item."""
    (first,) = batcher.submit([1])
    assert gate.entered.wait(60)
    return first


def test_what_waits_while_a_batch_runs_is_the_next_one(batcher, gate):
    first = held(batcher, gate)
    later = [future for value in (2, 3, 4, 5) for future in batcher.submit([value])]
    assert len(batcher) == 4
    gate.open.set()
    assert [future.result(60) for future in (first, *later)] == [2, 4, 6, 8, 10]
    assert gate.batches == [[1], [2, 3, 4], [5]]
    assert batcher.rate > 0


def test_a_cancelled_item_never_reaches_the_model(batcher, gate):
    held(batcher, gate)
    (dropped,), (kept,) = batcher.submit([2]), batcher.submit([3])
    assert dropped.cancel()
    gate.open.set()
    assert kept.result(60) == 6
    assert gate.batches == [[1], [3]]
    with pytest.raises(CancelledError):
        dropped.result(0)


def test_an_expired_item_never_reaches_the_model(batcher, gate):
    held(batcher, gate)
    (late,), (kept,) = batcher.submit([2], timeout=-1), batcher.submit([3])
    gate.open.set()
    assert kept.result(60) == 6
    with pytest.raises(ExpiredError):
        late.result(60)
    assert gate.batches == [[1], [3]]


def test_one_bad_item_fails_alone(batcher, gate):
    held(batcher, gate)
    futures = batcher.submit([2, -1, 3])
    gate.open.set()
    assert (futures[0].result(60), futures[2].result(60)) == (4, 6)
    with pytest.raises(ValueError, match="negative"):
        futures[1].result(60)
    assert gate.batches == [[1], [2, -1, 3], [2], [-1], [3]]


def test_closing_runs_what_waits(batcher, gate):
    first = held(batcher, gate)
    (second,) = batcher.submit([2])
    gate.open.set()
    assert batcher.close(10)
    assert (first.result(0), second.result(0)) == (2, 4)
    with pytest.raises(ClosedError):
        batcher.submit([3])


def test_closing_in_time_tells_those_who_were_not_run(batcher, gate):
    held(batcher, gate)
    (second,) = batcher.submit([2])
    assert not batcher.close(0.01)
    with pytest.raises(ClosedError):
        second.result(0)


def test_each_batch_is_observed():
    seen = []
    batcher = Batcher(lambda values: values, observe=lambda *facts: seen.append(facts))
    for future in batcher.submit([1, 2]):
        future.result(60)
    batcher.close()
    ((size, seconds, waited),) = seen
    assert size == 2
    assert seconds >= 0
    assert waited >= 0


def test_what_fails_to_observe_a_batch_stops_no_later_one(caplog):
    def fail(*_):
        raise ZeroDivisionError

    batcher = Batcher(lambda values: values, observe=fail)
    for number in (1, 2):
        (future,) = batcher.submit([number])
        assert future.result(60) == number
    assert batcher.close()
    assert caplog.text.count("a batch could not be counted") == 2
