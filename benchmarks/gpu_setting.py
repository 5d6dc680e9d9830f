"""What the modules of `benchmarks/gpu.py` have in common: device, recipe, clock, counted work, and images in memory."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from reidkit.model.network import build_network
from reidkit.recipe import Batch, Images, Recipe
from reidkit.recipes import get_recipe
from reidkit.types import Sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from reidkit.data.sources import MappedImages

PEAKS = {
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "RTX 4090": 165.0,
    "A10": 125.0,
}
"""TFLOP/s of dense bf16 products by the makers' data sheets, by a part of the device's name; the first hit counts."""

PEOPLE = 751
"""The ids of Market-1501's training set: the size of the classifier, and of the set of images in memory."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The options of the whole benchmark. `ends` is on the clock of `time.perf_counter`."""

    device: torch.device
    recipe: Recipe
    ends: float
    small: bool = False
    data: Path | None = None
    weights: Path | None = None
    workers: int = 8
    out: Path = Path()

    def left(self) -> float:
        """Seconds until the budget is spent."""
        return self.ends - time.perf_counter()

    @property
    def backend(self) -> str:
        """Who compiles: at the small size only the tracing is tried, as writing kernels takes minutes on a CPU."""
        return "aot_eager" if self.small else "inductor"


def recipe_for(name: str, *, small: bool) -> Recipe:
    """The recipe, or one of the same tricks that a CPU trains in seconds."""
    recipe = get_recipe(name)
    if not small:
        return recipe
    return replace(
        recipe,
        network=replace(recipe.network, backbone="resnet18", width=0.125),
        images=Images(height=32, width=32, pad=2),
        batch=Batch(ids=4, images=2),
        optim=replace(recipe.optim, epochs=2, drops=(1,), warmup_epochs=0),
    )


def wait(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(setting: Setting, step: Callable[[], object], count: int, seconds: float) -> float:
    """How many of something a second, `count` in each step: steps for about so long, after a few that do not count."""
    for _ in range(1 if setting.small else 5):
        step()
    wait(setting.device)
    began, steps = time.perf_counter(), 0
    while not steps or time.perf_counter() - began < min(seconds, setting.left()):
        for _ in range(1 if setting.small else 10):
            step()
            steps += 1
        wait(setting.device)
    return steps * count / (time.perf_counter() - began)


@torch.inference_mode(mode=False)
def gflop(recipe: Recipe) -> tuple[float, float]:
    """GFLOP of one image, counted by torch on tensors without content: in training (forth and back), in search."""
    with torch.device("meta"):
        network = build_network(recipe.network)
        images = torch.zeros(2, 3, recipe.images.height, recipe.images.width)
    with FlopCounterMode(display=False) as forth, torch.no_grad():
        network.eval()(images)
    with FlopCounterMode(display=False) as both, torch.enable_grad():
        features = network.train()(images)
        (features.f_t.sum() + features.f_i.sum()).backward()
    return both.get_total_flops() / 2e9, forth.get_total_flops() / 2e9


def matrix_rate(setting: Setting, dtype: torch.dtype, *, tf32: bool = False) -> float:
    """TFLOP/s of a large square product, of random numbers: zeros would let the chip clock higher."""
    torch.backends.cuda.matmul.allow_tf32 = tf32
    size = 256 if setting.small else 8192
    a, b = (torch.randn(size, size, device=setting.device).to(dtype) for _ in range(2))
    try:
        return rate(setting, lambda: a @ b, 2 * size**3, 1.0) / 1e12
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def peak(name: str) -> float | None:
    """The bf16 rate of a device's data sheet in TFLOP/s, None for one that is not in the table."""
    return next((value for part, value in PEAKS.items() if part in name), None)


def images_in_memory(setting: Setting) -> tuple[MappedImages, np.ndarray[Any, Any]]:
    """Random pixels at the size of the recipe, and who they show: what a decoded training set is to the batches."""
    from reidkit.data.sources import MappedImages

    people, each = (8, 6) if setting.small else (PEOPLE, 6)
    size = setting.recipe.images
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (people * each, size.height, size.width, 3), dtype=np.uint8)
    labels = np.repeat(np.arange(people), each)
    samples = [Sample(Path(f"{i}.jpg"), int(pid), i % 6) for i, pid in enumerate(labels)]
    return MappedImages(pixels, samples, np.arange(len(samples))), labels
