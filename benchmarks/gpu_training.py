"""Training rates for `benchmarks/gpu.py`: one change after the other, from plain float32 to all that reidkit does.

Beside them a plain loop: images augmented one by one with Pillow in worker processes, as the authors' program does it.
"""

from __future__ import annotations

import itertools
import random
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_setting import PEOPLE, Setting, gflop, images_in_memory, rate, wait
from benchmarks.step import Way, build_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from reidkit.model.network import Network
    from reidkit.recipe import Recipe
    from reidkit.types import Sample

SECONDS = 5.0
"""How long each rate is measured."""


@dataclass(frozen=True, kw_only=True)
class Variant(Way):
    """One way to train. `mode`: of `torch.compile`, "" for none."""

    name: str
    tf32: bool = False
    resident: bool = False
    mode: str = ""


PLAIN = Variant(name="float32, NCHW")
TF32 = replace(PLAIN, name="+ TF32", tf32=True)
LAST = replace(TF32, name="+ channels last", channels_last=True)
BF16 = replace(LAST, name="+ bf16", precision=torch.bfloat16)
FUSED = replace(BF16, name="+ fused Adam", fused=True)
RESIDENT = replace(FUSED, name="+ images on the device", resident=True)
COMPILED = replace(RESIDENT, name="+ compiled", mode="default")
LADDER = (PLAIN, TF32, LAST, BF16, FUSED, RESIDENT, COMPILED)
MODES = tuple(replace(COMPILED, name=m, mode=m) for m in ("reduce-overhead", "max-autotune-no-cudagraphs"))


def next_step(setting: Setting, variant: Variant, batches: Iterator[tuple[Tensor, Tensor]]) -> Callable[[], None]:
    """A step on the next batch in this variant."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = variant.tf32
    torch.backends.cudnn.benchmark = True

    def compiled(network: Network) -> None:
        if variant.mode:
            mode = None if variant.mode == "default" or setting.small else variant.mode
            network.compile(backend=setting.backend, mode=mode)

    step = build_step(setting.recipe, PEOPLE, setting.device, variant, compiled)
    return lambda: step(*next(batches))


def endless(setting: Setting, *, resident: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Epoch after epoch of reidkit's own batches, of images that are in memory."""
    from reidkit.data.loaders import build_batches

    source, labels = images_in_memory(setting)
    batches = build_batches(source, labels, setting.recipe, 0, setting.device)
    batches.resident = resident
    for epoch in itertools.count(1):
        yield from batches.epoch(epoch)


def measure(setting: Setting, variant: Variant) -> dict[str, Any]:
    """Images a second, TFLOP/s, peak memory, and how long the first step took: what compiling and trials cost."""
    count = setting.recipe.batch.ids * setting.recipe.batch.images
    if setting.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    batches = endless(setting, resident=variant.resident)
    try:
        step = next_step(setting, variant, batches)
        began = time.perf_counter()
        step()
        wait(setting.device)
        first = time.perf_counter() - began
        found = rate(setting, step, count, 0.2 if setting.small else SECONDS)
    finally:
        batches.close()  # type: ignore[attr-defined]
    tflops = found * gflop(setting.recipe)[0] / 1e3
    memory = torch.cuda.max_memory_allocated() >> 20 if setting.device.type == "cuda" else None
    return {"images_per_s": found, "tflops": tflops, "first_step_s": first, "memory_mb": memory}


