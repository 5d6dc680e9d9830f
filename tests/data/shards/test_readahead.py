from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from reidkit.data.shards.reader import ReadAhead
from reidkit.errors import DataError


class Store:
    """Groups of 10 bytes that remember who read them."""

    def __init__(self) -> None:
        self.read: list[int] = []
        self.broken: set[int] = set()

    def __call__(self, group: int) -> list[bytes]:
        self.read.append(group)
        if group in self.broken:
            raise DataError(f"group {group} is broken")
        return [bytes([group])] * 10


def settle(store: Store, count: int) -> None:
    end = time.monotonic() + 60
    while len(store.read) < count:
        assert time.monotonic() < end
        time.sleep(0.001)
    time.sleep(0.02)


def test_groups_are_read_once_in_the_order_of_their_use_and_not_all_at_a_time() -> None:
    store = Store()
    ahead = ReadAhead(store, np.full(8, 10), limit=30)
    ahead.expect(np.repeat([5, 2, 7, 0, 1], 10))
    settle(store, 3)
    assert sorted(store.read) == [2, 5, 7], "as many as there is room for"
    assert ahead.take(5, 4) == [b"\x05"] * 10
    settle(store, 3)
    assert len(store.read) == 3, "six images of group 5 are still to come"
    ahead.take(5, 6)
    settle(store, 4)
    assert store.read[3] == 0
    for group in (2, 7, 0, 1):
        assert ahead.take(group, 10)[0] == bytes([group])
    assert sorted(store.read) == [0, 1, 2, 5, 7]


def test_what_was_not_said_is_read_all_the_same() -> None:
    store = Store()
    ahead = ReadAhead(store, np.full(8, 10), limit=30)
    assert [ahead.take(group, 1)[0] for group in (3, 3, 4)] == [b"\x03", b"\x03", b"\x04"]


def test_fewer_images_than_were_said_do_not_fill_the_memory() -> None:
    """As where several processes share each batch."""
    store = Store()
    ahead = ReadAhead(store, np.full(50, 10), limit=40)
    ahead.expect(np.repeat(np.arange(50), 10))
    for group in range(50):
        assert ahead.take(group, 3)[0] == bytes([group])
        assert len(ahead._held) <= 4


def test_another_epoch_forgets_what_was_expected_and_keeps_what_it_needs() -> None:
    store = Store()
    ahead = ReadAhead(store, np.full(8, 10), limit=30)
    ahead.expect(np.array([1, 2, 3]))
    settle(store, 3)
    ahead.expect(np.array([3, 4]))
    settle(store, 4)
    assert sorted(store.read) == [1, 2, 3, 4]
    assert ahead.take(3, 1)[0] == b"\x03"


def test_a_group_that_cannot_be_read_is_said_in_its_turn_and_may_recover() -> None:
    store = Store()
    store.broken = {2}
    ahead = ReadAhead(store, np.full(8, 10), limit=30)
    ahead.expect(np.array([1, 2, 2, 3]))
    assert ahead.take(1, 1)
    with pytest.raises(DataError, match="group 2 is broken"):
        ahead.take(2, 1)
    store.broken = set()
    assert ahead.take(2, 1)[0] == b"\x02"


def test_groups_are_read_beside_each_other() -> None:
    together = threading.Barrier(2, timeout=60)

    def read(group: int) -> list[bytes]:
        together.wait()
        return [bytes([group])]

    ahead = ReadAhead(read, np.full(2, 10), limit=30)
    ahead.expect(np.array([0, 1]))
    assert ahead.take(0, 1) == [b"\x00"]
