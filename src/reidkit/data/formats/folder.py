"""Own images: one folder per id, straight or with folders below it, or below a folder for each camera."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING, Literal

from reidkit.data.formats.labels import as_names, refuse_two_spellings
from reidkit.data.formats.scan import Format, any_image, first_image, folders_in, image_names, locate, without_junk
from reidkit.errors import DataError
from reidkit.terminal import first_and_more
from reidkit.types import NO_CAMERA, SPLITS, Names, Sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from reidkit.types import Dataset

    _Ids = dict[str, list[tuple[Path, int]]]
    """The images of each id, with the camera that a folder gives."""

Shape = Literal["ids", "nested", "cameras"]
"""`<id>/<image>`, `<id>/<folder>/<image>`, or `<camera>/<id>/<image>`."""

CAMERA = re.compile(r"(?<![^\W_])(?:c|cam(?:era)?[-_]?)(\d{1,5})(?=s\d|[\W_]|$)", re.IGNORECASE)
CAMERA_FOLDER = re.compile(r"(?:(?:camera|cam|view)[-_ ]?(?:(\d{1,5})|([a-z]))|c[-_ ]?(\d{1,5}))", re.IGNORECASE)
SESSION_FOLDER = re.compile(
    r"(?:session|sess|seq|sequence|tracklet|track|day|clip|video|vid)(?:[-_ ]?\d{1,8}|[-_ ][a-z0-9]{1,8})?"
    r"|(?:set|s|t)[-_ ]?\d{1,8}|\d{4}-?\d\d-?\d\d.*",
    re.IGNORECASE,
)
ID_FOLDER = re.compile(r"(?:person|people|pid|id|p)?[-_ ]?\d+", re.IGNORECASE)
LEADING = re.compile(r"(\d{1,3})_\d+\.\w+", re.ASCII)
"""`01_3.png`: a camera, and the number of an image."""
FIRST_NUMBERS = (
    "folder: the cameras are the first numbers of names such as {}; if they are something else, evaluate with any "
    "cameras (--cameras any), or name the cameras in a table"
)

SPLIT_WORDS = frozenset(
    [
        *("train", "training", "trainval", "train_all", "val", "valid", "validation", "test", "testing"),
        *("query", "queries", "probe", "multi-query", "gallery", "gt_bbox", "gt_query"),
        *("bounding_box_train", "bounding_box_test", "bbox_train", "bbox_test"),
        *("image_train", "image_query", "image_test"),
    ]
)
PLACE_WORDS = frozenset(
    [
        *("image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "crops", "frames"),
        *("data", "dataset", "datasets", "output", "outputs", "out"),
    ]
)
NO_IDS = SPLIT_WORDS | PLACE_WORDS
"""Folders of these names are parts of a data set, and never an id."""

ALSO_CALLED = {"train": ("training",), "test": ("testing",), "query": ("queries", "probe")}

MAX_DEPTH = 3
"""Folders below an id that are looked into."""

LAYOUT = "folder (train/<id>/<image>, <id>/<image>, <id>/<camera>/<image> or <camera>/<id>/<image>)"


def matches(folder: Path) -> bool:
    """Return whether `folder` holds a folder of images per id, below train, query and gallery or right away.

    A single folder of images is not enough: that is more often a folder of everybody's images than one of one id.
    """
    return _has_splits(folder) or (_shape(folder) is not None and not _is_alone(folder))


def load(folder: Path, shape: Shape | None = None) -> Dataset:
    """Images sorted into `train|query|gallery/<id>/`, or into `<id>/` alone, which is then all for training.

    An id's folder may have any name but those in `NO_IDS`; ids are numbered in the sorted order of the names over all
    splits, and one called -1 holds junk. Below an id there may be folders (of cameras, of sessions), and above the ids
    folders of cameras. `shape` says which it is where names do not tell.

    The camera is the number (or letter, counted from a = 1) of a folder called like `cam1`, `c2` or `camera_b`. If
    one of the folders above the ids has another name, they are numbered from 1 on in the sorted order of the names. If
    there is none, it is that of a `c<N>` or `cam<N>` that stands by itself in the file's name, as in `a_c3_17.jpg` or
    `c3s1_17.jpg`. If no name in the data set has one and all are like `01_3.png`, it is the first number, provided that
    it comes again below other ids and is not the id. Otherwise it is unknown.

    Raises:
        DataError: there is no such folder, there are no ids with images in it, there are `train` and `test` alone, or
            two folders above the ids are the same camera.
    """
    wanted = (
        "a folder of images per id: put the images of each id into a folder of its own, or name their ids in a .csv of "
        "path,pid,camid"
    )
    root = locate(folder, lambda place: _has_splits(place) or bool(shape or _shape(place)), wanted)
    if _has_splits(root):
        if lacks_query(root):
            raise DataError(
                f"{root} holds train and test, and no query and gallery: make them by `reidkit split "
                f"{quote(str(root))} OUT`, or name {part_of(root, 'train')} to train on that alone"
            )
        parts = [part_of(root, split) for split in SPLITS]
        splits, cameras = _read([(part, shape or _inner_shape(part)) for part in parts])
    else:
        splits, cameras = _read([(root, shape or _shape(root))])
        splits += [{}, {}]
    (train, query, gallery), names, guessed = _numbered(splits, cameras)
    refuse_two_spellings(names.pids.values(), "id", str(root))
    if not (train or query or gallery):
        raise DataError(f"{root} holds no images: put them into {root.name}/train/<id>/")
    notes = (FIRST_NUMBERS.format(guessed.name),) if guessed else ()
    return without_junk("folder", train, query, gallery, names, notes=notes)


def lacks_query(root: Path) -> bool:
    """Return whether `root` holds the ids of a training and a test split, and neither a query nor a gallery."""
    split = bool(_inner_shape(part_of(root, "train"))) and _inner_shape(part_of(root, "test"))
    return bool(split) and not any(part_of(root, part).is_dir() for part in ("query", "gallery"))


def load_without_query(root: Path) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Return the images to train on and those to test with, of such a folder."""
    (train, test), *_ = _numbered(*_read_without_query(root))
    return train, test


