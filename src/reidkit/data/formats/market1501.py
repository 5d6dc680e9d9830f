"""Market-1501 (Zheng et al., ICCV 2015), and own images named in its way."""

from __future__ import annotations

import re
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING

from reidkit.data.formats.scan import Format, any_image, first_image, locate, named_samples, without_junk
from reidkit.errors import DataError
from reidkit.types import SYNTHETIC, Dataset

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.types import Sample


NAME = re.compile(r"(?P<pid>-1|\d{1,9})_c(?P<cam>\d{1,9})(?!\d)")
EXAMPLE = "0002_c1s1_000451_03.jpg"
FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
DUKE_EXAMPLE = "0001_c2_f0046182.jpg"
DISTRACTORS = frozenset({0})
"""The pid of all distractors in Market-1501's gallery: false detections and people of no query, not one id."""

LAYOUT = f"market1501 (bounding_box_train with {EXAMPLE}), dukemtmc (bounding_box_train with {DUKE_EXAMPLE})"


def matches(folder: Path) -> bool:
    """Return whether `folder` is laid out as Market-1501; DukeMTMC-reID has the same folders and other names."""
    train = folder / "bounding_box_train"
    return train.is_dir() and not re.match(r"\d+_c\d+_f\d+", first_image(train))


def load(folder: Path, train_only: bool = False) -> Dataset:
    """Market-1501 from `Market-1501-v15.09.15` or a folder that it lies in.

    pid -1 marks bad detections: they are `junk`. pid 0 marks distractors, which have no query: they stay in the
    gallery. Where there are training images alone, or with `train_only`, query and gallery are empty.

    A set that `reidkit synth` drew is named `synthetic`.

    Raises:
        DataError: a folder is missing or holds no images, or a name gives no id and camera.
    """
    root = locate(folder, matches, "Market-1501: unpack Market-1501-v15.09.15.zip there")
    name = "synthetic" if _is_drawn(root) else "market1501"
    return load_boxes(name, root, NAME, EXAMPLE, train_only=train_only)


def load_boxes(name: str, root: Path, pattern: re.Pattern[str], example: str, *, train_only: bool) -> Dataset:
    """Return the three folders of Market-1501 with images named by `pattern`, or the first of them alone.

    Raises:
        DataError: as `load`.
    """
    train, query, gallery = (root / part for part in FOLDERS)
    if train_only or not (any_image(query) or any_image(gallery)):
        return without_junk(name, named_samples(train, pattern, example), (), ())
    if not any_image(query):
        raise DataError(
            f"{root} holds images in {gallery.name} and none in query: make one by "
            f"`reidkit split {quote(str(root))} OUT`, or pass "
            f"format='{name_of_training_alone(name)}' to train on {train.name} alone",
            argument="format",
        )
    if not any_image(gallery):
        raise DataError(
            f"{root} holds images in query and none in {gallery.name}: unpack the data set again, or pass format="
            f"'{name_of_training_alone(name)}' to train on {train.name} alone",
            argument="format",
        )
    images, queries, tests = (named_samples(part, pattern, example) for part in (train, query, gallery))
    return without_junk(name, images, queries, tests)


def name_of_training_alone(name: str) -> str:
    """Return what `format` calls the training images of such a data set."""
    return "dukemtmc-train" if "duke" in name else "market1501-train"


def lacks_query(root: Path) -> bool:
    """Return whether `root` is laid out as Market-1501 or DukeMTMC-reID with a gallery and no query."""
    return (
        (matches(root) or matches_duke(root)) and bool(any_image(root / FOLDERS[2])) and not any_image(root / "query")
    )


def load_without_query(root: Path) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Return the images to train on and those to test with, of such a folder."""
    names = (DUKE_NAME, DUKE_EXAMPLE) if matches_duke(root) else (NAME, EXAMPLE)
    train, test = (named_samples(root / part, *names) for part in (FOLDERS[0], FOLDERS[2]))
    return train, test


def _is_drawn(root: Path) -> bool:
    readme = root / "README.txt"
    return readme.is_file() and readme.read_bytes().startswith(SYNTHETIC.encode())


# DukeMTMC-reID (Ristani et al. 2016, Zheng et al., ICCV 2017), in the same layout. Withdrawn in 2019: see
# docs/datasets.md.


DUKE_NAME = re.compile(r"(?P<pid>\d{1,9})_c(?P<cam>\d{1,9})_f\d+")


def matches_duke(folder: Path) -> bool:
    """Return whether `folder` is laid out as DukeMTMC-reID: Market-1501's folders, with a frame number in the names."""
    return bool(DUKE_NAME.match(first_image(folder / "bounding_box_train")))


def load_duke(folder: Path, train_only: bool = False, name: str = "") -> Dataset:
    """DukeMTMC-reID from `DukeMTMC-reID` or a folder that it lies in. It has no junk; distractors have their own ids.

    Occluded-Duke has the same layout: it is called so where `name` is given, or the name of its folder.

    Raises:
        DataError: a folder is missing or holds no images, or a name gives no id and camera.
    """
    root = locate(folder, matches_duke, "DukeMTMC-reID: unpack DukeMTMC-reID.zip there")
    name = name or ("occluded-duke" if "occluded" in root.name.lower() else "dukemtmc")
    return load_boxes(name, root, DUKE_NAME, DUKE_EXAMPLE, train_only=train_only)


FORMATS = {
    "market1501": Format(matches, load, guessed=True),
    "market1501-train": Format(matches, partial(load, train_only=True)),
    "dukemtmc": Format(matches_duke, load_duke, guessed=True),
    "dukemtmc-train": Format(matches_duke, partial(load_duke, train_only=True)),
    "occluded-duke": Format(matches_duke, partial(load_duke, name="occluded-duke")),
}
