"""Hold out ids of a data set that has no query and gallery, and make both of their images."""

from __future__ import annotations

import csv
import os
import shutil
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from reidkit.atomic import NO_ROOM, new_folder, refuse_address
from reidkit.data.formats.folder import NO_IDS, camera
from reidkit.data.formats.labels import label
from reidkit.errors import DataError, UsageError
from reidkit.types import JUNK, NO_CAMERA, NO_NAMES, Dataset, Names, Sample

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from numpy.random import Generator

    from reidkit.types import Cameras

How = Literal["table", "copy", "link"]
TABLE = "split.csv"


def hold_out(
    samples: Collection[Sample], share: float = 0.5, seed: int = 0, cameras: Cameras = "cross"
) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Return the images to train on, and those of `share` of the ids, held out to test with.

    Held out are only ids that can be a query with a true match left over in the gallery (see `queries_of`).

    Raises:
        UsageError: `share` is not from 0 to 1.
        DataError: no id can be held out, or none is left to train on.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"a share of {share} cannot be held out: give one from 0 to 1")
    able = sorted({sample.pid for sample in queries_of(samples, cameras)})
    ids = {sample.pid for sample in samples}
    if not able or len(ids) < 2:
        raise _why_none(samples, ids, cameras)
    count = min(max(1, round(share * len(ids))), len(able), len(ids) - 1)
    held = set(np.random.default_rng(seed).choice(able, count, replace=False).tolist())
    return tuple(s for s in samples if s.pid not in held), tuple(s for s in samples if s.pid in held)


