"""VeRi-776 (Liu et al., ECCV 2016): vehicles instead of people, 776 of them, seen by 20 cameras."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from reidkit.data.formats.scan import Format, locate, named_samples, without_junk

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.types import Dataset

NAME = re.compile(r"(?P<pid>\d{1,9})_c(?P<cam>\d{1,5})_")
EXAMPLE = "0001_c001_00016450_0.jpg"
LAYOUT = f"veri776 (image_train with {EXAMPLE})"


def matches(folder: Path) -> bool:
    """Return whether `folder` is laid out as VeRi-776."""
    return (folder / "image_train").is_dir() and (folder / "image_query").is_dir()


def load(folder: Path) -> Dataset:
    """VeRi-776 from `VeRi` or the folder it lies in. Its queries lie in the gallery too: score across cameras.

    Raises:
        DataError: a folder is missing or holds no images, or a name gives no id and camera.
    """
    root = locate(folder, matches, "VeRi-776: unpack VeRi.zip there")
    train, query, gallery = (
        named_samples(root / name, NAME, EXAMPLE) for name in ("image_train", "image_query", "image_test")
    )
    return without_junk("veri776", train, query, gallery)


FORMATS = {"veri776": Format(matches, load, guessed=True)}
