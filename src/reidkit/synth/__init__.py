"""A synthetic multi-camera data set: people drawn by a program, to try everything without a real image."""

from __future__ import annotations

import os
import re
import shutil
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, fields
from functools import partial
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, TypedDict, Unpack

from reidkit.arguments import check_whole
from reidkit.atomic import final_name, hold, not_written, refuse_address
from reidkit.errors import DataError, UsageError
from reidkit.synth.draw import STRANGERS, Shot, draw_image
from reidkit.synth.truth import MASKS, Note, are_ours, draw_files, write_keypoints
from reidkit.types import JUNK, SYNTHETIC
from reidkit.workers import map_in_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Item = tuple[str, bytes, int, int, str]
    Progress = Callable[[int, int], None]
    Write = Callable[[Path, Iterator[Item]], int]

TRAIN, QUERY, GALLERY = FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
README = "README.txt"
INDEX = "reidkit-index.npz"
"""Files that `finish` of `draw_shards` may add beside the shards."""

_NAME = re.compile(r"(?:-1|\d{4,7})_c\d+s1_\d{6}_01\.jpg")
_SHARD = re.compile(r"(?:train|query|gallery)-\d{5}\.tar")
_BEYOND_STRANGERS = 10**7
_BATCH = 64
"""Images per task of a worker process."""


class Size(TypedDict, total=False):
    """Optional settings of a set, with the defaults of `Plan`."""

    height: int
    width: int
    images_per_camera: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that the images depend on. `height` and `width` are in pixels."""

    ids: int
    cameras: int
    seed: int
    height: int = 128
    width: int = 64
    images_per_camera: int = 4

    def check(self) -> None:
        """Raise UsageError for numbers that make no set."""
        for each in fields(self):
            check_whole(getattr(self, each.name), each.name)
        rules = (
            (4 <= self.ids <= 10**6, "ids must be from 4 (two to learn from, two to find) to 1000000"),
            (2 <= self.cameras <= 99, "cameras must be from 2 (a query is searched in the other cameras) to 99"),
            (2 <= self.images_per_camera <= 1000, "images_per_camera must be from 2 (one is the query) to 1000"),
            (min(self.height, self.width) >= 32, "height and width must be at least 32 pixels"),
            (max(self.height, self.width) <= 512, "height and width must be at most 512 pixels"),
        )
        for holds, sentence in rules:
            if not holds:
                raise UsageError(f"synthetic set: {sentence}")

    def shots(self) -> Iterator[Shot]:
        """Yield every image of the set: the first half of the ids for training, the others for testing."""
        yield from self.people(1, self.ids + 1)
        yield from self.others()

    @property
    def half(self) -> int:
        """The last training id."""
        return self.ids // 2

    def people(self, first: int, stop: int) -> Iterator[Shot]:
        """Yield the images of the ids from `first` to before `stop`."""
        for pid in range(first, stop):
            # Numbers from `STRANGERS` on belong to passers-by: no labelled person may look like one.
            drawn = pid if pid < STRANGERS else pid + _BEYOND_STRANGERS
            for camid in range(1, self.cameras + 1):
                for number in range(self.images_per_camera):
                    folder = TRAIN if pid <= self.half else GALLERY if number else QUERY
                    yield Shot(f"{folder}/{_name(pid, camid, number)}", drawn, camid, number)

    def others(self) -> Iterator[Shot]:
        """Yield the distractors and the junk of the gallery."""
        test = (self.ids - self.half) * (self.images_per_camera - 1)
        for camid in range(1, self.cameras + 1):
            for number in range(max(1, test // 7)):
                stranger = STRANGERS + camid * 1000 + number
                yield Shot(f"{GALLERY}/{_name(0, camid, number)}", stranger, camid, number, bad=number % 3 == 0)
            for number in range(max(1, test // 10)):
                pid = self.half + 1 + number % (self.ids - self.half)
                drawn = pid if pid < STRANGERS else pid + _BEYOND_STRANGERS
                yield Shot(f"{GALLERY}/{_name(-1, camid, number)}", drawn, camid, number, bad=True)

    def describe(self, shards: bool = False) -> str:
        """Return the text of the README of a set in loose files, or in shards."""
        train, query, gallery = ("train-*.tar", "query-*.tar", "gallery-*.tar") if shards else FOLDERS
        return f"""{SYNTHETIC}

