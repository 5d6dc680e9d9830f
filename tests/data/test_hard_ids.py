"""Batches around an id and its nearest ones."""

from __future__ import annotations

import numpy as np
import pytest

from reidkit.data.sampler import HardIdSampler, PKSampler

PIDS = np.repeat([3, 10, 11, 40, 41, 42, 70, 71], 4)


def sampler(pool: int = 2, seed: int = 0) -> HardIdSampler:
    return HardIdSampler(PKSampler(PIDS, 4, 2, seed=seed), PIDS, pool)


def features() -> np.ndarray:
    """On a line, at the number of the id: the nearest of 40 are 41 and 42."""
    return np.stack([PIDS + np.tile([-0.1, 0.1, -0.2, 0.2], 8), np.zeros(len(PIDS))], axis=1).astype(np.float32)


def test_the_first_epoch_is_that_of_the_plain_sampler() -> None:
    assert np.array_equal(sampler().epoch(1), PKSampler(PIDS, 4, 2, seed=0).epoch(1))


def test_pools_by_hand() -> None:
    hard = sampler()
    hard.renew_pools(features())
    assert [set(pool) for pool in hard.pools.tolist()] == [
        {1, 2}, {2, 0}, {1, 0}, {4, 5}, {3, 5}, {4, 3}, {7, 5}, {6, 5},
    ]  # fmt: skip
    assert hard.pools[0].tolist() == [1, 2], "the nearest first"


def test_a_batch_by_definition() -> None:
    """An id, two of its pool, one more; two images each; each id leads once in a round."""
    hard = sampler()
    hard.renew_pools(features())
    batches, numbers = hard.epoch(2), np.unique(PIDS, return_inverse=True)[1]
    assert batches.shape == PKSampler(PIDS, 4, 2, seed=0).epoch(2).shape
    leaders = []
    for batch in batches:
        ids = numbers[batch].reshape(4, 2)
        assert (ids[:, 0] == ids[:, 1]).all()
        assert len(set(ids[:, 0])) == 4
        assert len(set(batch)) == 8
        assert set(ids[1:3, 0]) == set(hard.pools[ids[0, 0]])
        leaders.append(ids[0, 0])
    assert len(set(leaders)) == len(leaders)


def test_the_images_of_an_id_come_from_several_cameras_where_these_are_known() -> None:
    """batch.cameras=spread held in the first epoch alone. Each id has three images by one camera and one by another."""
    camids = np.tile([1, 1, 1, 2], 8)
    hard = HardIdSampler(PKSampler(PIDS, 4, 2, camids=camids), PIDS, 2)
    hard.renew_pools(features())
    for epoch in (1, 2, 3):
        assert all(set(chunk) == {1, 2} for chunk in camids[hard.epoch(epoch)].reshape(-1, 2).tolist())
    alone = HardIdSampler(PKSampler(PIDS[::4], 4, 2, camids=camids[::4]), PIDS[::4], 2)
    alone.renew_pools(features()[::4])
    assert alone.epoch(2).shape[1] == 8


def test_it_is_a_function_of_pools_seed_and_epoch() -> None:
    one, two = sampler(), sampler()
    one.renew_pools(features())
    two.load_state_dict(one.state_dict())
    assert np.array_equal(one.epoch(3), two.epoch(3))
    assert not np.array_equal(one.epoch(3), one.epoch(4))
    other = sampler(seed=1)
    other.renew_pools(features())
    assert not np.array_equal(one.epoch(3), other.epoch(3))


def test_a_pool_larger_than_the_set_is_all_of_it() -> None:
    hard = sampler(pool=50)
    hard.renew_pools(features())
    assert hard.pools.shape == (8, 7)
    assert hard.epoch(2).shape[1] == 8


def test_an_id_with_one_image_repeats_it() -> None:
    pids = np.array([0, 1, 1, 2, 2])
    hard = HardIdSampler(PKSampler(pids, 2, 2), pids, 1)
    hard.renew_pools(np.array([[0.0], [1], [1], [5], [5]], dtype=np.float32))
    assert any(batch[:2].tolist() == [0, 0] for epoch in range(2, 8) for batch in hard.epoch(epoch))


def test_pools_of_other_ids_are_refused() -> None:
    hard = sampler()
    hard.renew_pools(features())
    other = HardIdSampler(PKSampler([0, 0, 1, 1], 2, 2), [0, 0, 1, 1], 1)
    with pytest.raises(ValueError, match="other ids"):
        other.load_state_dict(hard.state_dict())
