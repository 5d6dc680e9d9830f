"""Market-1501 (Zheng et al., ICCV 2015), and own images named in its way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from reidkit.data.listing import any_image, locate, named_samples, without_junk
from reidkit.types import SYNTHETIC

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.types import Benchmark

NAME = re.compile(r"(?P<pid>-1|\d{1,9})_c(?P<cam>\d{1,5})")
EXAMPLE = "0002_c1s1_000451_03.jpg"
LAYOUT = f"market1501 (bounding_box_train with {EXAMPLE})"


def matches(folder: Path) -> bool:
    """Whether `folder` is laid out as Market-1501; DukeMTMC-reID, which has the same folders, is told by its names."""
    train = folder / "bounding_box_train"
    return train.is_dir() and not re.match(r"\d+_c\d+_f\d+", any_image(train) or "")


def load(folder: Path) -> Benchmark:
    """Market-1501 from `Market-1501-v15.09.15` or the folder it lies in.

    pid -1 marks bad detections: they are `junk`. pid 0 marks distractors, people who are in no query: they stay in the
    gallery.

    A set that `reidkit synth` drew is named `synthetic`.

    Raises:
        DataError: a folder is missing or holds no images, or a name says no person and camera.
    """
    root = locate(folder, matches, "Market-1501: unpack Market-1501-v15.09.15.zip there")
    train, query, gallery = (
        named_samples(root / name, NAME, EXAMPLE) for name in ("bounding_box_train", "query", "bounding_box_test")
    )
    return without_junk("synthetic" if _is_drawn(root) else "market1501", train, query, gallery)


def _is_drawn(root: Path) -> bool:
    readme = root / "README.txt"
    return readme.is_file() and readme.read_bytes().startswith(SYNTHETIC.encode())
