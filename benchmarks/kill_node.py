"""Kill one of two machines of a Ray cluster at work, and compare the features with those of one process.

    python -m benchmarks.kill_node

Both nodes live on this computer, each with one processor, where it can be made in a network namespace of its own. When
both are at a part, the second one is killed with all its workers, without a word to the others. Exit status 1 if a
feature differs, an image is missing or comes twice, or the node was not at work.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from benchmarks.milvus_server import isolate
from reidkit import embedding
from reidkit.embedding import embed_images
from reidkit.encoder import InputSpec
from reidkit.metrics.features import read_features
from reidkit.ray_embedding import embed_images_on_ray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

IMAGES, PART = 37, 4
PATIENCE = 300.0


class Colours:
    """The feature of an image is its mean colour; the first one waits until both nodes are at work."""

    input = InputSpec(height=4, width=2)
    dim = 3
    fingerprint = "c0105125c0105125"

    def __init__(self, marks: str = "") -> None:
        self.marks = marks

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return features [N, 3]."""
        if self.marks:
            node = import_module("ray").get_runtime_context().get_node_id()
            Path(self.marks, node).touch()
            while not Path(self.marks, "go").exists():
                time.sleep(0.05)
        features: NDArray[np.float32] = images.mean(axis=(1, 2)).astype(np.float32)
        return features


@contextmanager
def two_nodes() -> Iterator[tuple[Any, Any]]:
    """Start a cluster of two nodes and join it; yield it and its second node."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    ray = import_module("ray")
    of_each = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    cluster = import_module("ray.cluster_utils").Cluster(initialize_head=True, head_node_args=of_each)
    try:
        second = cluster.add_node(**of_each)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield cluster, second
    finally:
        ray.shutdown()
        cluster.shutdown()


def kill_at_work(cluster: Any, node: Any, marks: Path, seen: list[str]) -> None:
    """Kill a node when both are at a part; `seen` gets the nodes that were."""
    until = time.monotonic() + PATIENCE
    while len(found := [mark.name for mark in marks.iterdir()]) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    seen += found
    cluster.remove_node(node, allow_graceful=False)
    (marks / "go").touch()


def main() -> int:
    """Kill a node, and return the exit status."""
    try:
        isolate()
    except OSError as error:
        print(f"not in a network namespace of its own: {error}")
    embedding.PART = PART
    with tempfile.TemporaryDirectory() as name, two_nodes() as (cluster, second):
        place, marks, seen = Path(name), Path(name, "marks"), list[str]()
        marks.mkdir()
        (place / "images").mkdir()
        for number in range(IMAGES):
            Image.new("RGB", (3, 5), (number, 2 * number, 9)).save(place / "images" / f"{number:02d}.png")
        killer = threading.Thread(target=kill_at_work, args=[cluster, second, marks, seen])
        killer.start()
        start = time.monotonic()
        embed_images_on_ray(partial(Colours, str(marks)), place / "images", place / "ray.npz")
        killer.join()
        embed_images(Colours(), place / "images", place / "alone.npz")
        ours, alone = read_features(place / "ray.npz"), read_features(place / "alone.npz")
        same = list(ours.paths) == list(alone.paths) and np.array_equal(ours.vectors, alone.vectors)
    print(
        f"{len(seen)} nodes at work, one killed; {len(ours)} of {IMAGES} images, features "
        f"{'equal' if same else 'NOT equal'} to those of one process, {time.monotonic() - start:.0f} s"
    )
    return int(not (same and len(ours) == IMAGES and len(seen) == 2))


if __name__ == "__main__":
    sys.exit(main())
