"""The PK sampler on a listing like Market-1501's: 751 people, 12,936 images, 2 to 72 of each; P = 16, K = 4.

Official code: the n images of a person are shuffled and cut into max(1, floor(n / K)) chunks of K, with replacement
only where n < K; the n - K floor(n / K) that remain are dropped for this epoch. P people at a time are drawn among
those with a chunk left, until fewer than P remain. So an epoch has at most

    sum over the people of max(1, floor(n / K)) / P      batches,

185 here; a few are lost to those who still have chunks when fewer than P are left. On Market-1501 it is 182 to 184.
A sampler that visits each person once has ceil(751 / 16) = 47.
"""

import math
import random
from collections import Counter, defaultdict

import numpy as np
import pytest

from reidkit.data.sampler import PKSampler
from reidkit.recipe import Batch
from tests.parity import READ

P, K = 16, 4
EPOCHS = 40


def market_like():
    """Images of each person, and the person of each image, in no order; skewed as the real counts are."""
    rng = np.random.default_rng(1501)
    counts = np.clip(np.rint(rng.gamma(2.46, 6.2, 751)).astype(int) + 2, 2, 72)
    counts[:2] = 2, 72
    while (missing := 12_936 - counts.sum()) != 0:
        person = rng.integers(2, 751)
        counts[person] = np.clip(counts[person] + np.sign(missing), 2, 72)
    return counts, rng.permutation(np.repeat(np.arange(751), counts))