def names_of_split(root: Path) -> Names:
    """Return what the ids of such a folder are called."""
    return _numbered(*_read_without_query(root))[1]


def _read_without_query(root: Path) -> tuple[list[_Ids], dict[int, str]]:
    parts = [part_of(root, name) for name in ("train", "test")]
    return _read([(part, _inner_shape(part)) for part in parts])


def part_of(root: Path, name: str) -> Path:
    """Return the folder of `root` that is called `name`, in capitals or not, or as others call the same part."""
    if (root / name).is_dir() or not root.is_dir():
        return root / name
    called = {name, *ALSO_CALLED.get(name, ())}
    return next((child for child in folders_in(root) if child.name.lower() in called), root / name)


def camera(name: str) -> int:
    """The number in a `c<N>` or `cam<N>` that stands by itself in a file's name; NO_CAMERA where there is none."""
    match = CAMERA.search(name)
    return int(match[1]) if match else NO_CAMERA


def camera_of_folder(name: str) -> int:
    """The number of a folder that is called like a camera (`cam1`, `c2`, `camera_b` = 2); NO_CAMERA for any other."""
    match = CAMERA_FOLDER.fullmatch(name)
    if not match:
        return NO_CAMERA
    return ord(match[2].lower()) - ord("a") + 1 if match[2] else int(match[1] or match[3])


def complaint(folder: Path) -> str:
    """Why `folder` is not a data set of own images, and what to do; empty where there is nothing to say."""
    children = folders_in(folder)
    straight = [child for child in children if any_image(child)]
    if name := first_image(folder):
        around = f"name the folder around it ({folder.parent}), " if folder.name.lower() in SPLIT_WORDS else ""
        return f"{folder} holds images straight, such as {name}: {around}{_ways_out(folder)}"
    if straight and all(camera_of_folder(child.name) != NO_CAMERA for child in straight):
        return (
            f"{folder} holds a folder of images per camera ({_some(straight)}) and none per id: {_ways_out(folder)}; "
            "if their names are ids after all, pass format='folder-ids'"
        )
    for child in straight:
        if child.name.lower() in NO_IDS or len(straight) == 1:
            alone = "" if child.name.lower() in NO_IDS else "; if they all show one id, pass format='folder-ids'"
            return f"{child} holds images straight, such as {first_image(child)}: {_ways_out(child)}{alone}"
    if parts := [child for child in children if child.name.lower() in SPLIT_WORDS and _inner_shape(child)]:
        return (
            f"{folder} holds folders of ids in {_some(parts)} and no train: name one of them ({parts[0]}) to train on "
            f"it, or make a query and a gallery of its ids by `reidkit split {quote(str(parts[0]))} OUT`"
        )
    return of_two_levels(folder, [child for child in children if _inner_shape(child)])


