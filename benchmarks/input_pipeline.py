"""How many images a second one core makes ready, from synthetic JPEG files to normalised batches.

Counts CPU seconds of all threads together, so that other work on the machine matters little.
Run: `python benchmarks/input_pipeline.py [--images N] [--json]`; takes less than a minute.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from reidkit.data import transforms
from reidkit.data.decode import decode
from reidkit.data.images import open_images
from reidkit.data.loaders import build_batches, eval_batches
from reidkit.data.sampler import PKSampler
from reidkit.recipe import Erasing, Recipe
from reidkit.types import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from reidkit.data.sources import ImageSource

HEIGHT, WIDTH, BATCH = 256, 128, 64
SIZE = (HEIGHT, WIDTH)
RECIPE = replace(Recipe(), erasing=Erasing(probability=0.5))
CPU = torch.device("cpu")


def make_jpegs(folder: Path, count: int) -> list[Sample]:
    """Files of Market-1501's size, 128 x 64; smooth noise, so that they are as large in bytes as photos (3 kB)."""
    rng = np.random.default_rng(0)
    samples = []
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (16, 8, 3), dtype=np.uint8))
        fine = np.asarray(coarse.resize((64, 128), Image.Resampling.BICUBIC)) // 2 + rng.integers(
            0, 24, (128, 64, 3), dtype=np.uint8
        )
        path = folder / f"{i:05}.jpg"
        Image.fromarray(fine.astype(np.uint8)).save(path, quality=80)
        samples.append(Sample(path, i // 17, 0))
    return samples


def seconds(work: Callable[[], object], at_least: float = 0.5) -> float:
    """CPU seconds of one call: the mean of as many as fill `at_least` seconds, after one that does not count."""
    work()
    calls, began = 0, time.process_time()
    while (spent := time.process_time() - began) < at_least or not calls:
        work()
        calls += 1
    return spent / calls


def drain(batches: Iterable[object]) -> None:
    for _ in batches:
        pass


def time_decoding(samples: list[Sample], folder: Path) -> dict[str, float]:
    def build() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        open_images(samples, SIZE, cache_dir=folder)

    def by_pillow(resize: bool) -> None:
        for sample in samples:
            image = Image.open(str(sample.path)).convert("RGB")
            np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR) if resize else image)

    def decode_only() -> None:
        for sample in samples:
            decode(sample.path)

    count = len(samples)
    return {
        "decode": count / seconds(decode_only),
        "decode, Pillow": count / seconds(lambda: by_pillow(resize=False)),
        "decode, resize, write the cache": count / seconds(build),
        "decode and resize, Pillow": count / seconds(lambda: by_pillow(resize=True)),
        "check that a cache is fresh": count / seconds(lambda: open_images(samples, SIZE, cache_dir=folder)),
    }


def time_stages(source: ImageSource) -> dict[str, float]:
    rng = np.random.default_rng(1)
    pixels = np.empty((BATCH, HEIGHT, WIDTH, 3), dtype=np.uint8)
    augmentation = transforms.build_augmentation(RECIPE.images, RECIPE.erasing)
    params = augmentation.sample(rng, BATCH, SIZE)
    ready = transforms.normalise(torch.from_numpy(pixels))

    def crop_flip() -> None:
        transforms.crop_flip(source, rng.integers(0, len(source), BATCH), params, RECIPE.images.pad, pixels)

    def erase(fill: transforms.Fill) -> None:
        transforms.erase(ready, params.boxes, fill, params.noise)

    return {
        "draw": BATCH / seconds(lambda: augmentation.sample(rng, BATCH, SIZE)),
        "flip, pad, crop (uint8)": BATCH / seconds(crop_flip),
        "normalise": BATCH / seconds(lambda: transforms.normalise(torch.from_numpy(pixels))),
        "normalise, torch": BATCH / seconds(lambda: transforms.normalise_by_torch(torch.from_numpy(pixels))),
        "erase half of them: code": BATCH / seconds(lambda: erase("code")),
        "erase half of them: image-mean": BATCH / seconds(lambda: erase("image-mean")),
        "erase half of them: random": BATCH / seconds(lambda: erase("random")),
    }


def time_batches(source: ImageSource, pids: NDArray[np.int64]) -> dict[str, float]:
    batches = build_batches(source, pids, RECIPE, 0, CPU)
    return {
        "training batches": batches.count(1) * BATCH / seconds(lambda: drain(batches.epoch(1)), 2.0),
        "evaluation batches": len(source) / seconds(lambda: drain(eval_batches(source, BATCH, CPU)), 1.0),
    }


def time_sampler() -> dict[str, float]:
    pids = np.random.default_rng(0).integers(0, 100_000, 1_000_000)
    return {
        "an epoch's order, chunks": len(pids) / seconds(lambda: PKSampler(pids).epoch(1)),
        "an epoch's order, once": len(pids) / seconds(lambda: PKSampler(pids, visits="once").epoch(1)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2048, help="JPEG files to make (default 2048)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="reidkit-bench-") as name:
        folder = Path(name)
        samples = make_jpegs(folder, arguments.images)
        size = sum(len(sample.path.read_bytes()) for sample in samples) / len(samples)
        rates = time_decoding(samples, folder / "cache")
        source = open_images(samples, SIZE, cache_dir=folder / "cache")
        rates |= time_stages(source)
        rates |= time_batches(source, np.array([sample.pid for sample in samples]))
        rates |= time_sampler()
    if arguments.json:
        print(json.dumps({"images_per_cpu_second": {key: round(rate) for key, rate in rates.items()}}))
        return
    print(f"{HEIGHT} x {WIDTH} from JPEG files of 128 x 64 ({size:.0f} bytes), images per CPU second")
    for key, rate in rates.items():
        print(f"{key:34} {rate:12,.0f} {1e6 / rate:9.1f} us")


if __name__ == "__main__":
    main()
