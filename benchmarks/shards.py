"""What shards cost beside loose files: start-up, memory, and batches, for 10,000, 100,000 and 1,000,000 images.

Every set is drawn by `reidkit.synth`, 64 x 32 pixels, ten images of a person by two cameras; of these ten `--distinct`
are drawn, and the others are the same files under other names. The million is the set of 100,000 ten times, as other
people under other names. Drawing a million takes a quarter of an hour, and what is measured here does not see pixels.
Each figure is measured in a process of its own. Run: `python benchmarks/shards.py [--full] [--json] [--keep DIR]`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.data.formats.detect import load_dataset
from reidkit.data.shards.index import INDEX
from reidkit.data.shards.writer import convert, finish, write_tar
from reidkit.synth.draw import Shot, draw_image
from reidkit.workers import map_in_processes

if TYPE_CHECKING:
    from collections.abc import Iterator

HEIGHT, WIDTH, EACH, PER_SHARD = 64, 32, 10, 10_000
SIZES = (10_000, 100_000)
FULL = 1_000_000
WAYS = ("files", "files cached", "shards, first", "shards", "shards streamed", "parquet")


@dataclass(frozen=True)
class Way:
    """How a process reads a set."""

    data: Path
    cache: bool
    stream: bool


def make_shards(out: Path, images: int, distinct: int) -> None:
    """`images` training images in tars, with their index."""
    out.mkdir(parents=True)
    starts = range(0, images, PER_SHARD)
    for _ in map_in_processes(partial(_write, out, images, distinct), starts, min(os.cpu_count() or 1, len(starts))):
        pass
    finish(out, "webdataset")


def copy_shards(drawn: Path, out: Path, images: int) -> None:
    """`images` training images in tars, with their index: those of `drawn` again and again, as other people."""
    out.mkdir(parents=True)
    starts = range(0, images, PER_SHARD)
    for _ in map_in_processes(partial(_copy, drawn, out), starts, min(os.cpu_count() or 1, len(starts))):
        pass
    finish(out, "webdataset")


def _copy(drawn: Path, out: Path, start: int) -> int:
    train = load_dataset(drawn).train

    def items() -> Iterator[tuple[str, bytes, int, int, str]]:
        first = start % len(train)
        for sample in train[first : first + PER_SHARD]:
            pid = sample.pid + start // len(train) * len(train) // EACH
            name = f"{pid:06d}_{sample.path.name.partition('_')[2]}"
            yield name, sample.path.read_bytes(), pid, sample.camid, "train"

    return write_tar(out / f"train-{start // PER_SHARD:05d}.tar", items())


def _write(out: Path, images: int, distinct: int, start: int) -> int:
    return write_tar(
        out / f"train-{start // PER_SHARD:05d}.tar", _items(start, min(start + PER_SHARD, images), distinct)
    )


def _items(start: int, stop: int, distinct: int) -> Iterator[tuple[str, bytes, int, int, str]]:
    for pid in range(start // EACH + 1, stop // EACH + 1):
        drawn = [draw_image(0, Shot("", pid, n % 2 + 1, n // 2), HEIGHT, WIDTH) for n in range(distinct)]
        for number in range(EACH):
            camid = number % distinct % 2
            yield f"{pid:06d}_c{camid + 1}s1_{number:06d}_01.jpg", drawn[number % distinct], pid, camid, "train"


def make_files(shards: Path, out: Path) -> None:
    """The same images as loose files in the layout of Market-1501; one image each to test with."""
    (out / "bounding_box_train").mkdir(parents=True)
    for sample in load_dataset(shards).train:
        (out / "bounding_box_train" / sample.path.name).write_bytes(sample.path.read_bytes())
    for name in ("query", "bounding_box_test"):
        (out / name).mkdir()
        (out / name / "999999_c1s1_000000_01.jpg").write_bytes(sample.path.read_bytes())


def child(way: Way, batches: int) -> dict[str, float]:
    """Start as `reidkit train` does, and make batches of 16 x 4 at 256 x 128."""
    import torch

    from reidkit.data.images import open_images
    from reidkit.data.loaders import build_batches
    from reidkit.data.sampler import build_sampler
    from reidkit.recipe import Erasing, Recipe
    from reidkit.types import Sample

    torch.set_num_threads(1)
    recipe = replace(Recipe(), erasing=Erasing(probability=0.5))
    warm_up(recipe)
    before, began, cpu = peak(), time.perf_counter(), time.process_time()
    train = load_dataset(way.data).train
    listed = time.perf_counter() - began
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "images" if way.cache else None
    source = open_images(train, recipe.images.size, cache_dir=cache, stream=way.stream or None)
    _, labels = np.unique(source.samples.pids, return_inverse=True)
    batch_order = time.perf_counter()
    order = build_sampler(source, labels, recipe.batch, 0).epoch(1)
    batch_order = time.perf_counter() - batch_order
    made = build_batches(source, labels, recipe, 0, torch.device("cpu"))
    epoch = made.epoch(1)
    next(epoch)
    found = {
        "images": len(train),
        "batches an epoch": len(order),
        "listing s": listed,
        "order s": batch_order,
        "first batch s": time.perf_counter() - began,
        "first batch cpu s": time.process_time() - cpu,
        "start-up MB": peak() - before,
    }
    began, cpu = time.perf_counter(), time.process_time()
    batches = sum(1 for _ in islice(epoch, batches))
    found["batches/s"] = batches / (time.perf_counter() - began)
    found["images/cpu s"] = 64 * batches / (time.process_time() - cpu)
    epoch.close()
    found["peak MB over imports"] = peak() - before
    found["imports MB"] = before
    if isinstance(train[0], Sample) and not hasattr(train, "rows"):
        return found
    return found | {"index bytes an image": (train.rows.nbytes + len(train.names)) / len(train)}  # type: ignore[attr-defined]


def warm_up(recipe: Any) -> None:
    """Compile what is compiled at its first use, on two drawn images."""
    import torch

    from reidkit.data.images import open_images
    from reidkit.data.loaders import build_batches
    from reidkit.types import Sample

    with tempfile.TemporaryDirectory() as name:
        samples = []
        for pid in range(16):
            path = Path(name) / f"{pid}.jpg"
            path.write_bytes(draw_image(0, Shot("", pid + 1, 1, 0), HEIGHT, WIDTH))
            samples.append(Sample(path, pid, 0))
        source = open_images(samples, recipe.images.size)
        next(build_batches(source, np.arange(16), recipe, 0, torch.device("cpu")).epoch(1))


def peak() -> float:
    """The largest resident set of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def measure(folder: Path, images: int, batches: int, ways: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Every way to read a set, in a process each."""
    shards, files = folder / f"shards-{images}", folder / f"files-{images}"
    bare = folder / f"bare-{images}"
    if not bare.is_dir():  # the same tars without their index
        bare.mkdir()
        for tar in shards.glob("*.tar"):
            (bare / tar.name).hardlink_to(tar)
    found = {}
    for way in ways:
        data = files if way.startswith("files") else bare if "first" in way else shards
        if way == "parquet":
            data = folder / f"parquet-{images}"
            convert(load_dataset(shards), data, "parquet", PER_SHARD)
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            command = [sys.executable, __file__, "--child", way, "--data", str(data), "--batches", str(batches)]
            done = subprocess.run(
                command, env=os.environ | {"XDG_CACHE_HOME": cache}, check=True, stdout=subprocess.PIPE, text=True
            )
        found[way] = json.loads(done.stdout)
        print(f"{images} images, {way}: {found[way]}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="a million images too")
    parser.add_argument("--distinct", type=int, default=2, help="images of a person that are drawn (default 2)")
    parser.add_argument("--batches", type=int, default=200, help="batches to time (default 200)")
    parser.add_argument("--images", type=int, nargs="*", help="other sizes")
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=WAYS, help="only these ways to read")
    parser.add_argument("--keep", type=Path, help="make the sets there, or use those that are there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        way = Way(arguments.data, "cached" in arguments.child, "streamed" in arguments.child)
        print(json.dumps(child(way, arguments.batches)))
        return
    with tempfile.TemporaryDirectory(prefix="reidkit-bench-") as name:
        folder = arguments.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        found = {}
        for images in arguments.images or (*SIZES, *([FULL] if arguments.full else [])):
            shards = folder / f"shards-{images}"
            if not (shards / INDEX).is_file():
                cpu, began = sum(os.times()[:4]), time.perf_counter()
                if images > SIZES[-1]:
                    copy_shards(folder / f"shards-{SIZES[-1]}", shards, images)
                else:
                    make_shards(shards, images, arguments.distinct)
                spent = sum(os.times()[:4]) - cpu
                print(f"drawn in {spent:.0f} CPU s, {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
            loose = images < FULL
            if loose and not (folder / f"files-{images}").is_dir():
                make_files(shards, folder / f"files-{images}")
            ways = tuple(way for way in arguments.ways if loose or not way.startswith(("files", "parquet")))
            found[str(images)] = measure(folder, images, arguments.batches, ways)
        print(json.dumps(found) if arguments.json else _table(found))


def _table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = []
    for images, ways in found.items():
        for way, row in ways.items():
            numbers = ", ".join(f"{key} {value:.4g}" for key, value in row.items() if key != "images")
            lines.append(f"{images:>8} {way:16} {numbers}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
