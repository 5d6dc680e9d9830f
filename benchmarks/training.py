"""Training speed beside a plain loop, on the CPU: images per CPU second, and the share of the machine's matrix rate.

The plain loop is what a straightforward program does: images decoded and augmented one by one with Pillow as float
tensors, NCHW memory, the default allocator, Adam, float32. Ours is `reidkit.train`'s own step on its own batches, in
the precision that `reidkit train` chooses for this machine, and in float32 where that is another. All train the same
network on the same images with the same losses, in processes of their own, in turn.

The matrix rate is that of each process's own precision, the better one of torch's product and oneDNN's, taken just
after the steps. With other work on the machine set OMP_NUM_THREADS=1: threads that wait for each other count as busy.

Run: `python -m benchmarks.training [--data DIR] [--recipe NAME] [--steps N] [--rounds N] [--json]`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.plain import plain_batches
from benchmarks.step import Way, build_step
from reidkit.data.formats.detect import load_dataset
from reidkit.data.images import open_images
from reidkit.data.loaders import build_batches
from reidkit.hardware import choose_precision
from reidkit.model.network import Network, build_network
from reidkit.recipes import get_recipe
from reidkit.synth import synthesize
from reidkit.train.device import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from reidkit.recipe import Recipe
    from reidkit.types import Sample

WARM = 2
"""Steps before the clock starts."""

WHICH = ("ours", "ours-fp32", "plain")

CPU = torch.device("cpu")


def our_batches(
    samples: Sequence[Sample], labels: np.ndarray[Any, Any], recipe: Recipe, cache: Path
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches as `reidkit train` makes them."""
    source = open_images(samples, recipe.images.size, cache_dir=cache)
    return build_batches(source, labels, recipe, 0, torch.device("cpu")).epoch(1)


def way(which: str) -> Way:
    """How that process trains: `plain`, `ours` in the precision of this machine, or `ours-fp32`."""
    ours = which != "plain"
    return Way(channels_last=ours, fused=ours, precision=precision(which))


def precision(which: str) -> torch.dtype:
    """What that process computes in."""
    return choose_precision("auto", CPU) if which == "ours" else torch.float32


def child(which: str, data: Path, recipe: Recipe, steps: int, cache: Path) -> None:
    """Train for some steps and print how much time they took, where it went, and the matrix rate."""
    samples = load_dataset(data).train
    people, labels = np.unique([sample.pid for sample in samples], return_inverse=True)
    if which != "plain":
        prepare(CPU)
    step = build_step(recipe, len(people), CPU, way(which))
    batches = plain_batches(samples, labels, recipe)
    if which != "plain":
        batches = our_batches(samples, labels, recipe, cache)
    for images, pids in itertools.islice(batches, WARM):
        step(images, pids)
    wall, cpu, done = time.perf_counter(), time.process_time(), 0
    for images, pids in itertools.islice(batches, steps):
        step(images, pids)
        done += len(images)
    found: dict[str, Any] = {"images": done, "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    found["matrix"] = matrix_rate(precision(which))
    found["parts"] = shares(lambda: step(images, pids))
    print(json.dumps(found))


KINDS = (
    ("convolution, forward", ("aten::mkldnn_convolution",)),
    ("convolution, backward", ("aten::convolution_backward",)),
    ("batch norm", ("aten::native_batch_norm", "aten::native_batch_norm_backward")),
    ("ReLU", ("aten::clamp_min_", "aten::threshold_backward")),
    ("sums", ("aten::add", "aten::add_")),
    ("casts and copies", ("aten::copy_",)),
    ("fused optimiser", ("aten::_fused_adam_",)),
)
"""What a step is made of, by torch's names of operations; what is none of them is the rest, a plain Adam's too."""


def shares(step: Callable[[], None]) -> dict[str, float]:
    """The share of a step's time that goes into each kind of operation, by torch's profiler."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step()
    times = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
    total = sum(times.values())
    exact = {name: kind for kind, names in KINDS for name in names}
    found = dict.fromkeys((*(kind for kind, _ in KINDS), "rest"), 0.0)
    for name, spent in times.items():
        found[exact.get(name, "rest")] += spent / total
    return found


def flops(network: Network, recipe: Recipe) -> float:
    """GFLOP of one image in training: the forward pass, and twice as much back."""
    with FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, 3, recipe.images.height, recipe.images.width))
    return float(3 * counter.get_total_flops() / 1e9)


def matrix_rate(dtype: torch.dtype) -> float:
    """GFLOP in a CPU second of a large product in that precision, by torch or by oneDNN, whichever is faster."""
    a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    onednn = torch.ops.mkldnn._linear_pointwise
    ways: tuple[Callable[[], Tensor], ...] = (lambda: a @ b, lambda: onednn(a, b, None, "none", [], ""))
    return max(2 * 2048**3 / 1e9 / min(_cpu_seconds(way) for _ in range(4)) for way in ways)


def _cpu_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    """Alternate them, and print all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="a data set; without one, synthetic people are drawn")
    parser.add_argument("--recipe", default="short-strong-baseline")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", choices=WHICH, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    recipe = get_recipe(options.recipe)
    if options.child:
        child(options.child, options.data, recipe, options.steps, options.cache)
        return
    rounds: dict[str, list[dict[str, Any]]] = {which: [] for which in WHICH}
    if precision("ours") == torch.float32:
        del rounds["ours-fp32"]
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or Path(folder) / "people"
        if not options.data:
            synthesize(data, 80, 6, 0)
        common = ["--data", str(data), "--recipe", options.recipe, "--steps", str(options.steps), "--cache", folder]
        for _ in range(options.rounds):
            for which, found in rounds.items():
                call = [sys.executable, "-m", "benchmarks.training", "--child", which, *common]
                found.append(json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout))
    result = {
        which: figures(runs, rounds["plain"], flops(build_network(recipe.network), recipe), precision(which))
        for which, runs in rounds.items()
    }
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print("\n".join(f"{which}: {key} {value}" for which, made in result.items() for key, value in made.items()))


def figures(
    runs: list[dict[str, Any]], plain: list[dict[str, Any]], gflop: float, dtype: torch.dtype
) -> dict[str, Any]:
    """Medians of the rounds, the ratio to the plain loop pair by pair, and the share of the matrix rate."""
    per_cpu = [run["images"] / run["cpu"] for run in runs]
    ratios = [ours * other["cpu"] / other["images"] for ours, other in zip(per_cpu, plain, strict=True)]
    parts = {kind: median(run["parts"][kind] for run in runs) for kind in runs[0]["parts"]}
    convolving = [sum(share for kind, share in run["parts"].items() if "convolution" in kind) for run in runs]
    rates = [per_s * gflop for per_s in per_cpu]
    return {
        "precision": str(dtype).removeprefix("torch."),
        "images_per_cpu_s": round(median(per_cpu), 2),
        "images_per_s": round(median(run["images"] / run["wall"] for run in runs), 2),
        "times_the_plain_loop": round(median(ratios), 2),
        "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "gflop_per_image": round(gflop, 2),
        "gflops_per_core": round(median(rates), 1),
        "matrix_gflops_per_core": round(median(run["matrix"] for run in runs), 1),
        "share_of_matrix_rate": round(median(r / run["matrix"] for r, run in zip(rates, runs, strict=True)), 3),
        "convolutions_share_of_matrix_rate": round(
            median(r / c / run["matrix"] for r, c, run in zip(rates, convolving, runs, strict=True)), 3
        ),
        "share_of_step": {kind: round(share, 3) for kind, share in parts.items()},
    }


if __name__ == "__main__":
    main()
