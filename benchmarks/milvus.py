"""A gallery in Milvus beside the same one in a file: `python -m benchmarks.milvus --server 127.0.0.1:19530`.

Both are filled with the same rows of random directions around ids, and asked the same: time to fill, time of a search
(one query, and 64 together), recall of the file's first ten hits, memory of the process that searches.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.gallery import Row, create_gallery
from reidkit.gallery.agreement import recall_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reidkit.gallery import Gallery

QUERIES = 64
CAMERAS = 16


def features(count: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows [count, dim], about ten of each id, and queries of ids that are there."""
    rng = np.random.default_rng(0)
    ids = rng.normal(size=(count // 10, dim)).astype(np.float32)
    rows = ids[rng.integers(0, len(ids), count)] + rng.normal(0, 0.8, (count, dim)).astype(np.float32)
    queries = ids[rng.integers(0, len(ids), QUERIES)] + rng.normal(0, 0.8, (QUERIES, dim)).astype(np.float32)
    return rows, queries


def resident(pid: int) -> float:
    """GiB of a process and its children."""
    children = subprocess.run(["ps", "-o", "rss=", "--ppid", str(pid), "-p", str(pid)], capture_output=True, check=True)
    return sum(int(line) for line in children.stdout.split()) / 2**20


def fill(gallery: Gallery, rows: np.ndarray) -> float:
    started = time.perf_counter()
    for first in range(0, len(rows), 1000):
        some = rows[first : first + 1000]
        gallery.add_vectors(some, [Row(str(first + at), camera=str((first + at) % CAMERAS)) for at in range(len(some))])
    return time.perf_counter() - started


def ask(gallery: Gallery, queries: np.ndarray, **options: Any) -> tuple[Sequence[Any], float, float]:
    """Hits, milliseconds of one query by itself (median), and of each of 64 together."""
    gallery.search_vectors(queries[:1], top=10, **options)
    single = []
    for query in queries[:20]:
        started = time.perf_counter()
        gallery.search_vectors(query[None], top=10, **options)
        single.append(time.perf_counter() - started)
    started = time.perf_counter()
    hits = gallery.search_vectors(queries, top=10, **options)
    return hits, 1000 * float(np.median(single)), 1000 * (time.perf_counter() - started) / len(queries)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, help="host:port of a Milvus server")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--index", default="flat", choices=["flat", "hnsw", "ivf"])
    given = parser.parse_args()
    rows, queries = features(given.rows, given.dim)
    with tempfile.TemporaryDirectory() as folder:
        local = create_gallery(Path(folder, "people.db"), fingerprint="random", dim=given.dim)
        print(f"file: filled at {given.rows / fill(local, rows):,.0f} rows/s", flush=True)
        truth = {name: ask(local, queries, **how) for name, how in FILTERS.items()}
        report("file", truth, truth)
        print(f"file: index {local.info().memory / 2**30:.2f} GiB, this process {resident(os.getpid()):.2f} GiB")
        uri = f"milvus://{given.server}/bench_{given.index}_{int(time.time())}?index={given.index}"
        far = create_gallery(f"{uri}&consistency=session", fingerprint="random", dim=given.dim)
        print(f"{given.index}: filled at {given.rows / fill(far, rows):,.0f} rows/s", flush=True)
        started = time.perf_counter()
        far.compact()  # what is written becomes a file with an index
        time.sleep(5)
        print(f"{given.index}: flushed in {time.perf_counter() - started:.0f} s", flush=True)
        report(given.index, {name: ask(far, queries, **how) for name, how in FILTERS.items()}, truth)
        far.close()
        server = subprocess.run(["pgrep", "-f", "milvus run standalone"], capture_output=True, check=True).stdout
        print(f"{given.index}: server {max(resident(int(pid)) for pid in server.split()):.2f} GiB")


FILTERS: dict[str, dict[str, Any]] = {"all": {}, "1 camera in 16": {"cameras": ["3"]}}


def report(name: str, found: dict[str, Any], truth: dict[str, Any]) -> None:
    for filtered, (hits, single, together) in found.items():
        recall = recall_at(hits, truth[filtered][0], 10)
        print(
            f"{name}: {filtered}: 1 query {single:.1f} ms, of 64 {together:.2f} ms each, recall@10 {recall:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
