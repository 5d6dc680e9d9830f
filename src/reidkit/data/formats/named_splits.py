"""Data sets with their images straight in a folder per split, told apart by the images' names: LTCC, Celeb-reID."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from reidkit.data.formats.scan import Format, first_image, image_names, locate
from reidkit.errors import DataError
from reidkit.types import NO_CAMERA, Dataset, Sample

if TYPE_CHECKING:
    from pathlib import Path


class Layout(NamedTuple):
    """The folders of train, query and gallery, and a pattern of the names with the groups `pid` and, maybe, `cam`."""

    folders: tuple[str, str, str]
    pattern: re.Pattern[str]
    example: str
    called: str


LAYOUTS = {
    "ltcc": Layout(
        ("train", "query", "test"),
        re.compile(r"(?P<pid>\d{1,9})_\d+_c(?P<cam>\d{1,5})_\d+\.\w+", re.ASCII),
        "000_1_c3_015833.png",
        "LTCC (Qian et al., ACCV 2020), where people change their clothes",
    ),
    "celeb-reid": Layout(
        ("train", "query", "gallery"),
        re.compile(r"(?P<pid>\d{1,9})_\d+_\d+\.\w+", re.ASCII),
        "1_2_0.jpg",
        "Celeb-reID (Huang et al., 2019), whose cameras are not known",
    ),
}
LAYOUT = ", ".join(f"{name} ({', '.join(layout.folders)} with {layout.example})" for name, layout in LAYOUTS.items())


def matches(folder: Path, name: str) -> bool:
    """Return whether `folder` is laid out as the data set called `name`."""
    layout = LAYOUTS[name]
    first = [first_image(folder / part) for part in layout.folders]
    # a test folder may have been left out, but what is there must be named so
    return bool(first[0]) and all(layout.pattern.fullmatch(image) for image in first if image)


def load(folder: Path, name: str) -> Dataset:
    """Return the data set called `name` from its folder or one around it. A folder that is missing is an empty split.

    Raises:
        DataError: there is no training folder, or an image's name does not fit.
    """
    layout = LAYOUTS[name]
    wanted = f"{layout.called}: folders {', '.join(layout.folders)} with images like {layout.example}"
    root = locate(folder, lambda place: matches(place, name), wanted)
    train, query, gallery = (_read(root / part, layout) for part in layout.folders)
    return Dataset(name, train, query, gallery)


def _read(folder: Path, layout: Layout) -> tuple[Sample, ...]:
    samples = []
    for name in image_names(folder) if folder.is_dir() else ():
        match = layout.pattern.fullmatch(name)
        if not match:
            raise DataError(f"{folder / name} does not say its id: rename it like {layout.example}, or remove it")
        cam = match.groupdict().get("cam")
        samples.append(Sample(folder / name, int(match["pid"]), int(cam) if cam else NO_CAMERA))
    return tuple(samples)


FORMATS = {name: Format(partial(matches, name=name), partial(load, name=name), guessed=True) for name in LAYOUTS}
