"""What scores cost beside the product of the features, on synthetic features of Market-1501's size.

The product alone is made by the quickest routine in single precision that is found here; the peak is the measured clock
times what the widest registers do in a cycle with two units that multiply and add (16 or 32 operations a register).
Counts CPU seconds of all threads together, so that other work on the machine matters little.
Run: `OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/scoring.py [--json]`; takes half a minute.
`--million N` searches a million images in a memory map for N queries instead, and gives the largest memory.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from llvmlite.binding import get_host_cpu_features

from reidkit.jit import compiled
from reidkit.metrics import distances
from reidkit.metrics.distances import distance_blocks, gallery_rows
from reidkit.metrics.products import Host, Wide, is_exact
from reidkit.metrics.retrieval import score_distances, score_features
from reidkit.types import Embeddings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from reidkit.metrics.products import Multiplier

QUERIES, GALLERY, WIDTH, PEOPLE, CAMERAS = 3368, 15913, 2048, 750, 6
DISTRACTORS = 2798
SAMPLE = 200
LATENT = 48


class World:
    """People, cameras and images that differ in how hard they are, in a few dimensions, shown in many."""

    def __init__(self, people: int, width: int) -> None:
        self.rng = np.random.default_rng(0)
        self.people = self.rng.standard_normal((people, LATENT), dtype=np.float32)
        self.cameras = 0.3 * self.rng.standard_normal((CAMERAS, LATENT), dtype=np.float32)
        self.shown = self.rng.standard_normal((LATENT, width), dtype=np.float32)

    def images(self, pids: NDArray[np.int64], camids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Features of images; whoever has pid 0 is somebody new in each."""
        strangers = self.rng.standard_normal((len(pids), LATENT), dtype=np.float32)
        person = np.where(pids[:, None] > 0, self.people[pids], strangers)
        hard = self.rng.lognormal(-0.45, 0.35, (len(pids), 1)).astype(np.float32)
        noise = hard * self.rng.standard_normal((len(pids), LATENT), dtype=np.float32)
        features: NDArray[np.float32] = (person + self.cameras[camids] + noise) @ self.shown
        return features

    def embeddings(self, pids: NDArray[np.int64]) -> Embeddings:
        """Images of these people by cameras at random."""
        camids = self.rng.integers(0, CAMERAS, len(pids))
        return Embeddings(self.images(pids, camids), pids, camids)


def cpu_seconds(work: Callable[[], object], calls: int = 2) -> float:
    """CPU seconds of the quickest of some calls."""
    taken = []
    for _ in range(calls):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


def product(multiplier: Multiplier, query: NDArray[np.float32], gallery: NDArray[np.float32]) -> None:
    """The product alone, in the same blocks."""
    step = gallery_rows(query.shape[1])
    buffer = np.empty((distances.QUERY_ROWS, step), np.float32)
    left = multiplier.place(query)
    for column in range(0, len(gallery), step):
        right = multiplier.place(gallery[column : column + step])
        for row in range(0, len(query), distances.QUERY_ROWS):
            rows = left[row : row + distances.QUERY_ROWS]
            out = buffer.reshape(-1)[: len(rows) * len(right)].reshape(len(rows), len(right))
            multiplier.multiply(rows, right, out)


@compiled
def chain(steps: int) -> int:
    """Multiplies and adds whole numbers, each step waiting for the last: 4 cycles a step."""
    value = np.int64(3)
    for _ in range(steps):
        value = value * value + np.int64(7)
    return int(value)


def peak() -> float:
    """GFLOP/s that one core could reach in single precision at the clock it has now."""
    chain(1)
    steps = 50_000_000
    clock = 4 * steps / cpu_seconds(lambda: chain(steps), 3)
    wide = get_host_cpu_features().get("avx512f", False)
    return clock * (64 if wide else 32) / 1e9


def by_sorting(dist_qg: NDArray[np.float32], query: Embeddings, gallery: Embeddings) -> tuple[float, float]:
    """Rank-1 and mAP as they are usually computed: each list sorted whole."""
    hits, precisions = [], []
    for row, pid, camid in zip(dist_qg, query.pids, query.camids, strict=True):
        order = np.argsort(row)
        kept = order[(gallery.pids[order] != pid) | (gallery.camids[order] != camid)]
        right = gallery.pids[kept] == pid
        if right.any():
            precision = np.cumsum(right) / np.arange(1, len(right) + 1)
            hits.append(right[0])
            precisions.append(precision[right].mean())
    return float(np.mean(hits)), float(np.mean(precisions))


