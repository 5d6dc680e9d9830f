"""Images that a user names in any way: files, folders, lists, tables, shards and data sets, one after the other."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from reidkit.arguments import check_choice, check_path
from reidkit.data.formats.csv import has_labels, paths_in
from reidkit.data.formats.csv import load as load_table
from reidkit.data.formats.detect import all_samples, load_dataset
from reidkit.data.formats.scan import SUFFIXES, images_below, worth_saying
from reidkit.data.shards.storage import url_of
from reidkit.errors import DataError, MissingFileError, UnknownLayoutError, UsageError
from reidkit.types import JUNK, NO_CAMERA, NO_NAMES, Dataset, Names, Sample, Samples, SampleTable, Split, as_samples

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    Named = str | os.PathLike[str] | Sample | Dataset

LISTS = (".txt", ".lst", ".list")
TABLES = (".csv", ".tsv")
SHARDS = (".tar", ".parquet")


@dataclasses.dataclass(frozen=True)
class ImageList:
    """Images in the order in which they were named, and what their ids and cameras are called.

    Where nothing tells ids and cameras, both are -1. `notes` say how a data set was read, as those of a run do.
    """

    samples: Samples
    names: Names = NO_NAMES
    notes: tuple[str, ...] = ()


def list_images(
    images: Named | Iterable[Named],
    format: str | None = None,  # noqa: A002
    split: Split | None = None,
) -> ImageList:
    """List the images that are named; none of them is opened.

    A folder or URL that is a data set gives all its images, with ids and cameras; any other folder all images in it and
    below it, sorted by path. A `.csv` has a column `path` at least; with a column `pid` it is read as a data set's
    table (`path,pid,camid,split`), but may list images that are not there. A `.txt` has a path in each line. Paths in a
    list are relative to the list's folder.

    Args:
        images: A path, a data set, samples, or several of these.
        format: The format of data sets; None: it is recognised.
        split: Which images of data sets; None: all. All else has no splits, and is refused then.

    Raises:
        MissingFileError: there is nothing at a path.
        DataError: a path leads to no images, or to something else; a data set has no images of the split.
    """
    if split is not None:
        check_choice(split, Split, "split")
    alone = isinstance(images, str | os.PathLike | Sample | Dataset)
    if not alone and not isinstance(images, Iterable):
        raise UsageError(f"images are a {type(images).__name__}: pass paths, a data set or samples", argument="images")
    given: list[Any] = [images] if alone else list(cast("Iterable[Named]", images))
    if isinstance(images, Samples):
        return ImageList(images)
    if not given:
        raise DataError("there are no images to list: give files, folders, lists or shards", argument="images")
    found = [_of_one(one, format, split) for one in given]
    if len(found) == 1:
        return found[0]
    if any(part.samples.shards for part in found):
        raise UsageError("shards cannot be mixed with other images: run them by themselves", argument="images")
    samples = SampleTable(chain.from_iterable(part.samples for part in found))
    names = found[0].names if all(part.names == found[0].names for part in found) else NO_NAMES
    return ImageList(samples, names, tuple(chain.from_iterable(part.notes for part in found)))


def listed(lines: Iterable[str], folder: Path, where: str) -> Samples:
    """Return the images that lines of text name, one in each; empty lines and those that begin with # are left out.

    Raises:
        DataError: there is none, or a line is no path.
    """
    words = (line.strip("\r\n").strip() for line in lines)
    samples = SampleTable(_sample(folder, word, where) for word in words if word and not word.startswith("#"))
    if not samples:
        raise DataError(f"{where} names no images: give one path in each line")
    return samples


def _of_one(one: Named, format: str | None, split: Split | None) -> ImageList:  # noqa: A002
    if isinstance(one, Dataset):
        return _of_dataset(one, split, f"the data set {one.name}")
    if isinstance(one, Sample):
        refuse_split(one.path, split)
        return ImageList(as_samples([one]))
    path = check_path(one, "the path of an image or a folder, a data set or samples", "images")
    ending = path.suffix.lower()
    if url_of(path) or format is not None or ending in SHARDS:
        return _of_dataset(load_dataset(path, format), split, path)
    return _folder(path, split) if path.is_dir() else _file(path, ending, split)


def _file(path: Path, ending: str, split: Split | None) -> ImageList:
    if not path.exists():
        raise MissingFileError(f"{path} is not there: give images, folders, lists of paths, tables or shards")
    if ending in TABLES:
        return _table(path, split)
    refuse_split(path, split)
    if ending in LISTS:
        return ImageList(listed(_lines(path), path.parent, str(path)))
    if not path.name.lower().endswith(SUFFIXES):
        raise DataError(f"{path} is no image, list (.txt), table (.csv) or shard by its name: give one of these")
    return ImageList(as_samples([Sample(path, JUNK, NO_CAMERA)]))


def _of_dataset(dataset: Dataset, split: Split | None, where: object) -> ImageList:
    """Return the images of a data set or of one split of it.

    Raises:
        DataError: there are none of that split.
    """
    samples = all_samples(dataset) if split is None else getattr(dataset, split)
    if not samples:
        raise DataError(
            f"{where} has no {f'{split} images: name another split' if split else 'images'}", argument="split"
        )
    return ImageList(samples, dataset.names, tuple(worth_saying(dataset)))


def refuse_split(path: object, split: str | None) -> None:
    """Refuse a split of what has none.

    Raises:
        DataError: one is named.
    """
    if split is not None:
        raise DataError(f"{path} is no data set and has no split {split}: name none", argument="split")


def _folder(path: Path, split: Split | None) -> ImageList:
    """Return the images of a data set, or else all images below a folder, whose ids are not known.

    Raises:
        DataError: there are no images, or the data set has a fault, as a file without an id.
    """
    try:
        return _of_dataset(load_dataset(path), split, path)
    except UnknownLayoutError:
        refuse_split(path, split)
        samples = SampleTable(Sample(image, JUNK, NO_CAMERA) for image in images_below(path))
    if not samples:
        raise DataError(f"{path} holds no images: give a folder that does")
    return ImageList(samples)


def _table(path: Path, split: Split | None) -> ImageList:
    """Return the images of a table: a data set's, or any that has a column `path`.

    Of a table that has ids they are never passed over: it may list images that are not there, and all else is refused.
    """
    paths = None if has_labels(path) else paths_in(path)
    if paths is not None:
        refuse_split(path, split)
        return ImageList(listed(paths, path.parent, str(path)))
    return _of_dataset(load_table(path, missing=True), split, path)


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")  # str.splitlines breaks at letters that names may have
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is no text in UTF-8: save it so, with one path in each line") from None


def _sample(folder: Path, word: str, where: str) -> Sample:
    if "\0" in word:
        raise DataError(f"{where} is no list of paths: it holds zeros; give text with one path in each line")
    return Sample(folder / word, JUNK, NO_CAMERA)
