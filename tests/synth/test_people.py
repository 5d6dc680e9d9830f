"""People stay themselves, differ from each other, and are like their families."""

from __future__ import annotations

import dataclasses

import numpy as np

from reidkit.synth.figure import FAMILY, person, pick

COLOURS = {"upper_rgb", "second_rgb", "lower_rgb", "shoes_rgb", "bag_rgb"}


def test_pick_by_hand() -> None:
    """Weights 1 and 3: the second key in three of four cases, and a key of weight 0 never."""
    rng = np.random.default_rng(0)
    drawn = [pick(rng, {"a": 1.0, "never": 0.0, "b": 3.0}) for _ in range(4000)]
    assert abs(drawn.count("b") / 4000 - 0.75) < 0.03
    assert "never" not in drawn


def test_a_person_depends_on_seed_and_id() -> None:
    first = person(3, 17)
    person.cache_clear()
    assert person(3, 17) == first
    assert person(3, 18) != first
    assert person(4, 17) != first


def test_nobody_is_drawn_twice() -> None:
    assert len({person(0, pid) for pid in range(1, 1001)}) == 1000


def test_families_share_more_than_strangers() -> None:
    """Ids 1 to 4 are a family: confusable, which ids of different families seldom are."""

    def shared(a: int, b: int) -> int:
        one, other = dataclasses.asdict(person(0, a)), dataclasses.asdict(person(0, b))
        return sum(one[name] == other[name] for name in one if name not in COLOURS)

    firsts = range(1, 800, FAMILY)
    family = np.mean([shared(pid, pid + FAMILY - 1) for pid in firsts])
    strangers = np.mean([shared(pid, pid + FAMILY) for pid in firsts])
    assert family > strangers + 2
