"""Which images make up each batch: P ids with K images each, drawn anew for every epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reidkit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.recipe import Batch


def pk_batches(pids: NDArray[np.int64], batch: Batch, seed: int, epoch: int, window: int = 0) -> NDArray[np.int64]:
    """The batches of one epoch: int64 [batches, P*K], indices into `pids` [N], the K images of an id side by side.

    `visits="chunks"` is the official code's reading: the images of every id are shuffled and cut into chunks of K (the
    remainder waits for another epoch; an id with fewer than K images gives one chunk, drawn with replacement), and P
    ids are drawn, batch after batch, among those with a chunk left, until fewer than P are. `visits="once"` shows each
    id once, with K of its images, in ceil(ids / P) batches; where the last one lacks ids, the first ones of the epoch
    come again. Takes time in proportion to N, apart from one sort.

    `window` numbers the parts of an epoch whose images are not all at hand at once (`reidkit.data.stream_sampler`).

    The result depends on the arguments alone, so a resumed run, or another process, gets the same.

    Raises:
        DataError: fewer ids than a batch needs.
    """
    rng = np.random.default_rng((seed, epoch, window) if window else (seed, epoch))
    _, inverse, counts = np.unique(pids, return_inverse=True, return_counts=True)
    _check(len(counts), batch.ids)
    shuffled = rng.permutation(len(pids))
    by_id = shuffled[np.argsort(inverse[shuffled], kind="stable")]
    chunks_of = np.maximum(counts // batch.images, 1) if batch.visits == "chunks" else np.ones_like(counts)
    chunks = _cut(by_id, counts, chunks_of, batch.images, rng)
    first_chunk = np.cumsum(chunks_of) - chunks_of
    if batch.visits == "once":
        order = np.resize(rng.permutation(len(counts)), -(-len(counts) // batch.ids) * batch.ids)
    else:
        order = _draw_ids(chunks_of, first_chunk, batch.ids, rng)
    return chunks[order].reshape(-1, batch.ids * batch.images)


def _check(ids: int, wanted: int) -> None:
    if ids < 2:
        raise DataError(
            f"the training images show {ids or 'no'} id{'' if ids else 's'}: a triplet needs somebody else, "
            "so give a folder with two ids at least"
        )
    if ids < wanted:
        raise DataError(
            f"the training images show {ids} ids and a batch takes {wanted}: take at most {ids} ids in a batch",
            argument="batch.ids",
        )


def _cut(
    by_id: NDArray[np.int64],
    counts: NDArray[np.int64],
    chunks_of: NDArray[np.int64],
    size: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Chunks of `size` image indices [chunks, size], those of an id together, in the order of the ids."""
    start = np.cumsum(counts) - counts
    owner = np.repeat(np.arange(len(counts)), chunks_of)
    nth = np.arange(len(owner)) - np.repeat(np.cumsum(chunks_of) - chunks_of, chunks_of)
    place = (start[owner] + nth * size)[:, None] + np.arange(size)
    few = np.flatnonzero(counts[owner] < size)
    within = rng.integers(0, counts[owner[few], None], size=(len(few), size))
    place[few] = start[owner[few], None] + within
    chunks: NDArray[np.int64] = by_id[place]
    return chunks


def _draw_ids(
    chunks_of: NDArray[np.int64], first_chunk: NDArray[np.int64], per_batch: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The chunks in the order of their use: `per_batch` distinct ids at a time, each giving its next chunk.

    A draw without replacement is the start of a Fisher-Yates shuffle of the ids that have a chunk left.
    """
    chance = rng.random((int(chunks_of.sum()) // per_batch, per_batch))
    waiting = list(range(len(chunks_of)))
    following, end = first_chunk.tolist(), (first_chunk + chunks_of).tolist()
    order: list[int] = []
    for row in chance:
        if len(waiting) < per_batch:
            break
        span = len(waiting) - np.arange(per_batch)
        for place, step in enumerate((row * span).astype(np.int64).tolist()):
            waiting[place], waiting[place + step] = waiting[place + step], waiting[place]
        for place in reversed(range(per_batch)):
            chosen = waiting[place]
            order.append(following[chosen])
            following[chosen] += 1
            if following[chosen] == end[chosen]:
                waiting[place] = waiting[-1]
                waiting.pop()
    return np.array(order, dtype=np.int64)
