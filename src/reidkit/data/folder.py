"""Own images: one folder per person."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from reidkit.data.listing import any_image, folders_in, image_names, locate, without_junk
from reidkit.types import JUNK, NO_CAMERA, DataError, Sample

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.types import Benchmark

CAMERA = re.compile(r"(?<![^\W_])[cC](\d{1,5})(?=s\d|[\W_]|$)")
SPLITS = ("train", "query", "gallery")
LAYOUT = "folder (train/<pid>/<image> or <pid>/<image>)"


def matches(folder: Path) -> bool:
    """Whether `folder` holds a folder of images per person, below train, query and gallery or right away."""
    return _has_splits(folder) or _has_people(folder)


def load(folder: Path) -> Benchmark:
    """Images sorted into `train|query|gallery/<person>/`, or into `<person>/` alone, which is then all for training.

    A person's folder may have any name; people are numbered in the sorted order of the names over all splits, and one
    called -1 holds junk. The camera is the number in a `c<N>` that stands by itself in the file's name, as in
    `a_c3_17.jpg` or `c3s1_17.jpg`, and unknown where there is none.

    Raises:
        DataError: there is no such folder, or there are no people with images in it.
    """
    root = locate(folder, matches, "folders of images, one per person")
    splits = [_people(root / split) for split in SPLITS] if _has_splits(root) else [_people(root), {}, {}]
    names = sorted({person for people in splits for person in people} - {str(JUNK)})
    pids = {name: pid for pid, name in enumerate(names)} | {str(JUNK): JUNK}
    train, query, gallery = (
        tuple(Sample(path, pids[person], camera(path.name)) for person, paths in people.items() for path in paths)
        for people in splits
    )
    if not (train or query or gallery):
        raise DataError(f"{root} holds no images: put them into {root.name}/train/<person>/")
    return without_junk("folder", train, query, gallery)


def _has_splits(folder: Path) -> bool:
    return any(_has_people(folder / split) for split in SPLITS)


def _has_people(folder: Path) -> bool:
    return folder.is_dir() and any(any_image(child) for child in folders_in(folder))


def _people(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        return {}
    people = {child: image_names(child) for child in folders_in(folder)}
    return {child.name: [child / name for name in names] for child, names in people.items() if names}


def camera(name: str) -> int:
    """The number in a `c<N>` that stands by itself in a file's name; NO_CAMERA where there is none."""
    match = CAMERA.search(name)
    return int(match[1]) if match else NO_CAMERA
