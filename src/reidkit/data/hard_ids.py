"""Batches of ids that look alike: each has an id, and half of the others from its nearest ones (AWTL's pool).

Ristani and Tomasi, "Features for Multi-Target Multi-Camera Tracking and Re-Identification" (CVPR 2018), section 3.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from reidkit.data.sampler import PKSampler

_HARD = 0x68617264
"""Sets its random numbers apart from those of the sampler that it begins with."""

_AT_ONCE = 1024


class HardIdSampler:
    """Batches of P ids with K images each: an id, half of P from its pool, and the rest drawn from all.

    The pool of an id are the ids whose mean features are nearest to its own. It is renewed before each epoch but the
    first (`meet`), whose batches are those of `plain`; an epoch has as many batches as one of these, and each id leads
    one in turn.

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
        """The nearest ids of each, [ids, pool], the nearest first; empty before the first `meet`."""

    def meet(self, feat_nd: NDArray[np.float32]) -> None:
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
        import torch  # who samples without a checkpoint need not wait for it

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
        """K images of an id, with repeats only where it has fewer."""
        own = self._by_id[self._starts[number] : self._starts[number] + self._counts[number]]
        return rng.choice(own, self.plain.images, replace=len(own) < self.plain.images)