def ladder(setting: Setting, variants: tuple[Variant, ...] = LADDER) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each variant; one that fails says why, and the next one is measured. Later ones are left out for want of time."""
    for variant in variants:
        if setting.left() < 20:
            yield variant.name, {"failed": "left out: the time is spent"}
            continue
        try:
            yield variant.name, measure(setting, variant)
        except Exception as error:  # a device may lack what one variant needs
            yield variant.name, {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}
        finally:
            torch.compiler.reset()


def waits(setting: Setting) -> dict[str, Any]:
    """How often the host waits for the device in ten steps, as torch itself counts it; 0 is what is wanted."""
    if setting.device.type != "cuda":
        return {"failed": "left out: a CPU has nothing to wait for"}
    batches = endless(setting, resident=True)
    step = next_step(setting, RESIDENT, batches)
    for _ in range(3):
        step()
    wait(setting.device)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            for _ in range(10):
                step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    batches.close()  # type: ignore[attr-defined]
    where = sorted({f"{Path(w.filename).name}:{w.lineno}" for w in caught if "synchroniz" in str(w.message)})
    return {"waits_in_ten_steps": sum("synchroniz" in str(w.message) for w in caught), "where": where}


def host(setting: Setting) -> dict[str, Any]:
    """Milliseconds of a step: by the clock, in kernels on the device, and in the host's costliest calls.

    Where the device is busy for far less than a step takes, the host is what a run waits for. The profiler itself
    slows the host down, so that the clock runs without it.
    """
    steps = 2 if setting.small else 10
    cuda = setting.device.type == "cuda"
    batches = endless(setting, resident=True)
    step = next_step(setting, RESIDENT, batches)
    per_s = rate(setting, step, 1, 0.1 if setting.small else SECONDS / 2)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as trace:
        for _ in range(steps):
            step()
        wait(setting.device)
    batches.close()  # type: ignore[attr-defined]
    rows = trace.key_averages()
    costly = sorted(rows, key=lambda row: row.self_cpu_time_total, reverse=True)[:12]
    return {
        "step_ms": 1e3 / per_s,
        "device_ms": sum(row.self_device_time_total for row in rows) / steps / 1e3 if cuda else None,
        "launches": sum(row.count for row in rows if row.key.startswith("cudaLaunch")) / steps,
        "host_ms_profiled": {row.key: row.self_cpu_time_total / steps / 1e3 for row in costly},
    }


class OneByOne(torch.utils.data.Dataset[tuple["Tensor", int]]):
    """Images as the authors' program reads them: each opened, resized and augmented by Pillow, in floats."""

    def __init__(self, samples: Sequence[Sample], labels: np.ndarray[Any, Any], recipe: Recipe) -> None:
        self.samples, self.labels, self.recipe = samples, labels, recipe

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from benchmarks.plain import plain_image

        return plain_image(self.samples[index], self.recipe, random.Random()), int(self.labels[index])


def plain_loop(setting: Setting, *, tf32: bool) -> dict[str, Any]:
    """A plain float32 loop over files: worker processes, NCHW, Adam as it comes, the loss read at every step."""
    from reidkit.data.sampler import PKSampler

    with tempfile.TemporaryDirectory() as folder:
        samples = _files(setting, Path(folder))
        _, labels = np.unique([sample.pid for sample in samples], return_inverse=True)
        # What loads is the batches of one epoch, several times over, so that the workers never run dry of work.
        order = [
            batch.tolist()
            for batch in PKSampler(labels, setting.recipe.batch.ids, setting.recipe.batch.images).epoch(1)
        ]
        loader = torch.utils.data.DataLoader(
            OneByOne(samples, labels, setting.recipe),
            batch_sampler=order * (2000 // len(order) + 1),
            num_workers=1 if setting.small else setting.workers,
        )
        moved = ((x.to(setting.device), y.to(setting.device)) for x, y in loader)
        step = next_step(setting, replace(PLAIN, tf32=tf32), moved)
        found = rate(setting, step, len(order[0]), 0.2 if setting.small else 2 * SECONDS)
    return {"images_per_s": found, "workers": setting.workers}


def _files(setting: Setting, folder: Path) -> Sequence[Sample]:
    """The training images of the data set, or files of the same size with noise in them."""
    from PIL import Image

    from reidkit.types import Sample

    if setting.data:
        from reidkit.data.formats.detect import load_dataset

        return load_dataset(setting.data).train
    rng = np.random.default_rng(0)
    samples = []
    for i in range(48 if setting.small else 1024):
        coarse = Image.fromarray(rng.integers(0, 256, (16, 8, 3), dtype=np.uint8))
        coarse.resize((64, 128), Image.Resampling.BICUBIC).save(folder / f"{i:04}.jpg", quality=80)
        samples.append(Sample(folder / f"{i:04}.jpg", i // 6, 0))
    return tuple(samples)
