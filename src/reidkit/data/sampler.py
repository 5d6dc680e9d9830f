"""Which images make up each batch: P ids with K images each, sampled anew for every epoch.

A sampler is a function of its arguments and the epoch alone, so that a resumed run, or another process, gets the same
batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from reidkit.arguments import check_whole
from reidkit.data.sources import READ_ANYWHERE, Streamed
from reidkit.errors import DataError, UsageError
from reidkit.types import JUNK

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from reidkit.data.sources import ImageSource
    from reidkit.recipe import Batch


Visits = Literal["chunks", "once"]

WINDOW = 256 << 20
"""Bytes of image files that are shuffled among each other: 256 MiB, some 80,000 images of Market-1501's size.

It is a constant and not an option, because the order of an epoch depends on it."""

_GROUPS = 0x736861
"""Sets the random numbers of the groups apart from those of batches and augmentation."""


class Sampler(Protocol):
    """Whatever says which images make up the batches of an epoch."""

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """Return the batches of an epoch, which is counted from 1: int64 [batches, B], indices of images."""


class PKSampler:
    """Batches of P ids with K images each.

    `visits="chunks"` is how the official code does it: the images of every id are shuffled and cut into chunks of K
    (the remainder waits for another epoch; an id with fewer than K images gives one chunk, with replacement), and
    P ids are sampled, batch after batch, among those with a chunk left, until fewer than P are. `visits="once"` shows
    each id once, with K of its images, in ceil(ids / P) batches; where the last one lacks ids, the first ones of the
    epoch come again.

    With `camids`, the cameras of the images, the K images of an id come from as many cameras as they can.
    """

    def __init__(
        self,
        pids: ArrayLike,
        ids: int = 16,
        images: int = 4,
        *,
        visits: Visits = "chunks",
        seed: int = 0,
        camids: ArrayLike | None = None,
    ) -> None:
        """Sample the images whose ids are `pids` int64 [N], `ids` (P) with `images` (K) each at a time.

        Raises:
            DataError: there are fewer than P ids, or fewer than two; or images of no id, whose pid is -1.
            UsageError: an argument makes no batch.
        """
        ids, images, seed = (
            check_whole(ids, "ids", least=1),
            check_whole(images, "images", least=1),
            check_whole(seed, "seed"),
        )
        if visits not in {"chunks", "once"}:
            raise UsageError(f"visits={visits!r} is no way to draw a batch: pass 'chunks' or 'once'")
        self.ids, self.images, self.visits, self.seed = ids, images, visits, seed
        shown, self._id_of, self._counts = np.unique(_pids(pids), return_inverse=True, return_counts=True)
        if JUNK in shown:
            raise DataError(
                "some pids are -1, as junk and what no cluster holds have it: leave these images out, or they are one "
                "id of many people"
            )
        _check_ids(len(self._counts), ids)
        self.camids = None if camids is None else np.asarray(camids)
        if self.camids is not None and self.camids.shape != self._id_of.shape:
            raise UsageError(
                f"{self.camids.size} camids for {len(self._id_of)} images: pass one for each", argument="camids"
            )
        self._chunks_of = np.maximum(self._counts // images, 1) if visits == "chunks" else np.ones_like(self._counts)

    def epoch(self, epoch: int, window: int = 0) -> NDArray[np.int64]:
        """The batches of an epoch: int64 [batches, P*K], indices into the pids, the K images of an id side by side.

        Takes time in proportion to N, apart from one sort. `window` numbers the parts of an epoch whose images are not
        all at hand at once (see `WindowSampler`).
        """
        rng = np.random.default_rng((self.seed, epoch, window) if window else (self.seed, epoch))
        # Shuffle all images, then sort them by id without changing the order inside an id.
        shuffled = rng.permutation(len(self._id_of))
        by_id = shuffled[np.argsort(self._id_of[shuffled], kind="stable")]
        if self.camids is not None:
            by_id = _spread(by_id, self._id_of, self.camids)
        chunks = self._cut(by_id, rng)
        if self.visits == "once":
            ids = len(self._counts)
            order = np.resize(rng.permutation(ids), -(-ids // self.ids) * self.ids)
        else:
            order = _draw_ids(self._chunks_of, self.ids, rng)
        return chunks[order].reshape(-1, self.ids * self.images)

    def _cut(self, by_id: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Chunks of K image indices [chunks, K], those of an id together, in the order of the ids."""
        counts, chunks_of = self._counts, self._chunks_of
        start = np.cumsum(counts) - counts
        # For each chunk, its id and which of the id's chunks it is; from these, where its images stand in `by_id`.
        owner = np.repeat(np.arange(len(counts)), chunks_of)
        nth = np.arange(len(owner)) - np.repeat(np.cumsum(chunks_of) - chunks_of, chunks_of)
        position = (start[owner] + nth * self.images)[:, None] + np.arange(self.images)
        # An id with fewer than K images has one chunk, which repeats some of them.
        few = np.flatnonzero(counts[owner] < self.images)
        within = rng.integers(0, counts[owner[few], None], size=(len(few), self.images))
        position[few] = start[owner[few], None] + within
        chunks: NDArray[np.int64] = by_id[position]
        return chunks


