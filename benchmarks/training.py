"""Training speed beside a plain loop, on the CPU: images per CPU second, and the share of the machine's matrix rate.

The plain loop is what a straightforward program does: images decoded and augmented one by one with Pillow as float
tensors, NCHW memory, the default allocator, Adam. Ours is `reidkit.train`'s own step on its own batches. Both train the
same network on the same images with the same losses, in processes of their own, in turn.

Run: `python benchmarks/training.py [--data DIR] [--recipe NAME] [--steps N] [--rounds N] [--json]`.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from reidkit.data.cache import open_images
from reidkit.data.detect import open_benchmark
from reidkit.data.loaders import TrainBatches
from reidkit.data.sampler import pk_batches
from reidkit.data.transforms import MEAN, STD
from reidkit.losses.objective import Objective
from reidkit.model.network import Network, build
from reidkit.recipes import find
from reidkit.synth import draw_dataset
from reidkit.train.loop import build_optimizer
from reidkit.train.memory import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from reidkit.recipe import Recipe
    from reidkit.types import Sample

WARM = 2
"""Steps before the clock starts."""


def plain_batches(
    samples: Sequence[Sample], labels: np.ndarray[Any, Any], recipe: Recipe
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches as a straightforward program makes them: one image after the other, in floats."""
    rng, size, erasing = random.Random(0), recipe.images, recipe.erasing
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    for batch in pk_batches(labels, recipe.batch, 0, 1):
        images = []
        for index in batch:
            with Image.open(str(samples[int(index)].path)) as file:
                image = file.convert("RGB").resize((size.width, size.height), Image.Resampling.BILINEAR)
            if rng.random() < size.flip:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            wide = Image.new("RGB", (size.width + 2 * size.pad, size.height + 2 * size.pad))
            wide.paste(image, (size.pad, size.pad))
            left, top = rng.randint(0, 2 * size.pad), rng.randint(0, 2 * size.pad)
            cropped = np.asarray(wide.crop((left, top, left + size.width, top + size.height)))
            tensor = (torch.from_numpy(cropped.copy()).permute(2, 0, 1).contiguous().float() / 255 - mean) / std
            if rng.random() < erasing.probability:
                high, broad = size.height // 3, size.width // 3
                y, x = rng.randint(0, size.height - high), rng.randint(0, size.width - broad)
                tensor[:, y : y + high, x : x + broad] = 0.45
            images.append(tensor)
        yield torch.stack(images), torch.from_numpy(labels[batch])


def our_batches(
    samples: Sequence[Sample], labels: np.ndarray[Any, Any], recipe: Recipe, cache: Path
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches as `reidkit train` makes them."""
    source = open_images(samples, recipe.images, cache)
    return TrainBatches(source, labels, recipe, 0, torch.device("cpu")).epoch(1)


def child(which: str, data: Path, recipe: Recipe, steps: int, cache: Path) -> None:
    """Train for some steps and print how much time they took."""
    samples = open_benchmark(data).train
    people, labels = np.unique([sample.pid for sample in samples], return_inverse=True)
    torch.manual_seed(0)
    network = build(recipe.network).train()
    objective = Objective(recipe, network.channels, len(people))
    if which == "ours":
        keep_freed_memory()
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer, batches = (
            build_optimizer(network, objective, recipe.optim),
            our_batches(samples, labels, recipe, cache),
        )
    else:
        learned = [p for module in (network, objective) for p in module.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(learned, lr=recipe.optim.lr, weight_decay=recipe.optim.weight_decay)
        batches = plain_batches(samples, labels, recipe)
    wall = cpu = 0.0
    images_done = 0
    for number, (images, pids) in zip(range(WARM + steps), batches, strict=False):
        if number == WARM:
            wall, cpu = time.perf_counter(), time.process_time()
        images_done += len(images) if number >= WARM else 0
        metric, search = network(images)
        terms = objective(metric, search, pids)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        objective.step()
    print(json.dumps({"images": images_done, "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}))


def flops(network: Network, recipe: Recipe) -> float:
    """GFLOP of one image in training: the forward pass, and twice as much back."""
    with FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, 3, recipe.images.height, recipe.images.width))
    return float(3 * counter.get_total_flops() / 1e9)


def matrix_rate() -> float:
    """GFLOP in a CPU second of the largest plain matrix product."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    _ = a @ b
    began = time.process_time()
    for _ in range(4):
        _ = a @ b
    return 4 * 2 * 2048**3 / 1e9 / (time.process_time() - began)


def main() -> None:
    """Alternate the two, and print both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="a data set; without one, synthetic people are drawn")
    parser.add_argument("--recipe", default="short-strong-baseline")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", choices=("ours", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    recipe = find(options.recipe)
    if options.child:
        child(options.child, options.data, recipe, options.steps, options.cache)
        return
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or Path(folder) / "people"
        if not options.data:
            draw_dataset(data, 80, 6, 0)
        common = ["--data", str(data), "--recipe", options.recipe, "--steps", str(options.steps), "--cache", folder]
        rounds: dict[str, list[dict[str, float]]] = {"ours": [], "plain": []}
        for _ in range(options.rounds):
            for which, found in rounds.items():
                call = [sys.executable, __file__, "--child", which, *common]
                found.append(json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout))
    report(rounds, flops(build(recipe.network), recipe), as_json=options.json)


def report(rounds: dict[str, list[dict[str, float]]], gflop: float, *, as_json: bool) -> None:
    """Medians of the rounds, the ratio pair by pair, and the share of the matrix rate."""
    rate = matrix_rate()
    per_cpu = {which: [run["images"] / run["cpu"] for run in found] for which, found in rounds.items()}
    ratios = [ours / plain for ours, plain in zip(per_cpu["ours"], per_cpu["plain"], strict=True)]
    result = {
        "images_per_cpu_s": {which: round(median(values), 2) for which, values in per_cpu.items()},
        "images_per_s": {w: round(median(r["images"] / r["wall"] for r in found), 2) for w, found in rounds.items()},
        "ratio": round(median(ratios), 2),
        "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "gflop_per_image": round(gflop, 2),
        "gflops_per_core": round(median(per_cpu["ours"]) * gflop, 1),
        "matrix_gflops_per_core": round(rate, 1),
        "share_of_matrix_rate": round(median(per_cpu["ours"]) * gflop / rate, 3),
    }
    if as_json:
        print(json.dumps(result, indent=2))
        return
    for key, value in result.items():
        print(f"{key:24}{value}")


if __name__ == "__main__":
    main()