def queries_of(samples: Iterable[Sample], cameras: Cameras = "cross", seed: int | None = None) -> frozenset[Sample]:
    """Return the images to use as queries; all others are the gallery, which then has a true match for each query.

    With `cameras="cross"` it is an image of every id by every camera with two or more, as long as another camera has
    seen the id; where no camera has two, an image of one camera. Of an id without known cameras, and of every id with
    `cameras="any"`, it is one image, if there are two. It is the first image of several, or a random one with `seed`.
    """
    by_id: defaultdict[int, defaultdict[int, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        by_id[sample.pid][NO_CAMERA if cameras == "any" else sample.camid].append(sample)
    rng = None if seed is None else np.random.default_rng(seed)
    return frozenset(_one(images, rng) for pid in sorted(by_id) for images in _to_ask_for(by_id[pid]))


def make_split(  # noqa: PLR0913 (options by name only)
    train: Sequence[Sample],
    test: Sequence[Sample] = (),
    names: Names = NO_NAMES,
    distractors: Collection[int] = (),
    *,
    share: float = 0.5,
    seed: int = 0,
    cameras: Cameras = "cross",
) -> Dataset:
    """Return a data set of the images of `train` and, as query and gallery, those of `test`.

    `names` says what ids and cameras are called, and `distractors` which pids of `test` no query may have. Where there
    are none to test with, `share` of the ids of `train` are held out for it. Junk goes to the gallery.

    Raises:
        DataError: no id can be held out, or no image of `test` can be a query.
    """
    junk = tuple(sample for sample in (*train, *test) if sample.pid == JUNK)
    train, test = (tuple(sample for sample in part if sample.pid != JUNK) for part in (train, test))
    if not test:
        train, test = hold_out(train, share, seed, cameras)
    able = [sample for sample in test if sample.pid not in distractors]
    asked = queries_of(able, cameras, seed)
    if not asked:
        raise _why_none(able, {sample.pid for sample in able}, cameras)
    query, gallery = tuple(s for s in test if s in asked), tuple(s for s in test if s not in asked)
    return Dataset("split", tuple(train), query, gallery, junk, names=names)


def write_split(dataset: Dataset, out: Path, how: How = "table") -> None:
    """Write a data set into the new folder `out`, all of it or nothing.

    `table` writes split.csv, which names the images where they lie. `copy` and `link` make
    `train|query|gallery/<id>/<image>`, of copies or of symbolic links.

    Raises:
        DataError: `out` is there already or cannot be written, an image cannot be read, the images lie in shards, or a
            camera's number has no room in a name, or a name none in a table.
    """
    refuse_address(out)
    if os.path.lexists(out):
        raise DataError(f"{out} is there already: name a new folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(out) as partial:
            (_write_table if how == "table" else _write_folders)(dataset, partial, how)
    except OSError as error:
        # A copy names its source where there is no room, too.
        if error.errno not in NO_ROOM and str(error.filename) in {str(sample.path) for _, sample in _rows(dataset)}:
            why = f"{error.filename} cannot be read ({error.strerror}): repair it, or take it out of the data set"
            raise DataError(why) from None
        remedy = f"{'make room for it, or ' if error.errno in NO_ROOM else ''}name another folder"
        raise DataError(f"{out} cannot be written ({error.strerror}): {remedy}", argument="out") from None


def _to_ask_for(images: dict[int, list[Sample]]) -> list[list[Sample]]:
    """Of the images of one id, by camera: those from which one each is asked for."""
    known = [images[camid] for camid in sorted(images) if camid != NO_CAMERA]
    if not known:
        return [group for group in images.values() if len(group) > 1]
    if len(known) == 1:
        return []
    return [group for group in known if len(group) > 1] or known[:1]


def _one(images: Sequence[Sample], rng: Generator | None) -> Sample:
    return images[0 if rng is None else int(rng.integers(len(images)))]


def _why_none(samples: Collection[Sample], ids: set[int], cameras: Cameras) -> DataError:
    if len(ids) < 2 and samples:
        return DataError(f"{len(ids)} id is too few to hold one out: give images of two ids or more")
    if cameras == "cross" and queries_of(samples, "any"):
        return DataError(
            "no id was seen by two cameras, so no query would have a true match: split with cameras='any'",
            argument="cameras",
        )
    return DataError("no id has two images, so no query would have a true match: give more images per id")


def _rows(dataset: Dataset) -> list[tuple[str, Sample]]:
    parts = ("train", dataset.train), ("query", dataset.query), ("gallery", [*dataset.gallery, *dataset.junk])
    rows = [(name, sample) for name, samples in parts for sample in samples]
    if not all(isinstance(sample.path, Path) for _, sample in rows):
        raise DataError("images in shards cannot be split: split the loose files, and then `reidkit shard` the result")
    return rows


def _write_table(dataset: Dataset, folder: Path, _: How) -> None:
    names = _that_can_be_written(dataset)
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "pid", "camid", "split"))
        for name, sample in _rows(dataset):
            camid = "" if sample.camid == NO_CAMERA else names.camid(sample.camid)
            pid = names.pid(sample.pid)
            try:
                writer.writerow((Path(str(sample.path)).absolute(), pid, camid, name))
            except UnicodeEncodeError:
                raise DataError(
                    f"the name of {sample.path} is no UTF-8, as a table is: rename it, or pass how='copy'",
                    argument="how",
                ) from None
        file.flush()
        os.fsync(file.fileno())


def _write_folders(dataset: Dataset, folder: Path, how: How) -> None:
    names = _that_can_be_written(dataset)
    for camid in {sample.camid for _, sample in _rows(dataset)} - {NO_CAMERA}:
        if camera(f"c{camid}_") != camid:
            raise DataError(
                f"camera {camid} has more digits than the name of an image gives back: pass how='table'", argument="how"
            )
    for number, (name, sample) in enumerate(_rows(dataset)):
        # the camera comes first, where it is found before whatever the image's own name says
        seen_by = "" if sample.camid == NO_CAMERA else f"c{sample.camid}_"
        pid = names.pids.get(sample.pid) or (f"{sample.pid:04d}" if sample.pid >= 0 else str(sample.pid))
        target = folder / name / pid / f"{seen_by}{number:06d}{Path(sample.path.name).suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        if how == "copy":
            shutil.copyfile(Path(str(sample.path)), target)
        else:
            target.symlink_to(Path(str(sample.path)).absolute())


def _that_can_be_written(dataset: Dataset) -> Names:
    """Return what ids and cameras are called; their numbers where one of the names would not come back as it is."""
    pids, camids = ({getattr(s, key) for _, s in _rows(dataset)} for key in ("pid", "camid"))
    wanted = dataset.names.restricted_to(pids, camids)
    return Names(
        wanted.pids if wanted.pids.keys() == pids - {JUNK} and all(map(_comes_back, wanted.pids.values())) else {},
        wanted.camids
        if wanted.camids.keys() == camids - {NO_CAMERA} and all(map(_comes_back, wanted.camids.values()))
        else {},
    )


def _comes_back(name: str) -> bool:
    """Return whether a name is one in a table and of a folder of images of an id."""
    try:
        same = label(name, "name") == name
    except DataError:
        return False
    return same and name[0] not in ".-" and not set(name) & set("/\\:") and name.lower() not in NO_IDS
