"""The draw of people, against the published sequence and against chance."""

import numpy as np
import torch

from reidkit.losses.partial_fc import sample_classes, splitmix64

SEED = torch.tensor(5)


def draw(step, people=50, count=10, labels=(3, 3, 47), seed=SEED):
    return sample_classes(seed, torch.tensor(step), people, count, torch.tensor(labels))


def test_the_published_sequence():
    """The first five numbers of SplitMix64 with the seed 1234567, as its test vectors have them."""
    expected = (
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    )
    found = splitmix64(torch.tensor(1234567), torch.arange(5))
    assert [number % 2**64 for number in found.tolist()] == list(expected)


def test_those_of_the_batch_and_others_each_once_in_order():
    for step in range(50):
        found = draw(step).tolist()
        assert {3, 47} <= set(found)
        assert found == sorted(set(found))
        assert len(found) == 10
        assert 0 <= found[0] < found[-1] < 50


def test_everybody_where_all_are_drawn_and_nobody_else_where_none_is():
    assert draw(0, count=50).tolist() == list(range(50))
    assert draw(0, count=2).tolist() == [3, 47]


def test_a_function_of_seed_and_step():
    assert torch.equal(draw(7), draw(7))
    assert not torch.equal(draw(7), draw(8))
    assert not torch.equal(draw(7), draw(7, seed=torch.tensor(6)))
    assert set(draw(7, labels=(0,)).tolist()) - {0} >= set(draw(7).tolist()) - {0, 3, 47}, "labels move nobody else"


def test_the_others_are_drawn_with_the_same_odds():
    """8 of 48 in each of 3,000 steps: 500 times each, deviation 20; chi squared has 47 degrees of freedom."""
    counts = np.zeros(50)
    for step in range(3000):
        counts[draw(step).numpy()] += 1
    assert counts[3] == counts[47] == 3000
    others = np.delete(counts, [3, 47])
    chi_squared = ((others - 500) ** 2 / (3000 * (8 / 48) * (40 / 48))).sum()
    assert 20 < chi_squared < 90, "two in 10,000 lie outside"


def test_one_draw_says_nothing_of_the_next_nor_a_person_of_a_neighbour():
    """Being drawn twice running, or with the next number, has odds of about 1/6 * 1/6 and 1/6 * 7/47."""
    drawn = np.zeros((3000, 50), dtype=bool)
    for step in range(3000):
        drawn[step, draw(step).numpy()] = True
    others = np.delete(drawn, [3, 47], axis=1)
    assert abs((others[1:] & others[:-1]).mean() - 1 / 36) < 0.0025
    assert abs((others[:, 1:] & others[:, :-1]).mean() - 7 / (6 * 47)) < 0.0025


def test_seeds_that_are_neighbours_have_nothing_in_common():
    both = [set(draw(0, 10_000, 1000, seed=torch.tensor(seed)).tolist()) for seed in (0, 1)]
    assert 60 < len(both[0] & both[1]) < 140, "a tenth of a tenth, deviation 9"
