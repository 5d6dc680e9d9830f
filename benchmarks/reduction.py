"""What shorter and coarser features cost: PCA, 8-bit numbers, bits, and bits first with full features after.

    python -m benchmarks.reduction MODEL --data DIR

The statistics come from the training images of DIR, without their ids, the scores from its query and gallery. Speed is
that of one query among `--rows` features, the gallery repeated, on one thread.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reidkit.encoder import InferenceOptions, embed_samples, load_model
from reidkit.metrics.matching import Labels
from reidkit.metrics.reduction import principal_axes
from reidkit.metrics.retrieval import score_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from reidkit.types import Embeddings

    Floats = NDArray[np.float32]

DIMS = (256, 128, 64)
TOP = 10
CANDIDATES = (50, 100, 200)


class Sides(NamedTuple):
    """Features of images to take statistics from, of the queries and of the gallery."""

    train: Floats
    query: Embeddings
    gallery: Embeddings

    def replaced(self, change: Callable[[Floats], Floats]) -> tuple[Floats, Floats]:
        """Queries and gallery after a change, both at length one."""
        query, gallery = (units(change(side.vectors)) for side in (self.query, self.gallery))
        return query, gallery


def units(vectors: Floats) -> Floats:
    """Scale rows to length one."""
    scaled: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return scaled


def to_int8(vectors: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Round each row to whole numbers from -127 to 127, and return the factor that was divided by."""
    scale = np.maximum(np.abs(vectors).max(axis=1, keepdims=True), 1e-12) / 127
    return np.rint(vectors / scale).astype(np.int8), scale