class WindowSampler:
    """Batches of P ids with K images each for a reader that holds two windows of the images in memory.

    The groups of images that are read at once are shuffled and cut into windows of about `WINDOW` bytes, all of one
    size or nearly. In each the batches are those of `PKSampler`; one window follows the other. So a group is read once,
    and where all fits into one window the batches are those of `PKSampler` over all images.

    An id whose images lie in several windows comes in each of them, with repeated images where fewer than K of them
    are there: the images of an id belong side by side, where `reidkit shard` puts them.
    """

    def __init__(  # noqa: PLR0913
        self,
        pids: ArrayLike,
        groups: tuple[NDArray[np.int64], NDArray[np.int64]],
        ids: int = 16,
        images: int = 4,
        *,
        visits: Visits = "chunks",
        seed: int = 0,
        camids: ArrayLike | None = None,
    ) -> None:
        """Sample as `PKSampler`; `groups` are the group of each image, int64 [N], and the bytes of each group [G].

        Raises:
            DataError: there are fewer than P ids, or fewer than two.
            UsageError: an argument makes no batch.
        """
        self._pids, self._groups = np.asarray(pids), groups
        self._camids = None if camids is None else np.asarray(camids)
        self._whole = PKSampler(self._pids, ids, images, visits=visits, seed=seed, camids=camids)

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """Return the batches of an epoch: int64 [batches, P*K], indices into the pids.

        Raises:
            DataError: a window holds fewer ids than a batch needs.
        """
        whole, (group_of, group_bytes) = self._whole, self._groups
        window_of = cut_windows(group_bytes, whole.seed, epoch)[group_of]
        count = int(window_of.max(initial=0)) + 1
        ends = np.cumsum(np.bincount(window_of, minlength=count))
        members = np.split(np.argsort(window_of, kind="stable"), ends[:-1])
        if count == 1:
            return whole.epoch(epoch)
        try:
            samplers = [
                PKSampler(
                    self._pids[inside],
                    whole.ids,
                    whole.images,
                    visits=whole.visits,
                    seed=whole.seed,
                    camids=None if self._camids is None else self._camids[inside],
                )
                for inside in members
            ]
        except DataError as error:
            raise DataError(
                f"{WINDOW >> 20} MiB of the shards, which are shuffled at a time, hold too few ids ({error}); "
                "or write smaller row groups with `reidkit shard`"
            ) from None
        return np.concatenate(
            [inside[sampler.epoch(epoch, n)] for n, (inside, sampler) in enumerate(zip(members, samplers, strict=True))]
        )


def build_sampler(source: ImageSource, labels: NDArray[np.int64], batch: Batch, seed: int) -> Sampler:
    """Return the sampler of a recipe for the images of `source`, whose ids are `labels` int64 [M].

    Raises:
        DataError: fewer ids than a batch needs.
        UsageError: hard ids are asked for of images that can only be read in their order.
    """
    camids = source.samples.camids if batch.cameras == "spread" else None
    if isinstance(source, Streamed):
        if batch.hard_pool:
            raise UsageError(
                f"streamed shards have an order of their own: set batch.hard_pool to 0, or {READ_ANYWHERE}",
                argument="batch.hard_pool",
            )
        groups = source.groups, source.group_bytes
        return WindowSampler(labels, groups, batch.ids, batch.images, visits=batch.visits, seed=seed, camids=camids)
    plain = PKSampler(labels, batch.ids, batch.images, visits=batch.visits, seed=seed, camids=camids)
    return HardIdSampler(plain, labels, batch.hard_pool) if batch.hard_pool else plain