Every image was drawn by a program, `reidkit synth --ids {self.ids} --cameras {self.cameras} --seed {self.seed}`:
{self.images_per_camera} images per person and camera, {self.height} x {self.width} pixels.
The same numbers draw the same files again.
Scores on this set show that the software works. They say nothing about real cameras.

{train}: persons 1 to {self.ids // 2}, to learn from.
{query}: one image of each other person and camera.
{gallery}: their other images, distractors (0000: people in no query) and junk (-1: boxes that missed).
Names are as in Market-1501: PERSON_cCAMERAs1_FRAME_01.jpg.
"""


def synthesize(  # noqa: PLR0913
    out: str | os.PathLike[str],
    ids: int = 200,
    cameras: int = 6,
    seed: int = 0,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    masks: bool = False,
    **size: Unpack[Size],
) -> dict[str, int]:
    """Draw a synthetic data set in the layout of Market-1501 into the folder `out`, which appears when it is complete.

    The files depend on all arguments but `workers` (processes; None is one per core) and `progress(done, total)`,
    which is called after each group of images. An earlier synthetic set in `out` is replaced. A script has to call
    this below `if __name__ == "__main__":`, because the processes import the script.

    With `masks` the folder `masks` in it holds what is true of each image: `labels` (1 head, 2 upper body, 3 lower
    body, 4 shoes), `grey` (255 where the person is) and `keypoints.json`, as COCO has them. The images stay the same.

    Returns:
        The numbers of images in each part (`train`, `query`, `gallery`, which includes the `distractors`, and `junk`)
        and of `train_ids` and `test_ids`.

    Raises:
        UsageError: `out` holds something else, or a number is out of range.
        DataError: the files cannot be written.
    """
    plan = Plan(ids=ids, cameras=cameras, seed=seed, **size)
    with replacing(Path(out), plan, workers) as unfinished:
        shots = tuple(plan.shots())
        for name in FOLDERS:
            (unfinished / name).mkdir()
        notes = _draw_all(partial(draw_files, unfinished, plan, masks), shots, workers or os.cpu_count() or 1, progress)
        if masks:
            write_keypoints(unfinished, plan, notes)
    return _count(plan, shots)


@contextmanager
def replacing(out: Path, plan: Plan, workers: int | None, shards: bool = False) -> Iterator[Path]:
    """Yield a folder to draw into, which replaces `out` at the end, or is removed after an error.

    Raises:
        UsageError: `out` holds anything but a synthetic set, or a number is out of range.
        DataError: the files cannot be written.
    """
    plan.check()
    if workers is not None and workers < 1:
        raise UsageError("synthetic set: workers must be at least 1")
    refuse_address(out)
    out = out.absolute()
    try:
        _check_ours(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with _alone(out):
            _clear_up(out)
            unfinished, replaced = (out.with_name(f"{out.name}.{token_hex(4)}.{kind}") for kind in ("partial", "old"))
            try:
                unfinished.mkdir()
                (unfinished / README).write_text(plan.describe(shards), encoding="utf-8")
                yield unfinished
                _check_ours(out)  # it may have been filled since
                if out.exists():
                    out.rename(replaced)
                unfinished.rename(out)
            finally:
                _discard(unfinished, replaced)
    except BrokenProcessPool:
        raise DataError(
            f"{out}: a drawing process died, perhaps for lack of memory, or as a script calls this outside of "
            "`if __name__ == '__main__':`: put the call below that, or draw with workers=1",
            argument="workers",
        ) from None
    except OSError as error:
        raise not_written(out, error, "one in a folder you can write to") from None


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Lock `out` for this process.

    Raises:
        DataError: another process is drawing into it.
    """
    lock = out.with_name(f".{out.name}.lock")
    taken = f"another process is drawing into {out}: wait for it, or name another folder"
    with ExitStack() as held:
        try:
            held.enter_context(hold(lock, wait=False))
        except BlockingIOError:
            raise DataError(taken) from None
        if not lock.exists():  # its holder has just removed it, and a third process may hold a new one
            raise DataError(taken)
        try:
            yield
        finally:
            with suppress(OSError):
                lock.unlink()


def _clear_up(out: Path) -> None:
    """Remove what killed processes left beside `out`; bring back an earlier set that one had just moved away."""
    name = re.compile(rf"{re.escape(out.name)}\.[0-9a-f]{{8}}\.(?:partial|old)")
    left = sorted(path for path in out.parent.iterdir() if name.fullmatch(path.name) and _is_ours(path))
    for path in left:
        if path.suffix == ".old" and not out.exists():
            path.rename(out)
        else:
            _discard(path)


def _name(pid: int, camid: int, number: int) -> str:
    return f"{pid if pid < 0 else f'{pid:04d}'}_c{camid}s1_{25 * number + 1:06d}_01.jpg"


def _check_ours(folder: Path) -> None:
    """Refuse a folder that may not be replaced: anything but an empty folder or a synthetic set without other files."""
    if (folder.exists() or folder.is_symlink()) and not _is_ours(folder):
        raise UsageError(
            f"{folder} holds something else than a synthetic set: give a folder that is empty or not there"
        )


def _is_ours(folder: Path) -> bool:
    """Return whether this is an empty folder, or a synthetic set, even unfinished, without other files in it."""
    if not folder.is_dir() or folder.is_symlink():
        return False
    entries = {entry.name for entry in folder.iterdir()}
    if not entries:
        return True
    inside = (file.name for name in FOLDERS if (folder / name).is_dir() for file in (folder / name).iterdir())
    readme = (folder / README).read_bytes() if (folder / README).is_file() else b""
    if not are_ours(folder / MASKS, FOLDERS):
        return False
    entries = {name for name in map(final_name, entries) if not _SHARD.fullmatch(name)}
    if not entries <= {README, INDEX, MASKS, *FOLDERS} or not readme.startswith(SYNTHETIC.encode()):
        return False
    return all(map(_NAME.fullmatch, inside))


def _discard(*folders: Path) -> None:
    for folder in folders:
        if folder.exists():
            shutil.rmtree(folder)


def _draw_all(
    draw: Callable[[tuple[Shot, ...]], list[Note]], shots: tuple[Shot, ...], workers: int, progress: Progress | None
) -> list[Note]:
    batches = [shots[start : start + _BATCH] for start in range(0, len(shots), _BATCH)]
    notes: list[Note] = []
    # Starting a process takes as long as drawing a few hundred images.
    workers = min(workers, 1 + len(shots) // 400)
    with closing(map_in_processes(draw, batches, workers)) as drawn:
        for some in drawn:
            notes += some
            if progress:
                progress(len(notes), len(shots))
    return notes


def _count(plan: Plan, shots: tuple[Shot, ...]) -> dict[str, int]:
    def holding(start: str) -> int:
        return sum(shot.name.startswith(start) for shot in shots)

    junk, test_ids = holding(f"{GALLERY}/-1"), plan.ids - plan.ids // 2
    return {
        "train": holding(TRAIN),
        "query": holding(QUERY),
        "gallery": holding(GALLERY) - junk,
        "distractors": holding(f"{GALLERY}/0000"),
        "junk": junk,
        "train_ids": plan.ids - test_ids,
        "test_ids": test_ids,
    }


# Into shards: most file systems do not like a million files.


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
    progress: Progress | None = None,
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
