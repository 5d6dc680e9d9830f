"""DukeMTMC-reID (Ristani et al. 2016, Zheng et al., ICCV 2017). Withdrawn in 2019: see docs/datasets.md."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from reidkit.data.formats.market1501 import load_boxes
from reidkit.data.formats.scan import Format, any_image, locate

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.types import Dataset

NAME = re.compile(r"(?P<pid>\d{1,9})_c(?P<cam>\d{1,5})_f\d+")
EXAMPLE = "0001_c2_f0046182.jpg"
LAYOUT = f"dukemtmc (bounding_box_train with {EXAMPLE})"


def matches(folder: Path) -> bool:
    """Return whether `folder` is laid out as DukeMTMC-reID: Market-1501's folders, with a frame number in the names."""
    return bool(NAME.match(any_image(folder / "bounding_box_train") or ""))


def load(folder: Path, train_only: bool = False, name: str = "") -> Dataset:
    """DukeMTMC-reID from `DukeMTMC-reID` or a folder that it lies in. It has no junk; distractors have their own ids.

    Occluded-Duke has the same layout: it is called so where `name` is given, or the name of its folder.

    Raises:
        DataError: a folder is missing or holds no images, or a name gives no id and camera.
    """
    root = locate(folder, matches, "DukeMTMC-reID: unpack DukeMTMC-reID.zip there")
    name = name or ("occluded-duke" if "occluded" in root.name.lower() else "dukemtmc")
    return load_boxes(name, root, NAME, EXAMPLE, train_only=train_only)


FORMATS = {
    "dukemtmc": Format(matches, load, guessed=True),
    "dukemtmc-train": Format(matches, partial(load, train_only=True)),
    "occluded-duke": Format(matches, partial(load, name="occluded-duke")),
}
