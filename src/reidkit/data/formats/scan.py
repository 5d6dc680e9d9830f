"""Which images lie in a folder, quickly and in the same order everywhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from reidkit.errors import DataError, MissingFileError
from reidkit.types import JUNK, NO_NAMES, Dataset, Names, Sample

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


class Format(NamedTuple):
    """How a data set is recognised (`matches`) and read (`load`) from a folder.

    Only a `guessed` one is tried on a folder whose format is not named.
    """

    matches: Callable[[Path], bool]
    load: Callable[[Path], Dataset]
    guessed: bool = False


SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".apng", ".bmp", ".webp", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)

MAX_SETS = 64
"""Folders in the folder around data sets, at most, if it is to be looked into two levels deep."""


def is_file(path: Path) -> bool:
    """Return whether a path that a list names is a file; one that no disk can hold is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def image_names(folder: Path) -> list[str]:
    """Return the names of the images in `folder`, sorted. Told by the suffix; hidden files and Thumbs.db are no images.

    Raises:
        DataError: the folder is missing or may not be read.
    """
    return sorted(_images(folder))


def any_image(folder: Path) -> str | None:
    """Return the name of some image in `folder`; None when there is none, or no such folder."""
    return next(_images(folder), None) if folder.is_dir() else None


def folders_in(folder: Path) -> list[Path]:
    """Return the folders right inside `folder`, sorted by name; hidden ones are left out.

    Raises:
        DataError: the folder is missing or may not be read.
    """
    return [folder / name for name in sorted(entry.name for entry in _entries(folder) if _is(entry.is_dir))]


def holds_more(folder: Path) -> bool:
    """Return whether `folder` holds anything but images."""
    return any(not entry.name.lower().endswith(SUFFIXES) for entry in _entries(folder))


def locate(folder: Path, matches: Callable[[Path], bool], wanted: str) -> Path:
    """Return the place of a data set: `folder` itself, or the one folder that `matches` one or two levels below it.

    Raises:
        DataError: there is no such folder, nothing matches (`wanted` is named), or several do.
    """
    if not folder.is_dir():
        raise (
            DataError(f"{folder} is not a folder") if folder.exists() else MissingFileError(f"{folder} is not there")
        )
    for level in levels(folder):
        if found := [place for place in level if matches(place)]:
            return only(folder, found)
    raise DataError(f"{folder} does not hold {wanted}")


def levels(folder: Path) -> Iterator[list[Path]]:
    """`folder` alone, then the folders in it, then the folders in these, unless there are too many to be data sets."""
    yield [folder]
    inside = folders_in(folder)
    yield inside
    if len(inside) <= MAX_SETS:
        yield [place for child in inside if not child.is_symlink() for place in folders_in(child)]


def only(folder: Path, found: Sequence[Path]) -> Path:
    """Return the one place of `found`.

    Raises:
        DataError: there are several: the places in `folder` to choose among.
    """
    if len(found) > 1:
        names = " or ".join(str(place.relative_to(folder)) for place in found)
        raise DataError(f"{folder} holds several data sets: choose {names}")
    return found[0]


def named_samples(folder: Path, pattern: re.Pattern[str], example: str) -> tuple[Sample, ...]:
    """Return the images of `folder`, whose names give id and camera; sorted by name.

    `pattern` has the groups `pid` and `cam`; the camera keeps the number that the name gives it.

    Raises:
        DataError: the folder is missing or empty, or a name does not match; `example` shows what was expected.
    """
    samples = []
    for name in image_names(folder):
        match = pattern.match(name)
        if not match:
            raise DataError(f"{folder / name} does not give an id and a camera: rename it like {example}, or remove it")
        samples.append(Sample(folder / name, int(match["pid"]), int(match["cam"])))
    if not samples:
        raise DataError(f"{folder} holds no images: unpack the data set again")
    return tuple(samples)


def without_junk(
    name: str,
    train: tuple[Sample, ...],
    query: tuple[Sample, ...],
    gallery: tuple[Sample, ...],
    names: Names = NO_NAMES,
) -> Dataset:
    """Return a data set whose junk (pid -1) has been taken out of every split and laid in `junk`."""
    train, query, gallery, junk = (
        *(tuple(sample for sample in split if sample.pid != JUNK) for split in (train, query, gallery)),
        tuple(sample for split in (train, query, gallery) for sample in split if sample.pid == JUNK),
    )
    return Dataset(name, train, query, gallery, junk, names=names)


def _images(folder: Path) -> Iterator[str]:
    return (entry.name for entry in _entries(folder) if entry.name.lower().endswith(SUFFIXES) and _is(entry.is_file))


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from None


def _is(question: Callable[[], bool]) -> bool:
    """Return the answer about a directory entry; no for a link that leads to itself."""
    try:
        return question()
    except OSError:
        return False
