"""The figures of `benchmarks/training.py`: by hand, and of a run of two steps on noise."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from benchmarks.gpu_setting import recipe_for
from benchmarks.plain import erase, plain_image

from benchmarks import training
from reidkit.recipe import Erasing, Images, Recipe
from reidkit.types import Sample

if TYPE_CHECKING:
    from pathlib import Path


def test_figures_by_hand() -> None:
    """Ours: 20 images in 4 CPU seconds are 5 a second, at 3 GFLOP each 15 GFLOP/s, 60 % of 25.

    Three quarters of the time are convolutions, which thus run at 20 GFLOP/s, 80 %. The plain loop makes 2 a second.
    """
    parts = {"convolution, forward": 0.25, "convolution, backward": 0.5, "rest": 0.25}
    ours = [{"images": 20, "wall": 2.0, "cpu": 4.0, "matrix": 25.0, "parts": parts}]
    plain = [{"images": 20, "wall": 5.0, "cpu": 10.0, "matrix": 25.0, "parts": parts}]
    found = training.figures(ours, plain, 3.0, torch.bfloat16)
    assert found["precision"] == "bfloat16"
    assert (found["images_per_cpu_s"], found["images_per_s"]) == (5, 10)
    assert (found["times_the_plain_loop"], found["ratio_range"]) == (2.5, [2.5, 2.5])
    assert found["gflops_per_core"] == 15
    assert found["share_of_matrix_rate"] == 0.6
    assert found["convolutions_share_of_matrix_rate"] == 0.8


@pytest.mark.parametrize("which", training.WHICH)
def test_two_steps_on_noise(which: str, noise: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training.child(which, noise, recipe_for("strong-baseline", small=True), 1, tmp_path)
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 8
    assert found["matrix"] > 0
    assert sum(found["parts"].values()) == pytest.approx(1)
    assert found["parts"]["convolution, backward"] > 0
    assert (found["parts"]["fused optimiser"] > 0) is (which != "plain")


def test_a_plain_image_is_the_image(tmp_path: Path) -> None:
    """With nothing drawn, white is (1 - mean) / deviation."""
    from PIL import Image

    Image.fromarray(np.full((32, 32, 3), 255, dtype=np.uint8)).save(tmp_path / "white.png")
    recipe = Recipe(images=Images(height=32, width=32, pad=0, flip=0.0), erasing=Erasing())
    made = plain_image(Sample(tmp_path / "white.png", 1, 0), recipe, random.Random(0))
    assert made.shape == (3, 32, 32)
    assert made[:, 3, 2].tolist() == pytest.approx([2.2489, 2.4286, 2.64], abs=1e-4)


def test_the_plain_loop_erases_as_the_paper_says() -> None:
    """Half of 64 x 32 pixels is never erased: the area is uniform between 0.02 and 0.4 of it, but for rounding."""
    rng, shares = random.Random(0), []
    for _ in range(300):
        image = torch.full((3, 64, 32), 9.0)
        erase(image, Erasing(probability=1.0), rng)
        gone = image != 9.0
        assert torch.equal(gone[0], gone[1])
        rows, columns = gone[0].any(dim=1), gone[0].any(dim=0)
        assert torch.equal(gone[0], rows[:, None] & columns), "it is one rectangle"
        assert image[:, gone[0]][:, 0].tolist() == pytest.approx([0.485, 0.456, 0.406])
        shares.append(gone[0].float().mean().item())
    assert 0.015 < min(shares) < 0.04
    assert 0.35 < max(shares) < 0.41
    assert np.mean(shares) == pytest.approx(0.2, abs=0.02)
    with pytest.raises(SystemExit, match="as the authors' code does"):
        erase(image, Erasing(probability=1.0, fill="random"), rng)
