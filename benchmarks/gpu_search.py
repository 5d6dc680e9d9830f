"""Embedding rates, scoring, and one whole training run, for `benchmarks/gpu.py`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.gpu_setting import Setting, gflop, images_in_memory, rate
from reidkit.model.fuse import fuse_batch_norms
from reidkit.model.network import build_network
from reidkit.train.log import Callback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from reidkit.metrics.retrieval import Scores
    from reidkit.types import Embeddings

MARKET = (3_368, 15_913)
"""Queries and gallery of Market-1501's test."""

MSMT17 = (11_659, 82_161)
"""The same of MSMT17."""

SPREAD = 3.5
"""How long the noise of made features is, beside the vectors of ids: the longer, the deeper lie the last matches."""

EVALUATING = 15.0
"""Seconds that are reserved for evaluating a trained network."""


def networks(setting: Setting) -> Iterator[tuple[str, torch.dtype, Callable[[], nn.Module]]]:
    """Each way to run a network for search: name, precision, and how to make it."""
    plain = build_network(setting.recipe.network).eval().to(setting.device)

    def compiled() -> nn.Module:
        made = fuse_batch_norms(plain)
        made.compile(backend=setting.backend)
        return made

    yield "float32, NCHW", torch.float32, lambda: plain
    yield "float32, folded, channels last", torch.float32, lambda: fuse_batch_norms(plain)
    yield "bf16, folded, channels last", torch.bfloat16, lambda: fuse_batch_norms(plain)
    yield "bf16, folded, channels last, compiled", torch.bfloat16, compiled


@torch.inference_mode()
def embedding(setting: Setting) -> Iterator[tuple[str, dict[str, Any]]]:
    """Images a second by variant and by batch size, the images being there already and normalised."""
    size, sizes = setting.recipe.images, (4, 8) if setting.small else (64, 256, 512, 1024)
    work = gflop(setting.recipe)[1]
    for name, precision, make in networks(setting):
        network = make()
        found: dict[str, Any] = {}
        for batch in sizes if "compiled" not in name else sizes[-2:-1]:
            if setting.left() < 20:
                break
            images = torch.randn(batch, 3, size.height, size.width, device=setting.device)
            images = images if "NCHW" in name else images.contiguous(memory_format=torch.channels_last)
            with torch.autocast(setting.device.type, dtype=precision, enabled=precision != torch.float32):
                per_s = rate(setting, lambda n=network, x=images: n(x), batch, 0.1 if setting.small else 2.0)  # type: ignore[misc]
            found[f"batch {batch}"] = per_s
        best = max(found.values(), default=0.0)
        yield name, {"images_per_s": best, "tflops": best * work / 1e3, **found}
        torch.compiler.reset()


def reading_and_embedding(setting: Setting) -> dict[str, Any]:
    """`reidkit`'s own way from decoded images in memory to features on the host, as `reidkit evaluate` goes it."""
    from reidkit.data.loaders import eval_batches
    from reidkit.encoder import embed
    from reidkit.hardware import choose_batch, choose_precision

    source, _ = images_in_memory(setting)
    network = build_network(setting.recipe.network).to(setting.device)
    precision = choose_precision("auto", setting.device)
    batch = choose_batch(setting.device)

    def run() -> None:
        embed(network, eval_batches(source, batch, setting.device), precision)

    run()
    began = time.perf_counter()
    run()
    return {"images_per_s": len(source) / (time.perf_counter() - began), "batch": batch}


