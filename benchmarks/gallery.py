"""How long a gallery takes to search, to fill and to open, beside FAISS's flat index, on one thread.

OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m benchmarks.gallery [--rows 100000] [--dim 2048]

It needs `pip install faiss-cpu`.

Features are of people: a direction for each, what cameras add, and what each image adds, over dimensions that matter
less and less, as those of trained networks do. Times are seconds of the processor, the least of several.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.gallery.filters import Filter
from reidkit.gallery.local import LocalGallery
from reidkit.gallery.row import Row, from_micros

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CAMERAS = 16
IMAGES = 20
TOP = 10
REPEATS = 7


@dataclass
class Crowd:
    """People before cameras: features float32 of length one."""

    dim: int
    rng: np.random.Generator
    decay: NDArray[np.float32]
    people: NDArray[np.float32]
    cameras: NDArray[np.float32]

    @classmethod
    def of(cls, people: int, dim: int) -> Crowd:
        """Draw so many people."""
        rng = np.random.default_rng(0)
        decay = (np.arange(1, dim + 1) ** -0.35).astype(np.float32)
        return cls(dim, rng, decay, _draw(rng, people, decay), _draw(rng, CAMERAS, decay))

    def images(self, pids: NDArray[np.int64], cameras: NDArray[np.int64]) -> NDArray[np.float32]:
        """Draw an image of each of these people by these cameras."""
        common = _draw(np.random.default_rng(1), 1, self.decay)  # all people look alike in part
        noise = _draw(self.rng, len(pids), self.decay)
        raw = self.people[pids] + 0.45 * common + 0.3 * self.cameras[cameras] + 0.55 * noise
        features: NDArray[np.float32] = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
        return features


def _draw(rng: np.random.Generator, count: int, decay: NDArray[np.float32]) -> NDArray[np.float32]:
    drawn = rng.standard_normal((count, len(decay)), np.float32) * decay
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn


def cpu(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the least seconds of the processor that some work takes."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=1000, help="rows that are added at a time")
    parser.add_argument("--folder", type=Path, help="where the gallery is made")
    options = parser.parse_args()
    if find_spec("faiss") is None:  # before a gallery is filled
        sys.exit("FAISS, which galleries are compared with, is not installed: pip install faiss-cpu")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "people.db"
        vectors, queries = fill(path, options)
        with LocalGallery(path) as gallery:
            opened = cpu(lambda: gallery.search_vectors(queries[:1]), 1)
            print(f"opened and searched for the first time in {opened:.2f} s of CPU time")
            print(f"memory of the index: {gallery.info().memory / len(gallery) * 1e6 / 2**30:.3f} GiB a million rows")
            compare(gallery, vectors, queries)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"largest memory of the process: {peak:.2f} GiB (features for FAISS and the crowd among it)")


def fill(path: Path, options: argparse.Namespace) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Make a gallery; all its features, and queries, every other one of people that are not in it."""
    people = max(2, options.rows // IMAGES)
    crowd = Crowd.of(people + 256, options.dim)
    parts, wall, used = [], 0.0, 0.0
    with LocalGallery.create(path, dim=options.dim, fingerprint="benchmark") as gallery:
        for first in range(0, options.rows, options.batch):
            numbers = np.arange(first, min(first + options.batch, options.rows))
            pids, cameras = numbers % people, crowd.rng.integers(CAMERAS, size=len(numbers))
            parts.append(crowd.images(pids, cameras))
            rows = [
                Row(f"{camera}/{number:08d}.jpg", pid=pid, camera=f"camera {camera}", time=from_micros(number))
                for number, pid, camera in zip(numbers.tolist(), pids.tolist(), cameras.tolist(), strict=True)
            ]
            start = time.perf_counter(), time.process_time()
            gallery.add_vectors(parts[-1], rows)
            wall, used = wall + time.perf_counter() - start[0], used + time.process_time() - start[1]
    print(
        f"{options.rows} rows of {options.dim} numbers in batches of {options.batch}: {options.rows / wall:.0f} rows/s "
        f"durable, {options.rows / used:.0f} a second of CPU time, {path.stat().st_size / options.rows:.0f} bytes a row"
    )
    asked = np.where(np.arange(256) % 2, people + np.arange(256), crowd.rng.integers(people, size=256))
    return np.concatenate(parts), crowd.images(asked, crowd.rng.integers(CAMERAS, size=256))


def compare(gallery: LocalGallery, vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> None:
    """Search with both, and print times, their ratio, recall and how many rows were computed exactly."""
    faiss: Any = import_module("faiss")
    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    camera = Filter(cameras=["camera 3"])
    inside = np.array([row.id - 1 for row in gallery if row.camera == "camera 3"])
    print(f"a camera of {len(inside)} rows")
    for name, count, matching in (
        ("one query", 1, Filter()),
        ("8 queries", 8, Filter()),
        ("64 queries", 64, Filter()),
        ("one query, one camera in 16", 1, camera),
        ("64 queries, one camera in 16", 64, camera),
    ):
        blocks = [queries[at : at + count] for at in range(0, min(len(queries), 16 * count), count)]
        settings = faiss.SearchParameters(sel=faiss.IDSelectorBatch(inside)) if matching else None
        ours = [gallery.search_vectors(block, top=TOP, filter=matching) for block in blocks]
        theirs = [index.search(block, TOP, params=settings)[1] for block in blocks[:4]]
        recall = np.mean(
            [
                len({hit.id - 1 for hit in hits} & set(row.tolist())) / len(row)
                for block, rows in zip(ours, theirs, strict=False)
                for hits, row in zip(block, rows, strict=True)
            ]
        )
        candidates = [hits.candidates for block in ours for hits in block]
        mine = _least(partial(gallery.search_vectors, top=TOP, filter=matching), blocks)
        flat = _least(partial(index.search, k=TOP, params=settings), blocks)
        print(
            f"{name}: {1e3 * mine / count:.2f} ms a query, FAISS flat {1e3 * flat / count:.2f} ms, "
            f"{flat / mine:.2f} times as fast; recall of FAISS's first {TOP} {recall:.4f}; computed exactly "
            f"{np.mean(candidates):.0f} rows, at most {max(candidates)}"
        )


def _least(search: Callable[..., object], blocks: list[NDArray[np.float32]]) -> float:
    return min(cpu(partial(search, block), 3) for block in blocks[:4])


if __name__ == "__main__":
    main()