def of_two_levels(folder: Path, deeper: list[Path]) -> str:
    """What the folders `deeper` in `folder` may be, and what to do for each; empty where they are no ids or cameras."""
    if not deeper or any(place.parent != folder or _has_splits(place) for place in deeper):
        return ""
    inside = [inner for inner in folders_in(deeper[0]) if any_image(inner)]
    return (
        f"{folder} holds folders of folders of images ({_some(deeper)}; in the first of them {_some(inside)}): if "
        f"{deeper[0].name} is an id, pass format='folder-nested'; if it is a camera, format='folder-cameras'; and if "
        f"it is a data set, name {deeper[0]}"
    )


def _ways_out(folder: Path) -> str:
    return (
        f"sort them into a folder per id ({folder.name}/<id>/<image>), "
        "or list them in a .csv that begins with path,pid,camid,split"
    )


def _some(folders: list[Path]) -> str:
    return first_and_more(folder.name for folder in folders)


def _has_splits(folder: Path) -> bool:
    return any(_inner_shape(part_of(folder, split)) for split in SPLITS)


def _numbered(splits: list[_Ids], named: dict[int, str]) -> tuple[list[tuple[Sample, ...]], Names, Path | None]:
    """Return the images of every split, with numbers for the ids and the cameras, and what these are called.

    `named` is what the cameras are called. The last is an image where the cameras are the first numbers of names, which
    may be something else; or None.
    """
    pids, names = as_names({name for ids in splits for name in ids})
    cameras, guessed = _cameras(splits)
    samples = [
        tuple(Sample(path, pids[name], cameras[path]) for name, images in ids.items() for path, _ in images)
        for ids in splits
    ]
    return samples, Names(names, named), guessed


def _shape(folder: Path) -> Shape | None:
    """Return how the ids of `folder` lie, as far as the names of the folders say so beyond doubt."""
    children = _candidates(folder)
    straight = [child for child in children if any_image(child)]
    if straight:
        return None if all(camera_of_folder(child.name) != NO_CAMERA for child in straight) else "ids"
    inside = {child.name: _names_inside(child) for child in children}
    tops, inner = [name for name in inside if inside[name]], set().union(*inside.values())
    if not tops:
        return None
    if all(camera_of_folder(name) != NO_CAMERA for name in tops):
        return "cameras"
    if len(tops) > 1 and _are_below_ids(tops, inner):
        return "nested"
    return None


def _are_below_ids(tops: list[str], inner: set[str]) -> bool:
    """Return whether `tops` are ids and `inner` are what lies below an id: cameras, sessions."""
    if inner & NO_IDS or any(SESSION_FOLDER.fullmatch(name) and not ID_FOLDER.fullmatch(name) for name in tops):
        return False
    if all(camera_of_folder(name) != NO_CAMERA or SESSION_FOLDER.fullmatch(name) for name in inner):
        return True
    return all(ID_FOLDER.fullmatch(name) for name in tops) and not any(ID_FOLDER.fullmatch(name) for name in inner)


def _inner_shape(folder: Path) -> Shape | None:
    """Return the same inside a split, where the folders must be ids unless they are called like cameras."""
    if not folder.is_dir():
        return None
    if shape := _shape(folder):
        return shape
    children = _candidates(folder)
    if any(any_image(child) for child in children):
        return None
    return "nested" if any(_names_inside(child) for child in children) else None


def _candidates(folder: Path) -> list[Path]:
    return [child for child in folders_in(folder) if child.name.lower() not in NO_IDS] if folder.is_dir() else []


def _names_inside(folder: Path) -> set[str]:
    return {inner.name for inner in folders_in(folder) if any_image(inner)}


def _is_alone(folder: Path) -> bool:
    return sum(1 for child in _candidates(folder) if any_image(child)) == 1


def _read(parts: list[tuple[Path, Shape | None]]) -> tuple[list[_Ids], dict[int, str]]:
    """Return the images of every id of each part, and what the cameras are called, where their folders have names."""
    seen_by, names = _cameras_above([part for part, shape in parts if shape == "cameras"])
    return [_ids(part, shape, seen_by) for part, shape in parts], names


