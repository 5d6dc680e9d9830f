"""PRID 2011 (Hirzer et al., SCIA 2011): two cameras, single images or sequences."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Literal

from reidkit.data.formats.scan import Format, first_image, folders_in, image_names, locate
from reidkit.errors import DataError
from reidkit.types import Dataset, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Shot = Literal["single_shot", "multi_shot"]
SHOTS: tuple[Shot, ...] = ("single_shot", "multi_shot")

PERSON = re.compile(r"person_(\d{1,9})", re.ASCII)
BOTH = 200
"""Ids up to this one are seen by both cameras; above it, the same number means another id in each camera."""
SEEN_BY_A = 385
LAYOUT = "prid (cam_a and cam_b with person_0001.png or person_0001/)"


def matches(folder: Path, shot: Shot | None = None) -> bool:
    """Return whether `folder` is laid out as PRID 2011, or as that part of it."""
    return _place(folder, shot) is not None


def load(folder: Path, shot: Shot | None = None) -> Dataset:
    """PRID 2011 from `prid_2011`, from one of the folders `single_shot` and `multi_shot`, or from the folder around.

    Without `shot`, single images are preferred. Queries are the images of the 200 ids that both cameras have seen, by
    camera a (1), and the gallery is all of camera b (2). From 201 on, the two cameras number different ids: here those
    of camera b follow the 385 of camera a. There is no training split: published splits are drawn at random.

    Raises:
        DataError: there is no such folder, or an image's or a folder's name does not fit.
    """
    root = locate(folder, lambda place: matches(place, shot), "PRID 2011: cam_a and cam_b with person_0001 in both")
    place = _place(root, shot) or root
    first, second = (tuple(_read(place / f"cam_{letter}", camid)) for camid, letter in enumerate("ab", 1))
    seen = {sample.pid for sample in second}
    return Dataset("prid", (), tuple(sample for sample in first if sample.pid in seen), second)


def _place(folder: Path, shot: Shot | None) -> Path | None:
    inner = [folder / "single_shot", folder / "multi_shot"] if shot is None else [folder / shot]
    straight = [folder] if shot is None or folder.name == shot else []
    return next(
        (place for place in (*inner, *straight) if all(map(_has_people, (place / "cam_a", place / "cam_b")))), None
    )


def _has_people(camera: Path) -> bool:
    if not camera.is_dir():
        return False
    name = first_image(camera) or next((child.name for child in folders_in(camera)), "")
    return bool(PERSON.match(name))


def _read(camera: Path, camid: int) -> Iterator[Sample]:
    """Yield the images right in a camera's folder, or in a folder per id."""
    images = [(name, camera / name) for name in image_names(camera)]
    images += [(child.name, child / name) for child in folders_in(camera) for name in image_names(child)]
    for name, path in images:
        match = PERSON.match(name)
        if not match:
            raise DataError(f"{path} does not say its id: rename it like person_0001, or remove it")
        pid = int(match[1])
        yield Sample(path, pid + SEEN_BY_A - BOTH if camid > 1 and pid > BOTH else pid, camid)


FORMATS = {"prid": Format(matches, load, guessed=True)} | {
    f"prid-{shot.replace('_', '-')}": Format(partial(matches, shot=shot), partial(load, shot=shot)) for shot in SHOTS
}
