"""The PK sampler: by hand, against the definition, and the draw against a plain reading of it."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reidkit.data.sampler import pk_batches
from reidkit.errors import DataError
from reidkit.recipe import Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUNTS = st.lists(st.integers(1, 13), min_size=2, max_size=12)


def labels(counts: list[int], shuffle: int = 0) -> NDArray[np.int64]:
    """`counts[i]` images of the i-th id, in any order; ids are neither dense nor sorted."""
    return np.random.default_rng(shuffle).permutation(np.repeat(np.arange(len(counts)) * 7 + 3, counts))


def test_worked_example() -> None:
    """Id 5 has three images, so one chunk of two and a remainder that is dropped; id 9 has two. One batch."""
    pids = np.array([5, 9, 5, 9, 5])
    batches = pk_batches(pids, Batch(ids=2, images=2), seed=0, epoch=1)
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
    batches = pk_batches(pids, Batch(ids=ids, images=images), seed, epoch)
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
    batches = pk_batches(pids, Batch(ids=ids, images=images, visits="once"), seed, 1)
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
    ours = Counter(
        tuple(tuple(sorted(set(pids[b].tolist()))) for b in pk_batches(pids, Batch(ids=2, images=2), 3, epoch))
        for epoch in range(times)
    )
    theirs = Counter(tuple(plain_draw(chunks, 2, rng)) for _ in range(times))
    assert set(ours) == set(theirs)
    for epoch, count in theirs.items():
        assert abs(ours[epoch] - count) < 5 * np.sqrt(2 * max(count, 20))


def test_every_image_of_a_large_id_gets_its_turn() -> None:
    pids = labels([9, 8])
    seen = {i for epoch in range(20) for i in pk_batches(pids, Batch(ids=2, images=4), 0, epoch).ravel().tolist()}
    assert seen == set(range(17))


@pytest.mark.parametrize("visits", ["chunks", "once"])
def test_a_function_of_its_arguments(visits: Literal["chunks", "once"]) -> None:
    pids = labels([9] * 20)
    batch = Batch(ids=4, images=4, visits=visits)
    first = pk_batches(pids, batch, seed=3, epoch=2)
    assert np.array_equal(first, pk_batches(pids, batch, seed=3, epoch=2))
    for seed, epoch in ((3, 3), (4, 2)):
        other = pk_batches(pids, batch, seed, epoch)
        assert other.shape != first.shape or not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("pids", "sentence"),
    [
        ([], "no ids"),
        ([4, 4, 4], "1 id: a triplet needs somebody else"),
        ([4, 5, 6], r"3 ids and a batch takes 16: .*--set batch.ids=3"),
    ],
)
def test_too_few_ids(pids: list[int], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        pk_batches(np.array(pids, dtype=np.int64), Batch(), 0, 1)
