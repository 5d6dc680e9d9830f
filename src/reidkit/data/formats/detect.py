"""Which data set lies in a folder, and several data sets as one."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Collection
from functools import reduce
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from reidkit.arguments import check_path
from reidkit.data.formats import (
    csv,
    cuhk03,
    market1501,
    mars,
    msmt17,
    named_splits,
    occluded_reid,
    prid,
    scan,
    vehicles,
)
from reidkit.data.formats import folder as own_images
from reidkit.data.formats.scan import passed_over
from reidkit.data.shards import parquet, webdataset
from reidkit.data.shards.samples import ShardSamples, joined
from reidkit.data.shards.storage import url_of
from reidkit.errors import DataError, MissingFileError, UnknownLayoutError, UsageError
from reidkit.terminal import first_few
from reidkit.types import NO_NAMES, Dataset, Names, Sample, SampleTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from reidkit.data.formats.scan import Format
    from reidkit.types import Sample, Samples


MODULES = (
    market1501,
    msmt17,
    cuhk03,
    vehicles,
    mars,
    occluded_reid,
    prid,
    named_splits,
    csv,
    own_images,
    webdataset,
    parquet,
)
"""The modules of the data sets, in the order in which they are tried. Each has `FORMATS`, and `LAYOUT` in words."""

FORMATS: dict[str, Format] = {name: entry for module in MODULES for name, entry in module.FORMATS.items()}
"""Every format by its name."""

LAYOUTS = ", ".join(module.LAYOUT for module in MODULES)

GUESSED = tuple(name for name, entry in FORMATS.items() if entry.guessed)
"""The formats that are tried, in this order. `folder`, which fits nearly everything, comes after them all."""

SHARDS = ("webdataset", "parquet")
"""What is tried last: the .tar in which a data set came may still lie beside it."""

_TO_SPLIT = {market1501: ("market1501", "dukemtmc", "occluded-duke"), own_images: ("folder",)}
"""The readers of data sets that may have a test split and no query, and their formats."""

NO_PIDS: frozenset[int] = frozenset()

_ARCHIVES = frozenset({".zip", ".7z", ".rar", ".gz", ".tgz", ".bz2", ".xz"})


def load_dataset(path: str | os.PathLike[str], format: str | None = None) -> Dataset:  # noqa: A002
    """Load the data set in a folder, which may also lie one or two levels deeper, in a .csv file or at a URL.

    `format` is a name in `FORMATS`; None: it is recognised by the layout. Files in the folder that are not read are
    counted in `passed_over` of the result.

    Raises:
        UsageError: there is no such format; no path.
        DataError: there is no such folder, it holds no images, its layout is not recognised, or its reader complains.
    """
    wanted = "the folder of a data set, or a .csv"
    if isinstance(path, Collection) and not isinstance(path, str):
        wanted += ", or Dataset(name, query=[Sample(path, pid, camid), ...], gallery=[...])"
    folder = check_path(path, wanted)
    try:
        found = _guess(folder) if format is None else _named(format).load(folder)
        return dataclasses.replace(found, passed_over=passed_over(folder, found))
    except MissingFileError:
        raise
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from None


class ToSplit(NamedTuple):
    """A data set without queries: the images to train on, those to test with (maybe none), all names.

    No query may have one of the pids of `distractors`.
    """

    train: Sequence[Sample]
    test: Sequence[Sample]
    names: Names
    distractors: frozenset[int] = NO_PIDS


def open_to_split(folder: Path, format: str | None = None) -> ToSplit:  # noqa: A002
    """Open a data set without queries.

    Raises:
        DataError: as `load_dataset`, or the data set has a query and a gallery already.
    """
    readers = [reader for reader, formats in _TO_SPLIT.items() if format is None or format in formats]
    for level in scan.levels(folder) if folder.is_dir() else ():
        if found := [place for place in level if any(reader.lacks_query(place) for reader in readers)]:
            place = scan.only(folder, found)
            reader = next(reader for reader in readers if reader.lacks_query(place))
            train, test = reader.load_without_query(place)
            if reader is own_images:
                return ToSplit(train, test, own_images.names_of_split(place))
            distractors = NO_PIDS if market1501.matches_duke(place) else market1501.DISTRACTORS
            return ToSplit(train, test, NO_NAMES, distractors)
    opened = load_dataset(folder, format)
    if opened.train and opened.query and opened.gallery:
        raise DataError(f"{folder} has a query and a gallery already: train and evaluate with it as it is")
    if opened.train and (opened.query or opened.gallery):
        train, test = _chained((opened.train, opened.junk)), _chained((opened.query, opened.gallery))
        return ToSplit(train, test, opened.names)
    return ToSplit(all_samples(opened), (), opened.names)


def merge_datasets(datasets: Sequence[Dataset]) -> Dataset:
    """Return several data sets as one: ids and cameras of each are numbered after those of the ones before.

    Junk stays junk and an unknown camera unknown. Market-1501's distractors, all of pid 0, become a pid of which there
    is no query, whatever pid 0 is in the others.

    Raises:
        DataError: no data set is given, or one is given twice.
    """
    datasets = (datasets,) if isinstance(datasets, Dataset) else tuple(datasets)
    if not datasets:
        raise DataError("no data set is given: name at least one folder")
    for dataset in datasets:
        if not isinstance(dataset, Dataset):
            raise UsageError(
                f"a {type(dataset).__name__} is no data set: pass what load_dataset returns", argument="datasets"
            )
    moved: list[Dataset] = []
    pids = camids = 0
    for dataset in datasets:
        parts = (part.renumbered(pids, camids) for part in dataset.splits)
        moved.append(Dataset(dataset.name, *parts, names=dataset.names.shifted(pids, camids)))
        pids += 1 + max(int(part.pids.max(initial=-1)) for part in dataset.splits)
        camids += 1 + max(int(part.camids.max(initial=-1)) for part in dataset.splits)
    _refuse_twice(datasets)
    train, query, gallery, junk = (_chained(parts) for parts in zip(*(part.splits for part in moved), strict=True))
    names = reduce(Names.merged_with, (part.names for part in moved), NO_NAMES)
    left: Counter[str] = Counter()
    for dataset in datasets:
        left.update(dataset.passed_over)
    name = "+".join(part.name for part in moved)
    notes = dict.fromkeys(chain.from_iterable(dataset.notes for dataset in datasets))
    return Dataset(name, train, query, gallery, junk, names=names, passed_over=dict(left), notes=notes)


def all_samples(dataset: Dataset) -> Samples:
    """Return the images of all splits and the junk, one after the other."""
    return _chained(dataset.splits)


def _chained(parts: Sequence[Samples]) -> Samples:
    """Return the images of one split of every data set; what is in columns stays in columns."""
    shards = [part for part in parts if isinstance(part, ShardSamples)]
    if len(shards) == len(parts):
        return shards[0] if len(shards) == 1 else joined(shards)
    if shards:
        raise DataError("shards and loose files cannot be one data set: put the files into shards by `reidkit shard`")
    return SampleTable(chain.from_iterable(parts))


def _refuse_twice(datasets: Sequence[Dataset]) -> None:
    seen: set[str] = set()
    for dataset in datasets:
        shards = {_place(str(shard)) for part in dataset.splits for shard in part.shards}
        files = () if len(datasets) == 1 else chain.from_iterable(dataset.splits)
        paths = shards or {_place(str(sample.path)) for sample in files}
        if seen & paths:
            raise DataError(f"{min(seen & paths)} is in two of the data sets: name each only once")
        seen |= paths


def _place(path: str) -> str:
    """Return where a file lies, whichever way it is named; a URL stays as it is."""
    return path if "://" in path else os.path.realpath(path)


def _guess(folder: Path) -> Dataset:
    if url_of(folder):
        return _load_shards(folder)
    if not folder.exists():
        raise MissingFileError(f"{folder} is not there: give the folder of a data set")
    if folder.is_file():
        return _load_file(folder)
    for names, levels in _tries(folder):
        for level in levels:
            if found := _recognised(names, level):
                return FORMATS[found[0][0]].load(_only(folder, found))
    raise _why_not(folder)


def _only(folder: Path, found: list[tuple[str, Path]]) -> Path:
    """Return the one place that was recognised; folders of ids beside each other may be cameras, too.

    Raises:
        DataError: there are several; no UnknownLayoutError, by which all images would be taken without ids and cameras.
    """
    places = [place for _, place in found]
    if (
        len(found) > 1
        and all(name == "folder" for name, _ in found)
        and (why := own_images.of_two_levels(folder, places))
    ):
        raise DataError(why, argument="format")
    return scan.only(folder, places)


def _tries(folder: Path) -> Iterator[tuple[Sequence[str], Sequence[Sequence[Path]]]]:
    """Yield what is looked for, and in which places: layouts with certain names first."""
    levels = list(islice(scan.levels(folder), 2))
    # thousands of folders of ids are passed at a glance
    yield (
        GUESSED,
        [level if len(level) <= scan.MAX_SETS else [*filter(scan.holds_more, level)] for level in levels],
    )
    yield ("folder",), levels[:1]
    levels = list(scan.levels(folder))
    yield GUESSED, levels[2:]
    # a test split alone is not what to train on
    parts = [[place for place in level if place.name.lower() not in own_images.SPLIT_WORDS] for level in levels[1:]]
    yield ("folder",), parts
    yield SHARDS, levels


def _why_not(folder: Path) -> UnknownLayoutError:
    """Why nothing was recognised, from the place that looks most like a data set."""
    places = [place for level in scan.levels(folder) for place in level]
    for place in places:
        if why := own_images.complaint(place):
            return UnknownLayoutError(why + _tables_in(folder), argument="format" if "format='" in why else "")
    if not any(scan.any_image(place) for place in places):
        if deep := next(scan.images_below(folder), None):
            return UnknownLayoutError(
                f"{folder} holds images only further down, such as {deep.relative_to(folder)}: give a "
                "folder nearer to them"
            )
        packed = sorted(path.name for path in folder.glob("*") if path.suffix.lower() in _ARCHIVES)
        remedy = f"unpack {packed[0]}" if packed else "give the folder of a data set"
        return UnknownLayoutError(f"{folder} holds no images: {remedy}")
    return UnknownLayoutError(f"the layout of {folder} is not recognised; looked for {LAYOUTS}")


def _tables_in(folder: Path) -> str:
    """Return the end of a sentence that names the tables in a folder, of which any may be meant; "" for none."""
    names = sorted(path.name for path in folder.glob("*") if path.suffix.lower() in csv.SUFFIXES and path.is_file())
    return f"; or name a table in it ({first_few(names)})" if names else ""


def _named(name: str) -> Format:
    if name in FORMATS:
        return FORMATS[name]
    names = [known for known in FORMATS if "classic" not in known]
    raise UsageError(
        f"there is no format {name}: the formats are {', '.join(names)}, "
        f"cuhk03-classic-detected-N and cuhk03-classic-labeled-N with N from 0 to {cuhk03.CLASSIC_SPLITS - 1}"
    )


def _load_shards(folder: Path) -> Dataset:
    """Return what a URL leads to."""
    found = _recognised(SHARDS, [folder])
    if not found:
        raise DataError(f"{url_of(folder)} holds no .tar and no .parquet: give the URL of a folder of shards")
    return FORMATS[found[0][0]].load(folder)


def _load_file(path: Path) -> Dataset:
    for name in ("csv", *SHARDS):
        if FORMATS[name].matches(path):
            return FORMATS[name].load(path)
    if path.suffix.lower() in _ARCHIVES:
        raise DataError(f"{path} is an archive: unpack it, and give the folder of the data set")
    raise DataError(f"{path} is a file: give the folder of a data set, a .csv, or a shard")


def _recognised(names: Sequence[str], places: Sequence[Path]) -> list[tuple[str, Path]]:
    """Return those of `places` that are laid out as one of `names`, each with the first name that fits."""
    first = ((next((name for name in names if FORMATS[name].matches(place)), ""), place) for place in places)
    return [(name, place) for name, place in first if name]
