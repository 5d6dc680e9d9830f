"""What re-ranking costs: processor seconds and memory, beside the usual program with full matrices.

Every figure comes from a process of its own with one thread, the two programs in turn; "above" is the peak of memory
above what is in use when re-ranking starts, "peak" that of the whole process.

Run: `python benchmarks/reranking.py [--json]`: a quarter of Market-1501's size, about a minute.
`--full`: Market-1501's size, which takes the usual program a minute and 7 GB. `--growth`: 5, 10 and 20 thousand images
of 256 dimensions (`--width`) in blocks (with `--full` 50 and 94 thousand, too; `--count N` for one size alone).
`--repeat N` runs every program N times. `--features FILE` (of `reidkit embed`) takes real features, a sixth of them as
queries, and adds the program "float32": ours without codes of eight bits, which made-up features are never worth.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.metrics.products import Multiplier

    Matrix = NDArray[np.float32]

MARKET = (3368, 15913, 2048)
IMAGES_PER_PERSON = 22
K1, K2, LAM = 20, 6, 0.3


def features(queries: int, images: int, width: int) -> tuple[Matrix, Matrix]:
    """Made-up features: people far apart, their images around them, some harder than others."""
    rng = np.random.default_rng(0)
    count = queries + images
    people = rng.standard_normal((max(1, count // IMAGES_PER_PERSON), width), dtype=np.float32)
    result = people[rng.integers(len(people), size=count)]
    for start in range(0, count, 4096):
        part = result[start : start + 4096]
        hard = rng.lognormal(0.1, 0.3, (len(part), 1)).astype(np.float32)
        part += hard * rng.standard_normal(part.shape, dtype=np.float32)
    return result[:queries], result[queries:]


def usual(query: Matrix, gallery: Matrix) -> Matrix:
    """k-reciprocal re-ranking as it is mostly written: full matrices in NumPy, here all in single precision."""
    points = np.concatenate([query, gallery])
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    squares = np.square(points).sum(axis=1)
    dist = squares[:, None] + squares - 2 * (points @ points.T)
    dist = (dist / dist.max(axis=0)).T
    rank = np.argsort(dist, axis=1).astype(np.int32)
    rows = np.zeros_like(dist)
    for i in range(len(dist)):
        members = core = _mutual(rank, i, K1)
        for j in core:
            half = _mutual(rank, j, round(K1 / 2))
            if len(np.intersect1d(half, core)) > 2 / 3 * len(half):
                members = np.append(members, half)
        members = np.unique(members)
        weights = np.exp(-dist[i, members])
        rows[i, members] = weights / weights.sum()
    expanded = np.empty_like(rows)
    for i in range(len(rows)):
        expanded[i] = rows[rank[i, :K2]].mean(axis=0)
    result: Matrix = (1 - LAM) * _jaccard(expanded, len(query)) + LAM * dist[: len(query), len(query) :]
    return result


def _mutual(rank: NDArray[np.int32], i: int, k: int) -> NDArray[np.int32]:
    forward = rank[i, : k + 1]
    mutual: NDArray[np.int32] = forward[(rank[forward, : k + 1] == i).any(axis=1)]
    return mutual


def _jaccard(rows: Matrix, queries: int) -> Matrix:
    holders = [np.flatnonzero(column) for column in rows.T]
    result = np.empty((queries, len(rows) - queries), np.float32)
    for i in range(queries):
        common = np.zeros(len(rows), np.float32)
        for column in np.flatnonzero(rows[i]):
            common[holders[column]] += np.minimum(rows[i, column], rows[holders[column], column])
        result[i] = (1 - common / (2 - common))[queries:]
    return result


@dataclass
class Clock:
    """A multiplier, timed."""

    multiplier: Multiplier
    seconds: float = 0.0
    operations: float = 0.0

    def place(self, vectors: Matrix) -> Any:
        """Where the multiplier puts them."""
        return self.multiplier.place(vectors)

    def multiply(self, query: Any, gallery: Any, out: Matrix) -> None:
        """Writes `query @ gallery.T` to `out`."""
        start = time.thread_time()
        self.multiplier.multiply(query, gallery, out)
        self.seconds += time.thread_time() - start
        self.operations += 2.0 * query.shape[0] * query.shape[1] * gallery.shape[0]


def real(path: str, size: tuple[int, int, int]) -> tuple[Matrix, Matrix]:
    """Features of a file, shuffled, so that queries are of all kinds."""
    vectors = np.load(path)["vectors"].astype(np.float32)
    vectors = vectors[np.random.default_rng(0).permutation(len(vectors))]
    return vectors[: size[0]], vectors[size[0] :]


def run(program: str, size: tuple[int, int, int], result: Path | None, path: str | None) -> dict[str, float]:
    """One program in this process: seconds of the processor, and MB."""
    query, gallery = real(path, size) if path else features(*size)
    clock, work = (None, usual) if program == "usual" else _ours(program, (query, gallery))
    if clock and path:
        _compile_codes(program)
    if clock:
        work(*features(40, 60, 8))  # compiled code is loaded once
        clock.seconds = clock.operations = 0.0
    before, start, wall = _peak(), time.process_time(), time.perf_counter()
    dist = work(query, gallery)
    cpu, wall, peak = time.process_time() - start, time.perf_counter() - wall, _peak()
    if result is not None and dist is not None:
        np.save(result, dist)
    figures = {"cpu_seconds": cpu, "wall_seconds": wall, "peak_mb": peak, "above_mb": peak - before}
    if clock:
        figures |= {"product_seconds": clock.seconds, "other_seconds": cpu - clock.seconds}
        figures["gflop_per_second"] = clock.operations / clock.seconds / 1e9
    return {name: round(value, 3) for name, value in figures.items()}


def _compile_codes(program: str) -> None:
    """Load what is compiled for codes of eight bits, or do without them."""
    from reidkit.metrics import int8_neighbours
    from reidkit.metrics.reranking import k_reciprocal

    worth, most = int8_neighbours.WORTH_CODES, int8_neighbours.MOST
    vars(int8_neighbours).update(WORTH_CODES=0, MOST=1e9)
    k_reciprocal.k_reciprocal(*features(100, 400, 32), K1, K2, LAM)
    vars(int8_neighbours).update(WORTH_CODES=math.inf if program == "float32" else worth, MOST=most)


def _ours(program: str, features: tuple[Matrix, Matrix]) -> tuple[Clock, Any]:
    """Our program for these features, with the multiplier that it would choose, timed."""
    from reidkit.metrics.products import multiplier_for
    from reidkit.metrics.reranking import k_reciprocal

    clock = Clock(multiplier_for(*features, all_pairs=True))
    vars(k_reciprocal)["multiplier_for"] = lambda *_, **__: clock

    def blocks(query: Matrix, gallery: Matrix) -> None:
        for _ in k_reciprocal.k_reciprocal_blocks(query, gallery, K1, K2, LAM):
            pass

    def whole(query: Matrix, gallery: Matrix) -> Matrix:
        return k_reciprocal.k_reciprocal(query, gallery, K1, K2, LAM)

    return clock, blocks if program == "blocks" else whole


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(
    program: str, size: tuple[int, int, int], result: Path | None = None, path: str | None = None
) -> dict[str, Any]:
    """One program in a process of its own."""
    command = [sys.executable, __file__, *(["--features", path] if path else []), "--child", program, *map(str, size)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment.pop("OPENBLAS_CORETYPE", None)  # so that NumPy's product is as quick as the processor allows, for both
    done = subprocess.run(
        command + ([str(result)] if result else []), env=environment, stdout=subprocess.PIPE, check=True, text=True
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return {"program": program, "queries": size[0], "gallery": size[1], "width": size[2], **figures}


def compare(size: tuple[int, int, int], repeat: int, path: str | None) -> dict[str, Any]:
    """All programs in turn, and how far apart the results of ours and the usual one are."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {
            program: Path(folder) / f"{program}.npy" for program in ("ours", *(["float32"] if path else []), "usual")
        }
        runs = [apart(program, size, out, path) for _ in range(repeat) for program, out in paths.items()]
        ours, theirs = (np.load(paths[program], mmap_mode="r") for program in ("ours", "usual"))
        gap = max(float(np.abs(ours[i] - theirs[i]).max()) for i in range(len(ours)))
    best = {p: {k: min(r[k] for r in runs if r["program"] == p) for k in ("cpu_seconds", "peak_mb")} for p in paths}
    times = {
        f"{program}_to_ours_{key}": round(best[program][key] / best["ours"][key], 2)
        for program in paths
        if program != "ours"
        for key in best["ours"]
    }
    return {"runs": runs, "largest_difference": gap, **times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--json", "--full", "--growth"):
        parser.add_argument(name, action="store_true")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--width", type=int, default=256, help="dimensions for --growth")
    parser.add_argument("--count", type=int, help="images for --growth, instead of the usual numbers")
    parser.add_argument("--features", metavar="FILE", help="an .npz of `reidkit embed`, in place of made-up features")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        program, queries, images, width, *result = options.child
        size = int(queries), int(images), int(width)
        print(json.dumps(run(program, size, Path(result[0]) if result else None, options.features)))
        return
    if options.growth:
        counts = (5000, 10000, 20000, *((50000, 94000) if options.full else ()))
        sizes = [(n // 6, n - n // 6, options.width) for n in ((options.count,) if options.count else counts)]
        figures: dict[str, Any] = {"runs": [apart("blocks", size) for size in sizes]}
    elif options.features:
        count, width = np.load(options.features)["vectors"].shape
        figures = compare((count // 6, count - count // 6, width), options.repeat, options.features)
    else:
        queries, images, width = MARKET
        part = 1 if options.full else 4
        figures = compare((queries // part, images // part, width), options.repeat, None)
    show(figures, options.json)


def show(figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(figures))
        return
    for row in figures.pop("runs"):
        size = f"{row['queries']:,} x {row['gallery']:,} x {row['width']}"
        rate = f", {row['gflop_per_second']:.0f} GFLOP/s" if "gflop_per_second" in row else ""
        other = f" ({row['other_seconds']:.2f} s beside the products{rate})" if "other_seconds" in row else ""
        memory = f"{row['peak_mb']:,.0f} MB, {row['above_mb']:,.0f} above"
        print(f"{row['program']:>7} {size:>22}: {row['cpu_seconds']:7.2f} CPU s{other}, {memory}")
    for name, value in figures.items():
        print(f"{name}: {value:.3g}")


if __name__ == "__main__":
    main()