def _cameras_above(parts: list[Path]) -> tuple[dict[str, int], dict[int, str]]:
    """Return the number of each folder of a camera above the ids, the same in all parts, and names of the numbers.

    Raises:
        DataError: two folders of one part are the same camera.
    """
    places = [[place for place in _candidates(part) if _holds_ids(place)] for part in parts]
    names = sorted({place.name for part in places for place in part})
    numbers = {name: camera_of_folder(name) for name in names}
    if NO_CAMERA in numbers.values():
        return {name: number for number, name in enumerate(names, 1)}, dict(enumerate(names, 1))
    for part in places:
        first: dict[int, Path] = {}
        for place in part:
            if (other := first.setdefault(numbers[place.name], place)) is not place:
                raise DataError(
                    f"{other} and {place.name} beside it are both camera {numbers[place.name]}: rename one of them, or "
                    "put the images of both into one"
                )
    return numbers, {}


def _holds_ids(place: Path) -> bool:
    return any(True for child in folders_in(place) for _ in _images(child, NO_CAMERA))


def _ids(folder: Path, shape: Shape | None, cameras: Mapping[str, int]) -> _Ids:
    """Return the images of every id of `folder`, each with the camera of its folder; `cameras` are those above ids."""
    found: defaultdict[str, list[tuple[Path, int]]] = defaultdict(list)
    if shape is None or not folder.is_dir():
        return found
    if shape != "cameras":
        for child in _candidates(folder):
            found[child.name] += _images(child, NO_CAMERA, anything=shape == "nested")
    else:
        for place in _candidates(folder):
            for child in folders_in(place) if place.name in cameras else ():
                found[child.name] += _images(child, cameras[place.name])
    return {name: images for name, images in found.items() if images}


def _images(folder: Path, seen_by: int, *, anything: bool = False, depth: int = 0) -> Iterator[tuple[Path, int]]:
    """Yield the images in `folder` and in the folders of cameras and sessions below it, or in `anything` below it."""
    for name in image_names(folder):
        yield folder / name, seen_by
    for child in folders_in(folder) if depth < MAX_DEPTH else ():
        number = camera_of_folder(child.name)
        known = anything or number != NO_CAMERA or SESSION_FOLDER.fullmatch(child.name)
        if known and not _leads_up(child):
            yield from _images(child, seen_by if number == NO_CAMERA else number, anything=anything, depth=depth + 1)


def _leads_up(folder: Path) -> bool:
    """Return whether `folder` is a link to a folder that it lies in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def _cameras(splits: Iterable[_Ids]) -> tuple[dict[Path, int], Path | None]:
    """Return the camera of every image, of its folder or of its name; and one of them where that is but likely."""
    images = [(name, path, seen_by) for ids in splits for name, found in ids.items() for path, seen_by in found]
    cameras = {path: camera(path.name) if seen_by == NO_CAMERA else seen_by for _, path, seen_by in images}
    if all(camid == NO_CAMERA for camid in cameras.values()):
        leading = _leading([(name, path) for name, path, _ in images])
        return leading or cameras, next(iter(leading), None)
    return cameras, None


def _leading(images: list[tuple[str, Path]]) -> dict[Path, int]:
    """Return the first numbers of names that are all like `01_3.png`; none where these cannot be cameras."""
    cameras: dict[Path, int] = {}
    seen: defaultdict[int, set[str]] = defaultdict(set)
    for name, path in images:
        match = LEADING.fullmatch(path.name)
        if not match:
            return {}
        cameras[path] = int(match[1])
        seen[int(match[1])].add(name)
    is_id = all(
        name.isdecimal() and seen_by == int(name) for (name, _), seen_by in zip(images, cameras.values(), strict=True)
    )
    # a number that only one id has is that id's, or an image's
    shared = all(len(names) > 1 for names in seen.values())
    return cameras if len(seen) > 1 and shared and not is_id else {}


SHAPES: tuple[Shape, ...] = ("ids", "nested", "cameras")
FORMATS = {"folder": Format(matches, load)} | {
    f"folder-{shape}": Format(matches, partial(load, shape=shape)) for shape in SHAPES
}
"""`folder` fits nearly everything: it is tried after all others."""
