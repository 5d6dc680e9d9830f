"""CUHK03 (Li et al., CVPR 2014): by the new protocol (Zhong et al., CVPR 2017) and by the classic one of 20 splits."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Literal

from reidkit.data.formats.scan import Format, locate, named_samples, without_junk
from reidkit.errors import DataError
from reidkit.types import Dataset, Sample

Boxes = Literal["detected", "labeled"]
Protocol = Literal["new", "classic"]

CLASSIC_SPLITS = 20
NAME = re.compile(r"(?P<pid>\d{1,9})_c(?P<cam>\d{1,9})(?!\d)")
VIEW = re.compile(r"\d{1,9}_\d{1,9}_(?P<cam>\d{1,5})_\d{1,9}\.\w+")
"""An extracted image: pair of cameras, person, which camera of the pair, and a number."""

EXAMPLE = "0001_c1_1.png"
LAYOUT = "cuhk03 (detected/bounding_box_train or images_detected)"


def matches(folder: Path) -> bool:
    """Return whether `folder` is laid out as CUHK03 in one of the ways that `load` reads, or holds cuhk-03.mat."""
    names = [f"{boxes}/bounding_box_train" for boxes in ("detected", "labeled")]
    names += ["images_detected", "images_labeled", "cuhk-03.mat"]
    return any((folder / name).exists() for name in names)


def load(folder: Path, boxes: Boxes = "detected", protocol: Protocol = "new", split: int = 0) -> Dataset:
    """CUHK03 from one of two layouts, or from the folder it lies in.

    `cuhk03-np`, new protocol only: `{detected,labeled}/{bounding_box_train,query,bounding_box_test}`, with names as
    Market-1501's. Extracted, both protocols: the images in `images_{detected,labeled}`, and in
    `splits_{new,classic}_{detected,labeled}.json` a list of splits, each with `train`, `query` and `gallery` as lists
    of [path, pid, camid], of which only the path's last part counts. `split` is 0 for the new protocol and 0 to 19 for
    the classic one, whose query and gallery are the same images. The table counts cameras from 0, and the names of
    the images from 1 as cuhk03-np does: where they agree, the camera has the number of its name.

    Raises:
        DataError: the layout is another, or something in it is missing.
    """
    root = locate(folder, matches, "CUHK03 as cuhk03-np or extracted: docs/datasets.md shows both")
    name = f"cuhk03-{boxes}" if protocol == "new" else f"cuhk03-classic-{boxes}-{split}"
    table = root / f"splits_{protocol}_{boxes}.json"
    if table.is_file():
        return _extracted(name, table, root / f"images_{boxes}", split)
    if protocol == "new" and (root / boxes).is_dir():
        parts = ("bounding_box_train", "query", "bounding_box_test")
        train, query, gallery = (named_samples(root / boxes / part, NAME, EXAMPLE) for part in parts)
        return without_junk(name, train, query, gallery)
    if (root / "cuhk-03.mat").is_file():
        raise DataError(
            f"{root / 'cuhk-03.mat'} is not read: get cuhk03-np, or extract it into images_{boxes} and {table.name}"
        )
    raise DataError(
        f"{table} is not there, and CUHK03 in the {protocol} protocol with {boxes} boxes needs it: extract CUHK03 again"
    )


def _extracted(name: str, table: Path, images: Path, split: int) -> Dataset:
    """Return one split of an extracted copy.

    In its tables ids begin anew in query and gallery: they are moved behind those of train.

    Raises:
        DataError: the table cannot be read, has no such split, or names images that are not there.
    """
    try:
        splits = json.loads(table.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{table} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise DataError(f"{table} is not JSON: extract CUHK03 again") from None
    try:
        parts = splits[split]
        train, query, gallery = ([_sample(images, *row) for row in parts[key]] for key in ("train", "query", "gallery"))
    except IndexError:
        raise DataError(f"{table} has no split {split}: it has {len(splits)}, counted from 0") from None
    except (KeyError, TypeError, ValueError):
        raise DataError(
            f"{table} does not hold train, query and gallery as lists of [path, pid, camid]: extract CUHK03 again"
        ) from None
    if not (train and query and gallery):
        raise DataError(f"{table} has no images in train, query or gallery of split {split}: extract CUHK03 again")
    if not Path(str(train[0].path)).is_file():
        raise DataError(f"{train[0].path}, which {table.name} names, is not there: extract CUHK03 again")
    first = 1 + max(sample.pid for sample in train)
    moved = ([Sample(s.path, s.pid + first, s.camid) for s in part] for part in (query, gallery))
    moved_query, moved_gallery = (tuple(part) for part in moved)
    return Dataset(name, tuple(train), moved_query, moved_gallery)


def _sample(images: Path, path: str, pid: int, camid: int) -> Sample:
    """One row of a table, which was written on another machine: only the last part of its path holds here."""
    name = PureWindowsPath(path).name
    view = VIEW.fullmatch(name)
    ours = int(camid) + 1 if view and int(view["cam"]) == int(camid) + 1 else int(camid)
    return Sample(images / name, int(pid), ours)


FORMATS = {
    "cuhk03": Format(matches, load, guessed=True),
    "cuhk03-detected": Format(matches, load),
    "cuhk03-labeled": Format(matches, partial(load, boxes="labeled")),
} | {
    f"cuhk03-classic-{boxes}-{split}": Format(matches, partial(load, boxes=boxes, protocol="classic", split=split))
    for boxes in ("detected", "labeled")
    for split in range(CLASSIC_SPLITS)
}
"""The classic protocol has a name for each of its 20 splits."""
