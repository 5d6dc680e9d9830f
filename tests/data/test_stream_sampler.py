"""The order of an epoch whose images come a group at a time."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reidkit.data.sampler import pk_batches
from reidkit.data.stream_sampler import cut_windows, scattered_share, windowed_batches
from reidkit.errors import DataError
from reidkit.recipe import Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Groups = tuple[NDArray[np.int64], NDArray[np.int64]]

PIDS = np.repeat(np.arange(40), 6)
GROUPS = (np.arange(240) // 24, np.full(10, 24))
"""Forty people of six images, four people in a group of 24 bytes."""
BATCH = Batch(ids=4, images=2)


def test_one_window_is_the_order_of_images_read_one_by_one() -> None:
    for epoch in (1, 2):
        ours = windowed_batches(PIDS, GROUPS, BATCH, 3, epoch, window=1000)
        assert np.array_equal(ours, pk_batches(PIDS, BATCH, 3, epoch))


def test_by_hand() -> None:
    """240 bytes in windows of 100 make three of 80: of 4, 3 and 3 groups, or 96, 72 and 72 images."""
    of = cut_windows(GROUPS[1], 0, 1, 100)
    assert sorted(np.bincount(of).tolist()) == [3, 3, 4]
    order = windowed_batches(PIDS, GROUPS, BATCH, 0, 1, window=100)
    windows = of[GROUPS[0][order]]
    assert (windows == windows[:, :1]).all(), "a batch lies in one window"
    assert (np.diff(windows[:, 0]) >= 0).all(), "and one window follows the other"
    assert len(np.unique(order)) > 200, "nearly everybody is seen"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**63 - 1), st.integers(1, 300), st.integers(30, 400), st.data())
def test_every_batch_is_of_p_people_with_k_images(seed: int, epoch: int, window: int, data: st.DataObject) -> None:
    group_of = np.array(data.draw(st.lists(st.integers(0, 4), min_size=240, max_size=240)))
    groups = (group_of, np.bincount(group_of))
    of = cut_windows(groups[1], seed, epoch, window)[group_of]
    assume(all(len(np.unique(PIDS[of == n])) >= 4 for n in range(of.max() + 1)))
    order = windowed_batches(PIDS, groups, BATCH, seed, epoch, window=window)
    people = PIDS[order].reshape(-1, 4, 2)
    assert (people == people[:, :, :1]).all()
    assert (np.diff(np.sort(people[:, :, 0], axis=1)) > 0).all()
    assert np.array_equal(order, windowed_batches(PIDS, groups, BATCH, seed, epoch, window=window))


def test_no_image_comes_twice_where_people_have_enough_in_one_group() -> None:
    order = windowed_batches(PIDS, GROUPS, BATCH, 0, 5, window=60)
    assert len(np.unique(order)) == order.size


def test_the_order_of_another_process_is_the_same() -> None:
    code = (
        "import numpy as np; from reidkit.recipe import Batch;"
        "from reidkit.data.stream_sampler import windowed_batches;"
        "print(windowed_batches(np.repeat(np.arange(40), 6), (np.arange(240) // 24, np.full(10, 24)),"
        "Batch(ids=4, images=2), 7, 9, window=60).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(windowed_batches(PIDS, GROUPS, BATCH, 7, 9, window=60).tolist())


def test_too_few_people_in_a_window() -> None:
    with pytest.raises(DataError, match=r"which are shuffled at a time, hold too few people .* take at most"):
        windowed_batches(PIDS, GROUPS, Batch(ids=16, images=2), 0, 1, window=24)
    with pytest.raises(DataError, match=r"^the training images show 40 ids"):
        windowed_batches(PIDS, GROUPS, Batch(ids=41, images=2), 0, 1, window=1000)


def test_how_much_lies_apart_by_hand() -> None:
    """Person 0 has two of four images in each group, 1 all three together, and 2 only one at all."""
    pids, groups = np.array([0, 0, 0, 0, 1, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 0, 0, 1])
    assert scattered_share(pids, groups, 2) == 0
    assert scattered_share(pids, groups, 3) == 4 / 8
    assert scattered_share(pids, groups, 5) == 0, "nobody has five"
