"""DukeMTMC-reID (Ristani et al. 2016, Zheng et al., ICCV 2017). Withdrawn in 2019: see docs/datasets.md."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from reidkit.data.listing import any_image, locate, named_samples, without_junk

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.types import Benchmark

NAME = re.compile(r"(?P<pid>\d{1,9})_c(?P<cam>\d{1,5})_f\d+")
EXAMPLE = "0001_c2_f0046182.jpg"
LAYOUT = f"dukemtmc (bounding_box_train with {EXAMPLE})"


def matches(folder: Path) -> bool:
    """Whether `folder` is laid out as DukeMTMC-reID: Market-1501's folders, with a frame number in the names."""
    return bool(NAME.match(any_image(folder / "bounding_box_train") or ""))


def load(folder: Path) -> Benchmark:
    """DukeMTMC-reID from `DukeMTMC-reID` or the folder it lies in. It has no junk; its distractors have their own ids.

    Raises:
        DataError: a folder is missing or holds no images, or a name says no person and camera.
    """
    root = locate(folder, matches, "DukeMTMC-reID: unpack DukeMTMC-reID.zip there")
    train, query, gallery = (
        named_samples(root / name, NAME, EXAMPLE) for name in ("bounding_box_train", "query", "bounding_box_test")
    )
    return without_junk("dukemtmc", train, query, gallery)
