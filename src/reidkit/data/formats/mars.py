"""MARS (Zheng et al., ECCV 2016), whose sequences are read as single images."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from reidkit.data.formats.scan import Format, first_image, folders_in, image_names, locate, without_junk
from reidkit.data.split import queries_of
from reidkit.errors import DataError
from reidkit.types import JUNK, Dataset, Sample

if TYPE_CHECKING:
    from pathlib import Path

NAME = re.compile(r"(?P<pid>00-1|\d{4})C(?P<cam>\d)T\d+F\d+\.\w+", re.ASCII)
EXAMPLE = "0001C1T0001F001.jpg"
RULE = (
    "mars: the first image of an id by a camera is a query, and all others are the gallery; published scores compare "
    "whole sequences"
)
LAYOUT = f"mars (bbox_train/0001/{EXAMPLE})"


def matches(folder: Path) -> bool:
    """Return whether `folder` is laid out as MARS."""
    train = folder / "bbox_train"
    return train.is_dir() and any(NAME.fullmatch(first_image(child)) for child in folders_in(train))


def load(folder: Path) -> Dataset:
    """MARS from its folder or one around it: `bbox_train/<id>/` and `bbox_test/<id>/`, the latter possibly missing.

    00-1 marks junk, 0000 distractors, which have no query. MARS itself compares sequences; here the first image of an
    id by a camera is a query (see `queries_of`), and all others are the gallery. Scores are not those of sequences.

    Raises:
        DataError: there is no such folder, or an image's name does not fit.
    """
    root = locate(folder, matches, "MARS: bbox_train and bbox_test with a folder per id")
    train, test = _read(root / "bbox_train"), _read(root / "bbox_test")
    asked = queries_of([sample for sample in test if sample.pid > 0])
    gallery = tuple(sample for sample in test if sample not in asked)
    query = tuple(sample for sample in test if sample in asked)
    return without_junk("mars", train, query, gallery, notes=(RULE,) if query else ())


def _read(folder: Path) -> tuple[Sample, ...]:
    samples = []
    for child in folders_in(folder) if folder.is_dir() else ():
        for name in image_names(child):
            match = NAME.fullmatch(name)
            if not match:
                raise DataError(
                    f"{child / name} does not give an id and a camera: rename it like {EXAMPLE}, or remove it"
                )
            pid = JUNK if match["pid"] == "00-1" else int(match["pid"])
            samples.append(Sample(child / name, pid, int(match["cam"])))
    return tuple(samples)


FORMATS = {"mars": Format(matches, load, guessed=True)}