def random_rotation(dim: int, bits: int, seed: int = 0) -> Floats:
    """Return `bits` random directions [bits, dim] of length one, at right angles as far as there is room for that."""
    rng = np.random.default_rng(seed)
    turns = [np.linalg.qr(rng.normal(size=(dim, dim)))[0] for _ in range(-(-bits // dim))]
    rows: Floats = np.concatenate(turns)[:bits].astype(np.float32)
    return rows


def to_bits(vectors: Floats, mean: Floats, rotation: Floats) -> NDArray[np.uint8]:
    """Return the signs of centred and turned features, packed: uint8 [N, bits / 8]."""
    return np.packbits((units(vectors) - mean) @ rotation.T > 0, axis=1)


def hamming(query: NDArray[np.uint8], gallery: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the bits in which one code differs from each of a gallery, [G]."""
    wide = np.bitwise_count(query.view(np.uint64) ^ gallery.view(np.uint64))
    return np.asarray(wide.sum(axis=1, dtype=np.int64))


def scores(distances: Floats, sides: Sides) -> tuple[float, float]:
    """Return rank-1 and mAP in per cent by the official protocol."""
    found = score_blocks([(0, distances.astype(np.float32))], labels(sides.query), labels(sides.gallery))
    return round(100 * found.rank1, 2), round(100 * found.map, 2)


def labels(side: Embeddings) -> Labels:
    """Return what is scored by."""
    return Labels(pids=side.pids, camids=side.camids, paths=side.paths)


def floats(sides: Sides, change: Callable[[Floats], Floats]) -> tuple[float, float]:
    """Score features after a change by the cosine."""
    query, gallery = sides.replaced(change)
    return scores(1 - query @ gallery.T, sides)


def row(name: str, dim: int, size: int, found: tuple[float, float], milliseconds: float) -> dict[str, Any]:
    """Return a line of the table."""
    return {"features": name, "length": dim, "bytes": size, "rank1": found[0], "map": found[1], "ms": milliseconds}


def measure(sides: Sides, rows: int = 0) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the lines of both tables: representations, and bits first with full features after.

    Args:
        sides: The features.
        rows: How many features the time of a search is measured among; 0 measures none.
    """
    full = sides.train.shape[1]
    table = [row("fp32", full, 4 * full, floats(sides, lambda v: v), time_floats(full, rows))]
    whole, scale = zip(*(to_int8(side) for side in sides.replaced(lambda v: v)), strict=True)
    rounded = (whole[0] * scale[0]) @ (whole[1] * scale[1]).T
    table.append(row("int8, a scale each", full, full + 4, scores(1 - rounded, sides), time_int8(full, rows)))
    for dim in dict.fromkeys(min(dim, full, len(sides.train) - 1) for dim in (full, *DIMS)):
        for power in (0.0, 0.25, 0.5):
            axes = principal_axes(sides.train, dim, power=power)
            name = f"PCA, power {power:g}"
            table.append(row(name, dim, 4 * dim, floats(sides, axes.reduce), time_floats(dim, rows)))
    mean = units(sides.train).mean(axis=0)
    coarse = []
    for bits in (512, 256):
        rotation = random_rotation(full, bits)
        query, gallery = (to_bits(side.vectors, mean, rotation) for side in (sides.query, sides.gallery))
        far = np.stack([hamming(code, gallery) for code in query])
        table.append(row("bits", bits, bits // 8, scores(far.astype(np.float32), sides), time_bits(bits, rows)))
        signs = np.unpackbits(gallery, axis=1).astype(np.float32) * 2 - 1
        turned = (units(sides.query.vectors) - mean) @ rotation.T
        table.append(row("fp32 query, bits", bits, bits // 8, scores(-units(turned) @ units(signs).T, sides), 0.0))
        coarse += [{"bits": bits, "candidates": k, **refined(sides, far, k)} for k in CANDIDATES]
    return table, coarse


def refined(sides: Sides, far: NDArray[np.int64], candidates: int) -> dict[str, float]:
    """Search by bits for some candidates, and by full features among these; the others stay behind them.

    Returns:
        `found`, the part of the exact top 10 that is among the candidates, and the scores, all in per cent.
    """
    query, gallery = sides.replaced(lambda v: v)
    exact = 1 - query @ gallery.T
    best = np.argsort(exact, axis=1, kind="stable")[:, :TOP]
    first = np.argsort(far, axis=1, kind="stable")[:, :candidates]
    hits = [np.isin(wanted, some).mean() for wanted, some in zip(best, first, strict=True)]
    both = 10 + far.astype(np.float32)
    np.put_along_axis(both, first, np.take_along_axis(exact, first, axis=1), axis=1)
    rank1, map_ = scores(both, sides)
    return {"found": round(100 * float(np.mean(hits)), 2), "rank1": rank1, "map": map_}


def per_query(search: Callable[[], object], rows: int) -> float:
    """Return the milliseconds of a search, the least of five; 0 where nothing is to be measured."""
    if not rows:
        return 0.0
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        search()
        taken.append(time.perf_counter() - began)
    return round(1000 * min(taken), 3)


def time_floats(dim: int, rows: int) -> float:
    """Milliseconds of the products of one query with `rows` features."""
    gallery = np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float32)
    return per_query(lambda: gallery @ gallery[0], rows)


def time_int8(dim: int, rows: int) -> float:
    """The same of 8-bit features by torch's product, which adds up in 32 bits."""
    import torch

    gallery = torch.randint(-127, 128, (rows, dim), dtype=torch.int8)
    query = gallery[:1].T.expand(dim, 8).contiguous() if rows else gallery
    return per_query(lambda: torch._int_mm(gallery, query), rows)


def time_bits(bits: int, rows: int) -> float:
    """The same of codes, by counting bits."""
    gallery = np.random.default_rng(0).integers(0, 256, (rows, bits // 8), dtype=np.uint8)
    return per_query(lambda: hamming(gallery[0], gallery), rows)


def embedded(model: Path, data: Path, cache: Path | None) -> Sides:
    """Embed a data set."""
    from reidkit.data.formats.detect import load_dataset

    encoder, dataset, options = load_model(model), load_dataset(data), InferenceOptions(cache_dir=cache)
    train, query, gallery = (
        embed_samples(encoder, samples, name, options)
        for name, samples in (("train", dataset.train), ("query", dataset.query), ("gallery", dataset.gallery))
    )
    return Sides(train.vectors, query, gallery)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    for table in measure(embedded(given.model, given.data, given.cache), given.rows):
        keys = list(table[0])
        print(" | ".join(keys))
        for line in table:
            print(" | ".join(str(line[key]) for key in keys))
        print()


if __name__ == "__main__":
    main()