COUNTS, PIDS = market_like()
CHUNKS = np.array([max(1, n // K) for n in COUNTS.tolist()])


def official_epoch(rng):
    """An epoch as the official code makes it, person by person: [batches, P*K] indices into `PIDS`."""
    of = defaultdict(list)
    for image, pid in enumerate(PIDS.tolist()):
        of[pid].append(image)
    chunks = {}
    for pid, images in of.items():
        enough = images if len(images) >= K else rng.choices(images, k=K)
        shuffled = rng.sample(enough, len(enough))
        chunks[pid] = [shuffled[first : first + K] for first in range(0, len(shuffled) - K + 1, K)]
    waiting, epoch = list(chunks), []
    while len(waiting) >= P:
        for pid in rng.sample(waiting, P):
            epoch += chunks[pid].pop()
            if not chunks[pid]:
                waiting.remove(pid)
    return np.array(epoch).reshape(-1, P * K)


@pytest.fixture(scope="module")
def ours():
    sampler = sampler_of(PIDS, READ["official-code"].batch)
    return [sampler.epoch(epoch) for epoch in range(1, EPOCHS + 1)]


@pytest.fixture(scope="module")
def theirs():
    return [official_epoch(random.Random(epoch)) for epoch in range(EPOCHS)]


def visits(epoch):
    """How often each of the 751 comes."""
    return np.bincount(PIDS[epoch[:, ::K]].ravel(), minlength=751)


def test_the_listing_is_like_market_1501_s():
    assert (len(COUNTS), COUNTS.sum(), COUNTS.min(), COUNTS.max()) == (751, 12_936, 2, 72)
    assert len(PIDS) == 12_936
    assert 184 < CHUNKS.sum() / P < 187


def test_every_reading_shows_every_image():
    assert {recipe.batch for recipe in READ.values()} == {Batch(ids=P, images=K, visits="chunks")}


def test_the_number_of_batches(ours, theirs):
    """182 to 184 on Market-1501; never more than the chunks allow, and as many as the official loop makes."""
    found, expected = (np.array([len(epoch) for epoch in epochs]) for epochs in (ours, theirs))
    assert set(found.tolist()) <= set(range(180, 187))
    assert found.max() <= CHUNKS.sum() // P
    error = math.sqrt((found.var() + expected.var() + 0.2) / EPOCHS)
    assert abs(found.mean() - expected.mean()) < 4 * error


def test_every_batch_is_whole_and_shows_16_people_with_4_images(ours):
    for epoch in ours:
        people = PIDS[epoch].reshape(-1, P, K)
        assert (people == people[:, :, :1]).all()
        assert (np.diff(np.sort(people[:, :, 0])) > 0).all(), "nobody twice in a batch"


def test_no_image_twice_in_an_epoch_but_of_those_with_fewer_than_4(ours):
    for epoch in ours:
        shown = np.bincount(epoch.ravel(), minlength=len(PIDS))
        assert shown[COUNTS[PIDS] >= K].max() == 1
        few = [shown[pid == PIDS].sum() for pid in np.flatnonzero(COUNTS < K)]
        assert set(few) <= {0, K}


def test_the_epoch_ends_when_fewer_than_16_people_have_a_chunk(ours):
    for epoch in ours:
        left = CHUNKS - visits(epoch)
        assert left.min() >= 0
        assert (left > 0).sum() < P
        assert left.sum() == CHUNKS.sum() - P * len(epoch)


def test_the_visits_of_each_person_are_those_of_the_official_loop(ours, theirs):
    """Those with few images give all their chunks, those with many lose some: means by the number of chunks."""
    for chunks in np.unique(CHUNKS).tolist():
        means = [np.array([visits(epoch)[chunks == CHUNKS].mean() for epoch in epochs]) for epochs in (ours, theirs)]
        error = math.sqrt((means[0].var() + means[1].var()) / EPOCHS)
        assert abs(means[0].mean() - means[1].mean()) <= 4 * error + 0.002, chunks
        assert means[0].mean() > 0.6 * chunks
    assert all((visits(epoch)[CHUNKS <= 2] == CHUNKS[CHUNKS <= 2]).mean() > 0.99 for epoch in ours)


def test_people_come_at_the_same_times_as_in_the_official_loop(ours, theirs):
    """In which batch somebody is seen first: everybody is as likely as everybody else, however many chunks are left."""

    def first_batches(epochs):
        seen = defaultdict(list)
        for epoch in epochs:
            pids, first = np.unique(PIDS[epoch[:, ::K]].ravel(), return_index=True)
            for chunks in (1, 2, 4, 6):
                seen[chunks] += (first[CHUNKS[pids] == chunks] // P).tolist()
        return {chunks: np.array(values) for chunks, values in seen.items()}

    expected = first_batches(theirs)
    for chunks, found in first_batches(ours).items():
        error = math.sqrt(found.var() / len(found) + expected[chunks].var() / len(expected[chunks]))
        assert abs(found.mean() - expected[chunks].mean()) < 4 * error, chunks


def test_what_is_left_out_of_an_epoch_is_left_to_chance(ours):
    """An image of n is shown in the share K floor(n / K) / n of the epochs: squared deviations, on average 1."""
    shown = sum(np.bincount(epoch.ravel(), minlength=len(PIDS)) for epoch in ours)
    everything = np.all([visits(epoch) == CHUNKS for epoch in ours], axis=0) & (COUNTS >= K) & (COUNTS % K > 0)
    of_those = everything[PIDS]
    share = (K * (COUNTS // K) / COUNTS)[PIDS][of_those]
    deviation = (shown[of_those] - EPOCHS * share) / np.sqrt(EPOCHS * share * (1 - share))
    assert of_those.sum() > 3000
    assert (deviation**2).mean() == pytest.approx(1, abs=0.08)


def test_those_with_fewer_than_4_images_are_drawn_with_replacement():
    """Four draws from two: once in eight they are all the same, whichever it is."""
    times = 1000
    seen = np.zeros(K + 1)
    for epoch in range(times):
        drawn = PKSampler([0, 0, 1, 1, 1, 1], 2, K, seed=1).epoch(epoch)[0]
        assert np.isin(drawn, [0, 1]).sum() == K
        seen[(drawn == 0).sum()] += 1
    expected = np.array([1, 4, 6, 4, 1]) / 16 * times
    assert ((seen - expected) ** 2 / expected).sum() < 18.5  # chi-square, 4 degrees, 0.1 %


def test_a_sampler_that_visits_each_person_once_has_47_batches():
    """751 = 46 x 16 + 15: one of the first batch is seen once more to make the last one whole."""
    batch = Batch(ids=P, images=K, visits="once")
    for epoch in range(1, 6):
        order = sampler_of(PIDS, batch).epoch(epoch)
        assert order.shape == (47, P * K)
        assert Counter(visits(order).tolist()) == {1: 750, 2: 1}
        people = PIDS[order].reshape(-1, P, K)
        assert (people == people[:, :, :1]).all()
        assert (np.diff(np.sort(people[:, :, 0])) > 0).all()


def sampler_of(pids, batch):
    """The sampler of a recipe's section."""
    return PKSampler(pids, batch.ids, batch.images, visits=batch.visits)
