"""A synthetic set written straight into shards: most file systems do not like a million files."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from reidkit.errors import UsageError
from reidkit.synth import GALLERY, QUERY, TRAIN, Plan, replacing
from reidkit.synth.draw import draw_image
from reidkit.types import JUNK
from reidkit.workers import map_in_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from reidkit.synth.draw import Shot

    Item = tuple[str, bytes, int, int, str]
    Write = Callable[[Path, Iterator[Item]], int]

_SPLIT = {TRAIN: "train", QUERY: "query", GALLERY: "gallery"}


@dataclass(frozen=True)
class _Job:
    """A shard: images of a split, of the ids from `first` to before `stop`, or the other images with these numbers."""

    name: str
    folder: str
    first: int
    stop: int
    others: bool = False

    def shots(self, plan: Plan) -> Iterator[Shot]:
        """Return the images in it."""
        if self.others:
            return islice(plan.others(), self.first, self.stop)
        return (shot for shot in plan.people(self.first, self.stop) if shot.name.startswith(f"{self.folder}/"))


@dataclass(frozen=True, kw_only=True)
class Shards:
    """Where the images go.

    `write` writes one shard of (name, file, pid, camid, split) and gives their number. It runs in other processes, so
    it has to be a function of a module. `finish` may add files beside the shards when all are there.
    """

    images: int
    write: Write
    finish: Callable[[Path], object]


def draw_shards(
    out: Path,
    plan: Plan,
    shards: Shards,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Draw the images of `synthesize`, the same bytes, into shards in the folder `out`, which appears when complete.

    A camid is the camera's number in the file's name, as in the other layout.

    Returns:
        The numbers of `images`, of which in `train`, `query` and `gallery` (junk included), and of `shards`.

    Raises:
        UsageError: `out` holds something else, or a number makes no set.
        DataError: the files cannot be written.
    """
    if shards.images < 1:
        raise UsageError("synthetic set: a shard holds at least 1 image")
    with replacing(out, plan, workers, shards=True) as unfinished:
        jobs = list(_jobs(plan, shards.images))
        total = plan.ids * plan.cameras * plan.images_per_camera + sum(1 for _ in plan.others())
        counts = dict.fromkeys(_SPLIT.values(), 0)
        processes = min(workers or os.cpu_count() or 1, len(jobs), 1 + total // 400)
        with closing(
            map_in_processes(partial(_draw_shard, unfinished, plan, shards.write), jobs, processes)
        ) as results:
            for job, count in zip(jobs, results, strict=True):
                counts[_SPLIT[job.folder]] += count
                if progress:
                    progress(sum(counts.values()), total)
        shards.finish(unfinished)
    return {"images": total, **counts, "shards": len(jobs)}


def _jobs(plan: Plan, images_per_shard: int) -> Iterator[_Job]:
    """Yield shards of as many whole ids as they have room for, and of at least one."""
    each = plan.images_per_camera
    parts = ((TRAIN, each, 1, plan.half + 1), (QUERY, 1, plan.half + 1, plan.ids + 1))
    for folder, per_camera, first, stop in (*parts, (GALLERY, each - 1, plan.half + 1, plan.ids + 1)):
        step = max(1, images_per_shard // (plan.cameras * per_camera))
        for number, start in enumerate(range(first, stop, step)):
            after = number + 1
            yield _Job(f"{_SPLIT[folder]}-{number:05d}.tar", folder, start, min(start + step, stop))
    others = sum(1 for _ in plan.others())
    for number, start in enumerate(range(0, others, images_per_shard), after):
        yield _Job(f"gallery-{number:05d}.tar", GALLERY, start, min(start + images_per_shard, others), others=True)


def _draw_shard(folder: Path, plan: Plan, write: Write, job: _Job) -> int:
    return write(folder / job.name, (_item(plan, shot) for shot in job.shots(plan)))


def _item(plan: Plan, shot: Shot) -> Item:
    folder, _, name = shot.name.rpartition("/")
    pid = int(name.partition("_c")[0])
    data = draw_image(plan.seed, shot, plan.height, plan.width)
    return name, data, pid if pid >= 0 else JUNK, shot.camid, _SPLIT[folder]
