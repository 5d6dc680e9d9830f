"""The PK sampler: by hand, against the definition, and the draw against a plain reading of it."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reidkit.data import sampler as sampling
from reidkit.data.sampler import PKSampler, WindowSampler, cut_windows, scattered_share
from reidkit.errors import DataError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUNTS = st.lists(st.integers(1, 13), min_size=2, max_size=12)


def labels(counts: list[int], shuffle: int = 0) -> NDArray[np.int64]:
    """`counts[i]` images of the i-th id, in any order; ids are neither dense nor sorted."""
    return np.random.default_rng(shuffle).permutation(np.repeat(np.arange(len(counts)) * 7 + 3, counts))


def test_worked_example() -> None:
    """Id 5 has three images, so one chunk of two and a remainder that is dropped; id 9 has two. One batch."""
    pids = np.array([5, 9, 5, 9, 5])
    batches = PKSampler(pids, ids=2, images=2).epoch(1)
    assert batches.shape == (1, 4)
    assert batches.dtype == np.int64
    of_5, of_9 = sorted(batches.reshape(2, 2).tolist(), key=lambda pair: int(pids[pair[0]]))
    assert sorted(of_9) == [1, 3]
    assert len(set(of_5)) == 2
    assert set(of_5) < {0, 2, 4}


@settings(max_examples=60, deadline=None)
@given(
    counts=COUNTS, ids=st.integers(2, 6), images=st.integers(2, 5), seed=st.integers(0, 2**40), epoch=st.integers(0, 9)
)
def test_chunks_are_the_definition(counts: list[int], ids: int, images: int, seed: int, epoch: int) -> None:
    ids = min(ids, len(counts))
    pids = labels(counts, shuffle=seed)
    batches = PKSampler(pids, ids=ids, images=images, seed=seed).epoch(epoch)
    left = {int(pid): max(n // images, 1) for pid, n in Counter(pids.tolist()).items()}
    for batch in batches:
        rows = pids[batch].reshape(ids, images)
        assert (rows == rows[:, :1]).all()
        assert len(set(rows[:, 0].tolist())) == ids
        for pid in rows[:, 0].tolist():
            left[pid] -= 1
            assert left[pid] >= 0
    assert sum(n > 0 for n in left.values()) < ids
    enough = [i for i, n in Counter(batches.ravel().tolist()).items() if n > 1]
    assert all((pids == pids[i]).sum() < images for i in enough), "only an id with few images repeats one"


@settings(max_examples=40, deadline=None)
@given(counts=COUNTS, ids=st.integers(2, 6), images=st.integers(2, 5), seed=st.integers(0, 99))
def test_once_shows_each_id_once(counts: list[int], ids: int, images: int, seed: int) -> None:
    ids = min(ids, len(counts))
    pids = labels(counts)
    batches = PKSampler(pids, ids=ids, images=images, visits="once", seed=seed).epoch(1)
    assert batches.shape == (math.ceil(len(counts) / ids), ids * images)
    rows = pids[batches].reshape(-1, images)
    assert (rows == rows[:, :1]).all()
    assert set(rows[:, 0].tolist()) == set(pids.tolist())
    assert len(set(rows[: len(counts), 0].tolist())) == len(counts), "nobody twice but to fill the last batch"
    assert all(len(set(people.tolist())) == ids for people in rows[:, 0].reshape(-1, ids))
    for row in batches.reshape(-1, images):
        if (pids == pids[row[0]]).sum() >= images:
            assert len(set(row.tolist())) == images


def plain_draw(chunks: list[int], ids: int, rng: random.Random) -> list[tuple[int, ...]]:
    """The draw of ids as one would write it down: each batch a sample of those with a chunk left."""
    left = dict(enumerate(chunks))
    batches = []
    while len(left) >= ids:
        chosen = rng.sample(sorted(left), ids)
        batches.append(tuple(sorted(chosen)))
        for pid in chosen:
            left[pid] -= 1
        left = {pid: n for pid, n in left.items() if n}
    return batches


def test_whole_epochs_are_as_likely_as_in_a_plain_draw() -> None:
    chunks, times, rng = [3, 1, 2, 1], 4000, random.Random(5)
    pids = np.repeat(np.arange(4), np.array(chunks) * 2)
    sampler = PKSampler(pids, ids=2, images=2, seed=3)
    ours = Counter(tuple(tuple(sorted(set(pids[b].tolist()))) for b in sampler.epoch(epoch)) for epoch in range(times))
    theirs = Counter(tuple(plain_draw(chunks, 2, rng)) for _ in range(times))
    assert set(ours) == set(theirs)
    for epoch, count in theirs.items():
        assert abs(ours[epoch] - count) < 5 * np.sqrt(2 * max(count, 20))


def test_every_image_of_a_large_id_gets_its_turn() -> None:
    pids = labels([9, 8])
    sampler = PKSampler(pids, ids=2, images=4)
    seen = {i for epoch in range(20) for i in sampler.epoch(epoch).ravel().tolist()}
    assert seen == set(range(17))


@pytest.mark.parametrize("visits", ["chunks", "once"])
def test_a_function_of_its_arguments(visits: Literal["chunks", "once"]) -> None:
    pids = labels([9] * 20)
    first = PKSampler(pids, 4, 4, visits=visits, seed=3).epoch(2)
    assert np.array_equal(first, PKSampler(pids, 4, 4, visits=visits, seed=3).epoch(2))
    for seed, epoch in ((3, 3), (4, 2)):
        other = PKSampler(pids, 4, 4, visits=visits, seed=seed).epoch(epoch)
        assert other.shape != first.shape or not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("pids", "sentence"),
    [
        ([], "no ids"),
        ([4, 4, 4], "1 id: a triplet needs a second one"),
        ([4, 5, 6], r"3 ids and a batch takes 16: take at most 3 ids"),
    ],
)
def test_too_few_ids(pids: list[int], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        PKSampler(pids)


def test_arguments_that_make_no_batch() -> None:
    for wrong, sentence in (
        ({"ids": 0}, "ids must be a whole number from 1 on, not 0"),
        ({"images": 0}, "images must be a whole number from 1 on, not 0"),
        ({"visits": "twice"}, "visits='twice' is no way to draw a batch: pass 'chunks' or 'once'"),
    ):
        with pytest.raises(UsageError, match=sentence):
            PKSampler(labels([4] * 20), **wrong)


# Images that come a group at a time.

PIDS = np.repeat(np.arange(40), 6)
GROUPS = (np.arange(240) // 24, np.full(10, 24))
"""Forty ids of six images, four ids in a group of 24 bytes."""


def windowed(window: int, monkeypatch: pytest.MonkeyPatch, seed: int = 0) -> WindowSampler:
    """Batches of 4 ids with 2 images each, in windows of so many bytes."""
    monkeypatch.setattr(sampling, "WINDOW", window)
    return WindowSampler(PIDS, GROUPS, 4, 2, seed=seed)


def test_one_window_is_the_order_of_images_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for epoch in (1, 2):
        ours = windowed(1000, monkeypatch, seed=3).epoch(epoch)
        assert np.array_equal(ours, PKSampler(PIDS, 4, 2, seed=3).epoch(epoch))


def test_windows_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """240 bytes in windows of 100 make three of 80: of 4, 3 and 3 groups, or 96, 72 and 72 images."""
    sampler = windowed(100, monkeypatch)
    of = cut_windows(GROUPS[1], 0, 1)
    assert sorted(np.bincount(of).tolist()) == [3, 3, 4]
    order = sampler.epoch(1)
    windows = of[GROUPS[0][order]]
    assert (windows == windows[:, :1]).all(), "a batch lies in one window"
    assert (np.diff(windows[:, 0]) >= 0).all(), "and one window follows the other"
    assert len(np.unique(order)) > 200, "nearly all are seen"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**63 - 1), st.integers(1, 300), st.integers(30, 400), st.data())
def test_every_batch_is_of_p_ids_with_k_images(seed: int, epoch: int, window: int, data: st.DataObject) -> None:
    group_of = np.array(data.draw(st.lists(st.integers(0, 4), min_size=240, max_size=240)))
    groups = (group_of, np.bincount(group_of))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sampling, "WINDOW", window)
        of = cut_windows(groups[1], seed, epoch)[group_of]
        assume(all(len(np.unique(PIDS[of == n])) >= 4 for n in range(of.max() + 1)))
        order, again = (WindowSampler(PIDS, groups, 4, 2, seed=seed).epoch(epoch) for _ in range(2))
    ids = PIDS[order].reshape(-1, 4, 2)
    assert (ids == ids[:, :, :1]).all()
    assert (np.diff(np.sort(ids[:, :, 0], axis=1)) > 0).all()
    assert np.array_equal(order, again)


def test_no_image_comes_twice_where_ids_have_enough_in_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    order = windowed(60, monkeypatch).epoch(5)
    assert len(np.unique(order)) == order.size


def test_the_order_of_another_process_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import numpy as np; from reidkit.data import sampler; sampler.WINDOW = 60;"
        "groups = np.arange(240) // 24, np.full(10, 24);"
        "print(sampler.WindowSampler(np.repeat(np.arange(40), 6), groups, 4, 2, seed=7).epoch(9).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(windowed(60, monkeypatch, seed=7).epoch(9).tolist())


def test_too_few_ids_in_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "WINDOW", 24)
    with pytest.raises(DataError, match=r"which are shuffled at a time, hold too few ids .* take at most 4 ids"):
        WindowSampler(PIDS, GROUPS, 16, 2).epoch(1)
    with pytest.raises(DataError, match=r"^the training images show 40 ids"):
        WindowSampler(PIDS, GROUPS, 41, 2)


def test_how_much_lies_apart_by_hand() -> None:
    """Id 0 has two of four images in each group, 1 all three together, and 2 only one at all."""
    pids, groups = np.array([0, 0, 0, 0, 1, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 0, 0, 1])
    assert scattered_share(pids, groups, 2) == 0
    assert scattered_share(pids, groups, 3) == 4 / 8
    assert scattered_share(pids, groups, 5) == 0, "none has five"


def test_images_of_an_id_come_from_as_many_cameras_as_they_can():
    """An id with 3, 2 and 1 images of its cameras, 3 at a time: all three cameras first, then two and one again."""
    pids, camids = np.repeat([0, 1], 6), np.tile([5, 5, 5, 6, 6, 9], 2)
    seen = set()
    for epoch in range(1, 30):
        for batch in PKSampler(pids, 2, 3, camids=camids, seed=2).epoch(epoch):
            for chunk in batch.reshape(2, 3):
                assert len(set(chunk)) == 3
                seen.add(tuple(sorted(camids[chunk])))
    assert seen == {(5, 6, 9), (5, 5, 6)}


def test_cameras_do_not_keep_images_from_being_drawn():
    """Every image comes, and which one of a camera comes first is drawn."""
    pids, camids = np.repeat([0, 1], 6), np.tile([5, 5, 5, 6, 6, 9], 2)
    with pytest.raises(UsageError, match="13 camids for 12 images: pass one for each"):
        PKSampler(pids, 2, 2, camids=[*camids, 1])
    sampler = PKSampler(pids, 2, 2, camids=camids)
    assert sorted(sampler.epoch(1).ravel()) == list(range(12))
    firsts = {chunk for epoch in range(1, 40) for chunk in sampler.epoch(epoch)[0].reshape(2, 2)[0].tolist()}
    assert len(firsts) > 8


def test_without_cameras_the_batches_are_what_they_were():
    pids = np.repeat(np.arange(6), 5)
    assert np.array_equal(
        WindowSampler(pids, (np.zeros(30, np.int64), np.array([1])), 2, 2, camids=np.arange(30)).epoch(1),
        PKSampler(pids, 2, 2, camids=np.arange(30)).epoch(1),
    )


def test_pids_that_are_none():
    """Outliers of a clustering, which are -1, came as one id."""
    with pytest.raises(DataError, match="leave these images out"):
        PKSampler([-1, -1, 1, 1, 2, 2], 2, 2)
    for wrong in (None, 5, [[1], [2]]):
        with pytest.raises(UsageError, match="pass a list, one for each image"):
            PKSampler(wrong, 2, 2)


@pytest.mark.parametrize("wrong", [{"ids": 2.5}, {"images": "2"}, {"seed": -1}, {"seed": None}])
def test_numbers_that_are_none(wrong):
    with pytest.raises(UsageError, match="must be a whole number") as told:
        PKSampler([1, 1, 2, 2], **{"ids": 2, "images": 2} | wrong)
    assert told.value.argument == next(iter(wrong))


def test_numbers_of_numpy_and_whole_floats_are_numbers():
    plain = PKSampler([1, 1, 2, 2], 2, 2, seed=3).epoch(1)
    assert PKSampler([1, 1, 2, 2], np.int64(2), 2.0, seed=np.int64(3)).epoch(1).tolist() == plain.tolist()
