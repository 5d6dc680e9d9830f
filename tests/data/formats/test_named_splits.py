from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reidkit.data.formats.detect import load_dataset
from reidkit.errors import DataError
from reidkit.types import NO_CAMERA, Sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_ltcc_by_hand(draw: Callable[..., Path]) -> None:
    """`test` is the gallery; the second number is the clothes."""
    names = {"train": "000_1_c3_015833.png", "query": "027_2_c12_000100.png", "test": "027_1_c1_000200.png"}
    root = draw(*(f"LTCC_ReID/{part}/{name}" for part, name in names.items()))
    found = load_dataset(root)
    place = root / "LTCC_ReID"
    assert found.name == "ltcc"
    assert found.train == (Sample(place / "train" / names["train"], 0, 3),)
    assert found.query == (Sample(place / "query" / names["query"], 27, 12),)
    assert found.gallery == (Sample(place / "test" / names["test"], 27, 1),)


def test_celeb_reid_by_hand(draw: Callable[..., Path]) -> None:
    root = draw("train/1_2_0.jpg", "query/702_1_0.jpg", "gallery/702_2_0.jpg", "gallery/703_1_0.jpg")
    found = load_dataset(root)
    assert found.name == "celeb-reid"
    assert [(s.pid, s.camid) for s in found.train] == [(1, NO_CAMERA)]
    assert [(s.pid, s.camid) for s in found.query] == [(702, NO_CAMERA)]
    assert [s.pid for s in found.gallery] == [702, 703]


def test_training_images_alone_and_a_foreign_name(draw: Callable[..., Path]) -> None:
    root = draw("train/000_1_c3_015833.png")
    assert [len(part) for part in (load_dataset(root).train, load_dataset(root).query)] == [1, 0]
    draw("train/x.png")
    with pytest.raises(DataError, match=r"x.png does not say its id: rename it like 000_1_c3_015833.png, or remove it"):
        load_dataset(root, "ltcc") if (root / "train" / "x.png").exists() else None