def cut_windows(group_bytes: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """The window of each group, int64 [G], counted from 0; the groups are dealt out in a random order of the epoch."""
    total = int(group_bytes.sum())
    count = max(1, -(-total // WINDOW))
    order = np.random.default_rng((seed, epoch, 0, _GROUPS)).permutation(len(group_bytes))
    # A group belongs to the window in which its first byte lies; a window that none begins in is left out.
    before = np.cumsum(group_bytes[order]) - group_bytes[order]
    window_of = np.empty(len(group_bytes), dtype=np.int64)
    window_of[order] = np.unique(before * count // max(total, 1), return_inverse=True)[1]
    return window_of


def scattered_share(pids: NDArray[np.int64], groups: NDArray[np.int64], per_id: int) -> float:
    """Return the share of images whose id has `per_id` images or more, but fewer than that in the group of the image.

    It is 0 where the images of an id lie side by side and near 1 where they are strewn over all shards.
    """
    _, inverse, counts = np.unique(pids, return_inverse=True, return_counts=True)
    pairs = inverse.astype(np.int64) * (int(groups.max(initial=0)) + 1) + groups
    _, of, inside = np.unique(pairs, return_inverse=True, return_counts=True)
    return float(np.mean((counts[inverse] >= per_id) & (inside[of] < per_id))) if len(pids) else 0.0


def _pids(pids: ArrayLike) -> NDArray[Any]:
    """Return the id of each image as an array [N].

    Raises:
        UsageError: there is none for each.
    """
    array = np.asarray(pids)
    if array.ndim != 1:
        raise UsageError(
            f"pids are {array.dtype} {list(array.shape)}: pass a list, one for each image", argument="pids"
        )
    return array


def _check_ids(ids: int, wanted: int) -> None:
    if ids < 2:
        raise DataError(
            f"the training images show {ids or 'no'} id{'' if ids else 's'}: a triplet needs a second one, "
            "so give images of two ids at least"
        )
    if ids < wanted:
        raise DataError(
            f"the training images show {ids} ids and a batch takes {wanted}: take at most {ids} ids in a batch",
            argument="batch.ids",
        )


def _draw_ids(chunks_of: NDArray[np.int64], per_batch: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the chunks in the order of their use: `per_batch` distinct ids at a time, each giving its next chunk.

    A draw without replacement is the start of a Fisher-Yates shuffle of the ids that have a chunk left.
    """
    chance = rng.random((int(chunks_of.sum()) // per_batch, per_batch))
    first_chunk = np.cumsum(chunks_of) - chunks_of
    waiting = list(range(len(chunks_of)))
    following, end = first_chunk.tolist(), (first_chunk + chunks_of).tolist()
    order: list[int] = []
    for row in chance:
        if len(waiting) < per_batch:
            break
        # Swap a random one of the ids from each position on into that position: the first `per_batch` are the draw.
        span = len(waiting) - np.arange(per_batch)
        for position, step in enumerate((row * span).astype(np.int64).tolist()):
            waiting[position], waiting[position + step] = waiting[position + step], waiting[position]
        # Give out the next chunk of each, and take an id without a further one off the list, the last one first.
        for position in reversed(range(per_batch)):
            chosen = waiting[position]
            order.append(following[chosen])
            following[chosen] += 1
            if following[chosen] == end[chosen]:
                waiting[position] = waiting[-1]
                waiting.pop()
    return np.array(order, dtype=np.int64)


def _spread(by_id: NDArray[np.int64], id_of: NDArray[np.int64], camids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Reorder the images of each id: first one of each camera, then a second one of each, as long as they last.

    `by_id` int64 [N] holds the images of an id side by side, in a drawn order, which decides among those of a camera.
    """
    ids = id_of[by_id]
    pairs = np.unique(np.stack([ids, camids[by_id]]), axis=1, return_inverse=True)[1].ravel()
    together = np.argsort(pairs, kind="stable")
    counts = np.bincount(pairs)
    nth = np.empty(len(by_id), dtype=np.int64)
    nth[together] = np.arange(len(by_id)) - np.repeat(np.cumsum(counts) - counts, counts)
    return by_id[np.lexsort((nth, ids))]


# Batches of ids that look alike: each has an id, and half of the others from its nearest ones (AWTL's pool).

_HARD = 0x68617264
"""Sets its random numbers apart from those of the sampler that it begins with."""

_AT_ONCE = 1024


class HardIdSampler:
    """Batches of P ids with K images each: an id, half of P from its pool, and the rest drawn from all.

    The pool of an id are the ids whose mean features are nearest to its own. It is renewed before each epoch but the
    first (`renew_pools`), whose batches are those of `plain`; an epoch has as many batches as one of these, and each id
    leads one in turn.

    Args:
        plain: The sampler that it replaces.
        pids: The id of each image, int64 [N].
        pool: How many ids are in a pool.
    """

    def __init__(self, plain: PKSampler, pids: ArrayLike, pool: int) -> None:
        self.plain, self.pool = plain, pool
        _, self._id_of, self._counts = np.unique(np.asarray(pids), return_inverse=True, return_counts=True)
        self._by_id = np.argsort(self._id_of, kind="stable")
        self._starts = np.cumsum(self._counts) - self._counts
        self.pools: NDArray[np.int64] = np.zeros((0, 0), dtype=np.int64)
        """The nearest ids of each, [ids, pool], the nearest first; empty before the first `renew_pools`."""

    def renew_pools(self, feat_nd: NDArray[np.float32]) -> None:
        """Renew the pools by the features of all images, float32 [N, D]."""
        sums = np.zeros((len(self._counts), feat_nd.shape[1]), dtype=np.float64)
        np.add.at(sums, self._id_of, feat_nd)
        means = sums / self._counts[:, None]
        lengths = np.square(means).sum(axis=1)
        count, found = min(self.pool, len(means) - 1), []
        for first in range(0, len(means), _AT_ONCE):
            own = np.arange(first, min(first + _AT_ONCE, len(means)))
            squared = lengths[own, None] + lengths - 2 * means[own] @ means.T
            squared[np.arange(len(own)), own] = np.inf
            nearest = np.argpartition(squared, count - 1, axis=1)[:, :count]
            order = np.argsort(np.take_along_axis(squared, nearest, axis=1), axis=1, kind="stable")
            found.append(np.take_along_axis(nearest, order, axis=1))
        self.pools = np.concatenate(found)

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """Return the batches of an epoch: int64 [batches, P*K], the K images of an id side by side."""
        plain = self.plain.epoch(epoch)
        if not len(self.pools):
            return plain
        rng = np.random.default_rng((self.plain.seed, epoch, _HARD))
        leaders = np.resize(rng.permutation(len(self._counts)), len(plain))
        ids = [self._ids_with(leader, rng) for leader in leaders.tolist()]
        return np.array([np.concatenate([self._images_of(each, rng) for each in batch]) for batch in ids])

    def state_dict(self) -> dict[str, Any]:
        """Return the pools."""
        import torch  # sampling without a checkpoint does not need it

        return {"pools": torch.from_numpy(self.pools.copy())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with them.

        Raises:
            ValueError: they are those of another training set.
        """
        pools = state["pools"].numpy()
        if len(pools) and (len(pools) != len(self._counts) or pools.min() < 0 or pools.max() >= len(pools)):
            raise ValueError("the pools are those of other ids")
        self.pools = pools

    def _ids_with(self, leader: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """P ids: the leader, half of P from its pool, the others from all."""
        wanted = self.plain.ids
        alike = rng.permutation(self.pools[leader])[: min(wanted // 2, wanted - 1)]
        chosen = np.concatenate([[leader], alike])
        rest = np.setdiff1d(np.arange(len(self._counts)), chosen)
        return np.concatenate([chosen, rng.choice(rest, wanted - len(chosen), replace=False)])

    def _images_of(self, number: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """K images of an id, with repeats only where it has fewer; of as many cameras as they can be, as in `plain`."""
        own = self._by_id[self._starts[number] : self._starts[number] + self._counts[number]]
        if self.plain.camids is not None:
            return np.resize(_spread(rng.permutation(own), self._id_of, self.plain.camids), self.plain.images)
        return rng.choice(own, self.plain.images, replace=len(own) < self.plain.images)
