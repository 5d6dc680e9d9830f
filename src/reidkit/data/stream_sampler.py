"""Batches of P ids with K images each, where images can only be had a group at a time and not all are in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reidkit.data.sampler import pk_batches
from reidkit.data.sources import Streamed
from reidkit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.data.sources import ImageSource
    from reidkit.recipe import Batch

WINDOW = 256 << 20
"""Bytes of image files that are shuffled among each other: 256 MiB, some 80,000 images of Market-1501's size.

It is a constant and not an option, because the order of an epoch depends on it."""


def epoch_batches(
    source: ImageSource, labels: NDArray[np.int64], batch: Batch, seed: int, epoch: int
) -> NDArray[np.int64]:
    """The batches of one epoch, int64 [batches, P*K]: those of `pk_batches`, or of `windowed_batches` for a stream.

    Raises:
        DataError: fewer ids than a batch needs.
    """
    if isinstance(source, Streamed):
        return windowed_batches(labels, (source.groups, source.group_bytes), batch, seed, epoch)
    return pk_batches(labels, batch, seed, epoch)


def announce_order(source: ImageSource, order: NDArray[np.int64]) -> None:
    """Tell a source that reads ahead which images will be asked for, in their order."""
    if isinstance(source, Streamed):
        source.expect(order)


def windowed_batches(
    pids: NDArray[np.int64],
    groups: tuple[NDArray[np.int64], NDArray[np.int64]],
    batch: Batch,
    seed: int,
    epoch: int,
    window: int = WINDOW,
) -> NDArray[np.int64]:
    """The batches of one epoch for a reader that holds two windows: int64 [batches, P*K], indices into `pids` [N].

    The groups, given as that of each image [N] and the bytes of each [G], are shuffled and cut into windows of about
    `window` bytes, all of one size or nearly. In each the batches are those of `pk_batches`; one window follows the
    other. So a group is read once, and where all fits one window the batches are those of `pk_batches` over all.

    An id whose images lie in several windows comes in each of them, with repeated images where fewer than K of them
    are there: the images of an id belong side by side, where `reidkit shard` puts them.

    The result depends on the arguments alone.

    Raises:
        DataError: fewer ids in a window than a batch needs.
    """
    group_of, group_bytes = groups
    window_of = cut_windows(group_bytes, seed, epoch, window)[group_of]
    count = int(window_of.max(initial=0)) + 1
    members = np.split(np.argsort(window_of, kind="stable"), np.cumsum(np.bincount(window_of, minlength=count))[:-1])
    try:
        parts = [inside[pk_batches(pids[inside], batch, seed, epoch, n)] for n, inside in enumerate(members)]
    except DataError as error:
        if count == 1:
            raise
        raise DataError(
            f"{window >> 20} MiB of the shards, which are shuffled at a time, hold too few people ({error}); "
            "or write smaller row groups with `reidkit shard`"
        ) from None
    return np.concatenate(parts)


def cut_windows(group_bytes: NDArray[np.int64], seed: int, epoch: int, window: int = WINDOW) -> NDArray[np.int64]:
    """The window of each group, int64 [G], counted from 0; the groups are dealt out in an order drawn for the epoch."""
    total = int(group_bytes.sum())
    count = max(1, -(-total // window))
    order = np.random.default_rng((seed, epoch, 0, _GROUPS)).permutation(len(group_bytes))
    before = np.cumsum(group_bytes[order]) - group_bytes[order]
    found = np.empty(len(group_bytes), dtype=np.int64)
    found[order] = np.unique(before * count // max(total, 1), return_inverse=True)[1]
    return found


def scattered_share(pids: NDArray[np.int64], groups: NDArray[np.int64], per_id: int) -> float:
    """The share of images whose id has `per_id` images or more, but fewer than that in the group of the image.

    It is 0 where the images of an id lie side by side and near 1 where they are strewn over all shards.
    """
    _, inverse, counts = np.unique(pids, return_inverse=True, return_counts=True)
    pairs = inverse.astype(np.int64) * (int(groups.max(initial=0)) + 1) + groups
    _, of, inside = np.unique(pairs, return_inverse=True, return_counts=True)
    return float(np.mean((counts[inverse] >= per_id) & (inside[of] < per_id))) if len(pids) else 0.0


_GROUPS = 0x736861
"""Sets the random numbers of the groups apart from those of batches and augmentation."""
