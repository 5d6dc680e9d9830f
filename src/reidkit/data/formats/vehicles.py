"""Vehicles: VeRi-776 (Liu et al., ECCV 2016), VehicleID (Liu et al., CVPR 2016), VERI-Wild (Lou et al., CVPR 2019)."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from reidkit.data.formats.scan import Format, list_matches, locate, named_samples, without_junk
from reidkit.errors import DataError
from reidkit.types import NO_CAMERA, Dataset, Sample

if TYPE_CHECKING:
    from collections.abc import Callable


LISTS = "train_test_split"
VEHICLEID_SIZES = (800, 1600, 2400, 3200, 6000, 13164)
WILD_SIZES = (3000, 5000, 10000)
VEHICLEID_LAYOUT = f"vehicleid (image and {LISTS}/train_list.txt)"
WILD_LAYOUT = f"veri-wild (images and {LISTS}/train_list.txt)"
VERI_EXAMPLE = "0001_c001_00016450_0.jpg"
VERI_LAYOUT = f"veri776 (image_train with {VERI_EXAMPLE})"
LAYOUT = f"{VERI_LAYOUT}, {VEHICLEID_LAYOUT}, {WILD_LAYOUT}"

VEHICLEID_RULE = (
    "vehicleid: the first image of an id in the test list is its gallery image, and the others are queries; published "
    "scores draw it at random, ten times"
)

_VERI = re.compile(r"(?P<pid>\d{1,9})_c(?P<cam>\d{1,5})_")
_VEHICLEID = re.compile(r"(?P<image>[^\s/]{1,100}?)(?:\.jpg)?[\s,;]+(?P<pid>\d{1,9})", re.ASCII)
_WILD = re.compile(r"(?P<image>(?P<pid>\d{1,9})/[^\s/;]{1,100}?)(?:\.jpg)?(?:\s+\d+)?", re.ASCII)
_INFO = re.compile(r"(?P<image>\d{1,9}/[^\s/;]{1,100}?)(?:\.jpg)?;\s*(?P<pid>\d{1,5})(?:;.*)?", re.ASCII)

_Rows = list[tuple[str, int]]


def matches_veri(folder: Path) -> bool:
    """Return whether `folder` is laid out as VeRi-776."""
    return (folder / "image_train").is_dir() and (folder / "image_query").is_dir()


def load_veri(folder: Path) -> Dataset:
    """VeRi-776 from `VeRi` or the folder it lies in. Its queries lie in the gallery too: score across cameras.

    Raises:
        DataError: a folder is missing or holds no images, or a name gives no id and camera.
    """
    root = locate(folder, matches_veri, "VeRi-776: unpack VeRi.zip there")
    train, query, gallery = (
        named_samples(root / name, _VERI, VERI_EXAMPLE) for name in ("image_train", "image_query", "image_test")
    )
    return without_junk("veri776", train, query, gallery)


def matches_vehicleid(folder: Path) -> bool:
    """Return whether `folder` is laid out as VehicleID."""
    return (folder / "image").is_dir() and (folder / LISTS).is_dir()


def matches_wild(folder: Path) -> bool:
    """Return whether `folder` is laid out as VERI-Wild."""
    return (folder / "images").is_dir() and (folder / LISTS).is_dir()


def load_vehicleid(folder: Path, size: int = 800) -> Dataset:
    """VehicleID from its folder or one around it, with the test list of `size` ids, if there is one.

    The lists have `<image> <id>` a line. The first image of an id in the test list is its gallery, and the others are
    queries; published scores draw the gallery image ten times at random. The cameras are not known.

    Raises:
        DataError: there is no such folder, or a list or its images are missing, or a line does not fit.
    """
    root = locate(folder, matches_vehicleid, f"VehicleID: folders image and {LISTS}")
    train = _rows(root / LISTS / "train_list.txt", _VEHICLEID, "0000001 12")
    test = _rows_if_there(root / LISTS / f"test_list_{size}.txt", _VEHICLEID, "0000001 12", explicit=size != 800)
    first = {pid: image for image, pid in reversed(test)}
    gallery = [row for row in test if first[row[1]] == row[0]]
    query = [row for row in test if first[row[1]] != row[0]]
    found = _dataset("vehicleid", root / "image", [train, query, gallery], lambda _: NO_CAMERA)
    return replace(found, notes=(VEHICLEID_RULE,)) if query else found


def load_wild(folder: Path, size: int = 3000) -> Dataset:
    """VERI-Wild from its folder or one around it, with the lists of `size` test ids, if they are there.

    The lists have `<id>/<image>` a line, and vehicle_info.txt `<id>/<image>;<camera>;...`; without it the cameras are
    not known.

    Raises:
        DataError: there is no such folder, or a list or its images are missing, or a line does not fit.
    """
    root = locate(folder, matches_wild, f"VERI-Wild: folders images and {LISTS}")
    lists = root / LISTS
    train = _rows(lists / "train_list.txt", _WILD, "00001/000001")
    query, gallery = (
        _rows_if_there(lists / f"test_{size}{part}.txt", _WILD, "00001/000001", explicit=size != 3000)
        for part in ("_query", "")
    )
    info = lists / "vehicle_info.txt"
    cameras = dict(_rows(info, _INFO, "00001/000001;12;...", head=True)) if info.is_file() else {}
    asked = {image for image, _ in query}
    gallery = [row for row in gallery if row[0] not in asked]
    return _dataset("veri-wild", root / "images", [train, query, gallery], lambda image: cameras.get(image, NO_CAMERA))


def _dataset(name: str, folder: Path, lists: list[_Rows], camera: Callable[[str], int]) -> Dataset:
    splits = [tuple(Sample(folder / f"{image}.jpg", pid, camera(image)) for image, pid in rows) for rows in lists]
    for split in splits:
        if split and not Path(str(split[0].path)).is_file():
            raise DataError(f"{split[0].path}, which a list in {LISTS} names, is not there: unpack the data set again")
    train, query, gallery = splits
    return Dataset(name, train, query, gallery)


def _rows_if_there(table: Path, line: re.Pattern[str], example: str, *, explicit: bool) -> _Rows:
    """Return what `table` lists; nothing where it is missing and was not asked for."""
    return _rows(table, line, example) if explicit or table.is_file() else []


def _rows(table: Path, line: re.Pattern[str], example: str, *, head: bool = False) -> _Rows:
    """The images that `table` lists, each with its number: the id, or the camera. The first line may be a `head`."""
    return [(match["image"], int(match["pid"])) for match in list_matches(table, line, example, head=head)]


FORMATS = {
    "veri776": Format(matches_veri, load_veri, guessed=True),
    "vehicleid": Format(matches_vehicleid, load_vehicleid, guessed=True),
    **{f"vehicleid-{size}": Format(matches_vehicleid, partial(load_vehicleid, size=size)) for size in VEHICLEID_SIZES},
    "veri-wild": Format(matches_wild, load_wild, guessed=True),
    **{f"veri-wild-{size}": Format(matches_wild, partial(load_wild, size=size)) for size in WILD_SIZES},
}