def scoring(setting: Setting) -> Iterator[tuple[str, dict[str, Any]]]:
    """Seconds for distances and scores at Market-1501's and MSMT17's size: by the host's cores and on the device.

    Features are those of ids with some spread, so that about as many images are nearer than the farthest match as a
    fair network has. On the device they come from the host, as `reidkit evaluate` has them, or are there already.
    """
    from reidkit.metrics.retrieval import score_features

    sizes = {"20 x 60": (20, 60)} if setting.small else {"Market-1501": MARKET, "MSMT17": MSMT17}
    score_features(*crowd(20, 60))  # the host's loops are compiled, or loaded
    for name, (queries, gallery) in sizes.items():
        query, shown = crowd(queries, gallery)
        on_device = [_moved(x, setting.device) for x in (query, shown)]
        ways: dict[str, Callable[[], Scores]] = {
            "on the device, from the host": lambda q=query, g=shown: score_features(q, g, device=setting.device),  # type: ignore[misc]
            "on the device": lambda some=on_device: score_features(*some, device=setting.device),  # type: ignore[misc]
            "on the host": lambda q=query, g=shown: score_features(q, g),  # type: ignore[misc]
        }
        found: dict[str, Any] = {"queries": queries, "gallery": gallery}
        scores = []
        for way, run in ways.items():
            if way != "on the host":
                run()  # kernels are loaded, memory is asked for
            if setting.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(setting.device)
            began = time.perf_counter()
            scores.append(run().as_json())
            found[f"seconds {way}"] = time.perf_counter() - began
            if setting.device.type == "cuda" and way == "on the device":
                found["peak_mb"] = torch.cuda.max_memory_allocated(setting.device) >> 20
        found["map"] = scores[0]["map"]
        found["same_scores"] = all(one == scores[0] for one in scores)
        yield name, found


def crowd(queries: int, gallery: int) -> tuple[Embeddings, Embeddings]:
    """Features of 2,048 numbers, 20 gallery images a person: a point for each person, and noise around it."""
    from reidkit.types import Embeddings

    rng = np.random.default_rng(0)
    people = gallery // 20
    centres = rng.standard_normal((people, 2048), dtype=np.float32)

    def some(count: int) -> Embeddings:
        pids = rng.integers(0, people, count)
        vectors = centres[pids] + SPREAD * rng.standard_normal((count, 2048), dtype=np.float32)
        return Embeddings(vectors, pids, rng.integers(0, 6, count))

    return some(queries), some(gallery)


def _moved(given: Embeddings, device: torch.device) -> Embeddings:
    from reidkit.types import Embeddings

    vectors: Any = torch.from_numpy(given.vectors).to(device)
    return Embeddings(vectors, given.pids, given.camids)


class Clock(Callback):
    """Watches a run's log, and breaks the run off as soon as the rest of it will not fit into the time that is left."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.rows: list[dict[str, Any]] = []

    def on_epoch(self, row: dict[str, Any]) -> None:
        """Take in the row of an epoch.

        Raises:
            RunError: the rest will not fit.
        """
        self.rows.append(row)
        if row["epoch"] <= 2:  # slow ones: compiling, trials of convolutions
            return
        missing, left = row["seconds"] * (self.setting.recipe.optim.epochs - row["epoch"]), self.setting.left()
        if missing > left - EVALUATING:
            from reidkit.errors import RunError

            rate = f"{row['images_per_s']:.0f} images/s, so the rest would take {missing:.0f} s"
            raise RunError(f"broken off after epoch {row['epoch']}: {rate}, and {left:.0f} s are left")


def whole_run(setting: Setting) -> dict[str, Any]:
    """A run on the data set from the decoding to the scores.

    Raises:
        ReidkitError: the data or the weights are not what they should be, or the time will not do.
    """
    import reidkit as rk

    if setting.data is None:
        return {"failed": "left out: name a data set with --data"}
    began, clock = time.perf_counter(), Clock(setting)
    options = rk.TrainOptions(device=str(setting.device), cache_dir=setting.out / "cache", save_every=1000)
    outcome = rk.train(
        setting.recipe,
        setting.data,
        out=setting.out / "run",
        weights=setting.weights,
        options=options,
        callbacks=(clock,),
    )
    evaluation = outcome.evaluation
    return {
        "seconds": time.perf_counter() - began,
        "epochs": len(clock.rows),
        "trained_on": outcome.description,
        "median_images_per_s": float(np.median([row["images_per_s"] for row in clock.rows])),
        "longest_wait_share": max(row["wait_share"] for row in clock.rows),
        "evaluation_seconds": evaluation.seconds if evaluation else None,
        "scores": evaluation.scores.as_json() if evaluation else {},
    }
