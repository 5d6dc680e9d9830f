"""Occluded-REID (Zhuo et al., ICME 2018): queries behind something, the same ids whole in the gallery; for testing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reidkit.data.formats.labels import numbered
from reidkit.data.formats.scan import Format, folders_in, image_names, locate, without_junk
from reidkit.errors import DataError
from reidkit.types import NO_CAMERA, Dataset, Names, Sample

if TYPE_CHECKING:
    from pathlib import Path

FOLDERS = ("occluded_body_images", "whole_body_images")
LAYOUT = f"occluded-reid ({' and '.join(FOLDERS)})"


def matches(folder: Path) -> bool:
    """Return whether `folder` is laid out as Occluded-REID."""
    return all((folder / name).is_dir() for name in FOLDERS)


def load(folder: Path) -> Dataset:
    """Occluded-REID from its folder or one around it: the occluded images are the queries, the whole ones the gallery.

    There is no training split, and the cameras are not known: evaluate with `cameras='any'`.

    Raises:
        DataError: there is no such folder, or no images are in it.
    """
    root = locate(folder, matches, f"Occluded-REID: folders {' and '.join(FOLDERS)}, each with a folder per id")
    named = [
        [(child.name, child / name) for child in folders_in(root / part) for name in image_names(child)]
        for part in FOLDERS
    ]
    for part, images in zip(FOLDERS, named, strict=True):
        if not images:
            raise DataError(f"{root / part} holds no folders of images: unpack Occluded-REID again")
    pids, called = numbered({name for images in named for name, _ in images}, "id", str(root))
    query, gallery = (tuple(Sample(path, pids[name], NO_CAMERA) for name, path in images) for images in named)
    return without_junk("occluded-reid", (), query, gallery, Names(called))


FORMATS = {"occluded-reid": Format(matches, load, guessed=True)}
