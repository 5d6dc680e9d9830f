from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from reidkit.data.check import Split, Unreadable, describe, find_unreadable, inspect
from reidkit.data.formats.detect import load_dataset
from reidkit.types import NO_CAMERA, Dataset, Sample
from tests.data.shards.made import tar

if TYPE_CHECKING:
    from collections.abc import Callable


def of(*labels: tuple[int, int]) -> tuple[Sample, ...]:
    return tuple(Sample(Path(f"{number}.jpg"), pid, camid) for number, (pid, camid) in enumerate(labels))


def test_counts_by_hand() -> None:
    """Person 1 has three images, 2 has one, 3 and 4 have two each: median of 1, 2, 2, 3 is 2."""
    found = describe(
        Dataset(
            "market1501",
            train=of((1, 0), (1, 0), (1, 5), (2, 1), (3, 0), (3, 1), (4, NO_CAMERA), (4, 1)),
            query=of((7, 0), (8, 1), (8, 2)),
            gallery=of((7, 1), (0, 0), (0, 1), (9, 2)),
            junk=of((-1, 0)),
        )
    )
    assert found.name == "market1501"
    assert found.train == Split(images=8, ids=4, cameras=3, without_camera=1, fewest=1, median=2.0, most=3)
    assert found.query == Split(images=3, ids=2, cameras=3, without_camera=0, fewest=1, median=1.5, most=2)
    assert (found.junk, found.distractors) == (1, 3)


def test_nothing_counts_as_nothing() -> None:
    assert describe(Dataset("empty")).train == Split(0, 0, 0, 0, 0, 0.0, 0)


def test_broken_files_by_hand(draw: Callable[..., Path]) -> None:
    root = draw("good.jpg", "half.jpg", "zero.jpg")
    (root / "half.jpg").write_bytes((root / "good.jpg").read_bytes()[:-40])
    (root / "zero.jpg").write_bytes(b"")
    (root / "text.jpg").write_text("404 not found")
    names = ["zero.jpg", "good.jpg", "half.jpg", "gone.jpg", "text.jpg"]
    found = find_unreadable(Sample(root / name, 0, 0) for name in names)
    assert [broken.path.name for broken in found] == ["zero.jpg", "half.jpg", "gone.jpg", "text.jpg"]
    assert found[0] == Unreadable(root / "zero.jpg", "is empty: it has 0 bytes")
    for broken, reason in zip(found[1:], ["is a damaged JPEG", "cannot be read", "is not an image"], strict=True):
        assert broken.reason.startswith(reason)


@pytest.mark.parametrize("threads", [1, 3])
def test_order_and_progress_do_not_depend_on_threads(draw: Callable[..., Path], threads: int) -> None:
    """150 files in steps of 64; every third is broken; a file named twice is read once."""
    root = draw(*(f"{number}.jpg" for number in range(150)))
    for number in range(0, 150, 3):
        (root / f"{number}.jpg").write_bytes(b"x")
    samples = [Sample(root / f"{number}.jpg", 0, 0) for number in range(150)]
    steps: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        steps.append((done, total))

    found = find_unreadable(samples + samples, progress, threads)
    assert [broken.path.name.removesuffix(".jpg") for broken in found] == [str(number) for number in range(0, 150, 3)]
    assert steps == [(64, 150), (128, 150), (150, 150)]


def test_no_files_no_broken_files() -> None:
    assert find_unreadable([]) == ()


def test_images_of_one_value_are_listed(tmp_path: Path) -> None:
    """Black, and all of one red; one pixel that differs in the last row is enough to be an image."""
    pixels = {
        name: np.full((4, 2, 3), value, np.uint8) for name, value in {"black": 0, "red": (200, 0, 0), "good": 9}.items()
    }
    pixels["good"][3, 1, 2] = 10
    for name, image in pixels.items():
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    (tmp_path / "text.png").write_text("no image")
    found = inspect(Sample(tmp_path / f"{name}.png", 0, 0) for name in ("black", "good", "text", "red"))
    assert found.plain == (tmp_path / "black.png", tmp_path / "red.png")
    assert [one.path.name for one in found.unreadable] == ["text.png"]


def test_images_of_one_value_in_shards(tmp_path: Path) -> None:
    for name, value in {"a": 0, "b": 9}.items():
        pixels = np.full((4, 2, 3), value, np.uint8)
        pixels[0, 0] = 0
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    files = [(f"{name}.png", (tmp_path / f"{name}.png").read_bytes()) for name in "ab"]
    tar(tmp_path / "out" / "train.tar", [f for one in files for f in (one, (one[0].replace("png", "cls"), b"1"))])
    found = inspect(load_dataset(tmp_path / "out").train)
    assert [path.name for path in found.plain] == ["a.png"]
    assert not found.unreadable
