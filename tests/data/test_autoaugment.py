"""AutoAugment's operations by hand, and how often each is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from reidkit.data.autoaugment import POLICIES, apply, apply_policies, sample_policies


def row(*values: int) -> Image.Image:
    """A grey image of one row."""
    return Image.fromarray(np.repeat(np.array([values], dtype=np.uint8)[..., None], 3, axis=2))


def values(image: Image.Image) -> list[int]:
    found: list[int] = np.asarray(image)[0, :, 0].tolist()
    return found


# Posterize keeps int(0.4 level) + 4 bits; solarize turns what is at or above int(25.6 level) round.
@pytest.mark.parametrize(
    ("name", "level", "before", "after"),
    [
        ("posterize", 5, (0, 3, 4, 255), [0, 0, 4, 252]),
        ("posterize", 8, (0, 1, 2, 255), [0, 0, 2, 254]),
        ("solarize", 5, (0, 127, 128, 255), [0, 127, 127, 0]),
        ("invert", 4, (0, 100, 255), [255, 155, 0]),
        ("autocontrast", 5, (100, 150, 200), [0, 127, 255]),
        ("equalize", 2, (7, 7, 7), [7, 7, 7]),
        ("contrast", 5, (100, 200), [100, 200]),
        ("contrast", 0, (100, 200), [145, 155]),
    ],
)
def test_an_operation_by_hand(name: str, level: int, before: tuple[int, ...], after: list[int]) -> None:
    assert values(apply(row(*before), name, level)) == pytest.approx(after, abs=1)


def test_colour_at_level_0_leaves_a_tenth_of_it() -> None:
    """Red (250, 0, 0) has the grey value 75: 75 + 0.1 (250 - 75), and 75 (1 - 0.1) for the others."""
    red = Image.fromarray(np.array([[[250, 0, 0]]], dtype=np.uint8))
    assert np.asarray(apply(red, "color", 0)).flatten().tolist() == pytest.approx([92, 67, 67], abs=1)


def test_what_comes_from_outside_is_grey() -> None:
    """A white square sheared by level 10 to both sides; turned by 30 degrees both ways."""
    white = Image.fromarray(np.full((20, 20, 3), 255, dtype=np.uint8))
    for name in ("shear_x", "rotate"):
        left, right = (np.asarray(apply(white, name, 10, negative)) for negative in (False, True))
        assert left.min() == right.min() == 128
        assert not np.array_equal(left, right)


def test_there_are_25_policies_of_operations_that_exist() -> None:
    assert len(POLICIES) == 25
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 8, 3), dtype=np.uint8))
    for policy in POLICIES:
        for name, probability, level in policy:
            assert 0 <= probability <= 1
            assert apply(image, name, level).size == (8, 16)


def test_each_policy_is_as_likely_and_each_operation_as_its_table_says() -> None:
    params = sample_policies(np.random.default_rng(0), 100_000, 0.5)
    chosen = params.policy >= 0
    assert chosen.mean() == pytest.approx(0.5, abs=0.01)
    shares = np.bincount(params.policy[chosen]) / chosen.sum()
    assert shares == pytest.approx(np.full(25, 1 / 25), abs=0.005)
    for number in (0, 12):
        of = params.policy == number
        wanted = [operation[1] for operation in POLICIES[number]]
        assert params.applied[of].mean(axis=0) == pytest.approx(wanted, abs=0.04)
    assert not params.applied[~chosen].any()


def test_only_drawn_images_change_and_the_same_way_twice() -> None:
    before = np.random.default_rng(0).integers(0, 256, (40, 16, 8, 3), dtype=np.uint8)
    params = sample_policies(np.random.default_rng(1), 40, 0.5)
    one, two = before.copy(), before.copy()
    apply_policies(one, params)
    apply_policies(two, params)
    assert np.array_equal(one, two)
    changed = (one != before).any(axis=(1, 2, 3))
    assert changed.any()
    assert not changed[~params.applied.any(axis=1)].any()