def market(rounds: int) -> dict[str, float]:
    world = World(PEOPLE + 1, WIDTH)
    rng = np.random.default_rng(1)
    query = world.embeddings(rng.integers(1, PEOPLE + 1, QUERIES))
    pids = np.concatenate((np.zeros(DISTRACTORS, np.int64), rng.integers(1, PEOPLE + 1, GALLERY - DISTRACTORS)))
    gallery = world.embeddings(rng.permutation(pids))
    few = Embeddings(query.vectors[:SAMPLE], query.pids[:SAMPLE], query.camids[:SAMPLE])
    score_features(few, gallery)  # compiles
    (dist_qg,) = (part for _, part in distance_blocks(query.vectors, gallery.vectors))
    scores = score_distances(dist_qg, query, gallery)
    rank1, mean = by_sorting(dist_qg[:SAMPLE], few, gallery)
    same = score_distances(dist_qg[:SAMPLE], few, gallery)
    if not np.allclose((rank1, mean), (same.rank1, same.map)):
        raise SystemExit(f"the two ways disagree: {rank1} and {same.rank1}, {mean} and {same.map}")
    ways: dict[str, Multiplier] = {"numpy": Host()}
    if hasattr(torch.backends.mkldnn, "matmul") and is_exact(Wide()):
        ways["onednn"] = Wide()
    alone, whole = dict.fromkeys(ways, math.inf), math.inf
    for _ in range(rounds):  # in turn, so that what else goes on meets all
        for name, way in ways.items():
            work = functools.partial(product, way, query.vectors, gallery.vectors)
            alone[name] = min(alone[name], cpu_seconds(work, 1))
        whole = min(whole, cpu_seconds(lambda: score_features(query, gallery), 1))
    product_alone, operations = min(alone.values()), 2e-9 * QUERIES * GALLERY * WIDTH
    return {
        "rank1": scores.rank1,
        "map": scores.map,
        **{f"product_{name}": seconds for name, seconds in alone.items()},
        "gflop_per_second": operations / product_alone,
        "of_peak": operations / product_alone / peak(),
        "product_and_scores": whole,
        "ratio": whole / product_alone,
        "scores_of_distances": cpu_seconds(lambda: score_distances(dist_qg, query, gallery)),
        "scores_by_sorting": cpu_seconds(lambda: by_sorting(dist_qg[:SAMPLE], few, gallery)) * QUERIES / SAMPLE,
    }


def million(queries: int, images: int = 1_000_000, width: int = 512) -> dict[str, float]:
    people = 50_000
    world = World(people, width)
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory(prefix="reidkit-bench-") as folder:
        path = Path(folder) / "gallery"
        pids, camids = rng.integers(0, people, images), rng.integers(0, CAMERAS, images)
        with path.open("wb") as file:
            for first in range(0, images, 50_000):
                part = slice(first, first + 50_000)
                world.images(pids[part], camids[part]).tofile(file)
        query = world.embeddings(rng.integers(1, people, queries))
        gallery = Embeddings(np.memmap(path, np.float32, "r", shape=(images, width)), pids, camids)
        began, wall = time.process_time(), time.perf_counter()
        scores = score_features(query, gallery)
        return {
            "queries": queries,
            "rank1": scores.rank1,
            "map": scores.map,
            "cpu_seconds": time.process_time() - began,
            "seconds": time.perf_counter() - wall,
            "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--million", type=int, metavar="N", help="N queries in a gallery of a million (10000: minutes)")
    parser.add_argument("--rounds", type=int, default=3, help="how often the product and the scores are taken in turn")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    found = million(arguments.million) if arguments.million else market(arguments.rounds)
    if arguments.json:
        print(json.dumps(found))
        return
    if arguments.million:
        print("A gallery of 1,000,000 x 512 in a memory map (whose pages count as memory while they are in use)")
    else:
        print(f"{QUERIES:,} x {GALLERY:,} x {WIDTH}, CPU seconds; by sorting: {SAMPLE} queries, scaled to all")
    for key, value in found.items():
        print(f"{key:22} {value:10.3f}")


if __name__ == "__main__":
    main()
