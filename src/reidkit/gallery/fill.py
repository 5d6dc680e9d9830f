"""Filling a gallery from what lies on a disk: images in folders, lists, tables and data sets, and features files.

Images are embedded and added a batch at a time, so that work that was stopped goes on with what is missing. What cannot
be read is left out and named.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from reidkit.errors import DataError, MissingFileError, UnknownLayoutError
from reidkit.gallery.filters import Filter
from reidkit.gallery.person_ids import PERSON, PersonIds, named_ids, settle_named
from reidkit.gallery.row import Row
from reidkit.gallery.table import rows_of_table
from reidkit.gallery.thumbnail import make_thumbnail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from reidkit.encoder import Image
    from reidkit.gallery.protocol import Gallery, OnConflict, Status
    from reidkit.types import Dataset, Embeddings, ImageFile

    OnProgress: TypeAlias = Callable[[str, int, int], None]

FEATURES = frozenset({".npz", ".npy", ".mat", ".parquet"})
SHARDS = frozenset({".tar", ".parquet"})
TABLES = frozenset({".csv", ".tsv"})
BATCH = 64


class ImageRow(NamedTuple):
    """A row that is to be added, the image that it is of, and whether its id is only the number of a name."""

    row: Row
    path: ImageFile
    named: bool = False


class _Named(NamedTuple):
    """An image, its key, and the columns of its row that are known."""

    name: str
    path: ImageFile
    columns: Mapping[str, Any] = MappingProxyType({})


@dataclass
class Filled:
    """What became of what was to be added.

    Attributes:
        added: Rows that were added; `replaced` and `unchanged` likewise.
        conflicts: Keys that are in the gallery with other contents, and stayed as they are.
        unreadable: Images that cannot be read, each with the reason.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    conflicts: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def note(self, keys: Sequence[str], status: Sequence[Status]) -> None:
        """Count what became of some rows."""
        self.added += status.count("added")
        self.replaced += status.count("replaced")
        self.unchanged += status.count("unchanged")
        self.conflicts += [key for key, each in zip(keys, status, strict=True) if each == "conflict"]


def fill(
    gallery: Gallery,
    images: Iterable[ImageRow],
    *,
    on_conflict: OnConflict = "skip",
    thumbnails: bool = False,
    batch: int = BATCH,
    progress: Callable[[int], None] | None = None,
) -> Filled:
    """Embed and add images, a batch at a time; rows that are there already are not embedded again.

    An id that is only the number of a name in its data set becomes the one that the gallery knows the name by.

    Args:
        gallery: Opened with a model.
        images: What to add.
        on_conflict: Of a key that is there with other columns or another image: `skip` and count it, `replace` what is
            there, or `raise`.
        thumbnails: Keep small pictures in the gallery, to be shown where the images are not.
        batch: Images that are embedded and made durable together.
        progress: Called after each batch with the number of its images.

    Raises:
        DataError: with `on_conflict="raise"`, a key that is there with other contents.
        UsageError: the gallery was opened without a model.
        GalleryError: the gallery cannot be written.
    """
    filled, waiting = Filled(), _with_known_ids(gallery, images)
    while some := list(islice(waiting, batch)):
        fresh = some if on_conflict == "replace" else _not_there(gallery, some, filled)
        if fresh:
            _add(gallery, fresh, filled, on_conflict, thumbnails=thumbnails)
        if progress:
            progress(len(some))
    return filled


def _with_known_ids(gallery: Gallery, images: Iterable[ImageRow]) -> Iterator[ImageRow]:
    """Yield images, those of people with names with the ids that the gallery knows the names by now."""
    ids = None
    for each in images:
        if each.named:
            ids = ids or PersonIds(gallery.person_names())
        yield each._replace(row=ids.row(each.row)) if ids and each.named else each


def _not_there(gallery: Gallery, some: list[ImageRow], filled: Filled) -> list[ImageRow]:
    """Return what is not in the gallery with the same columns: the images of the others are taken to be the same."""
    there = {row.key: row for row in gallery.rows(Filter(keys=[each.row.key for each in some]), limit=len(some)).rows}
    fresh = []
    for each in some:
        known = there.get(each.row.key)
        if known and replace(known, id=0, added=None) == each.row:
            filled.unchanged += 1
        else:
            fresh.append(each)
    return fresh


def _add(gallery: Gallery, some: list[ImageRow], filled: Filled, how: OnConflict, *, thumbnails: bool) -> None:
    """Add a batch; where images in it cannot be read, all but those."""
    import numpy as np

    parts = list(_embedded(gallery, some, filled))
    kept = [each for images, _ in parts for each in images]
    if kept:
        pictures = [make_thumbnail(each.path) for each in kept] if thumbnails else None
        rows = [each.row for each in kept]
        vectors = np.concatenate([features for _, features in parts])
        settle = settle_named(each.row.key for each in kept if each.named)
        added = gallery.add_vectors(vectors, rows, thumbnails=pictures, on_conflict=how, settle=settle)
        filled.note(added.keys, added.status)


def _embedded(
    gallery: Gallery, some: list[ImageRow], filled: Filled
) -> Iterator[tuple[list[ImageRow], NDArray[np.float32]]]:
    """Yield images with their features: all at once or, where one of them cannot be read, each half by itself."""
    try:
        yield some, gallery.embed([_image(each.path) for each in some])
    except DataError as error:
        if len(some) == 1:
            filled.unreadable.append((some[0].row.key, str(error)))
            return
        yield from _embedded(gallery, some[: len(some) // 2], filled)
        yield from _embedded(gallery, some[len(some) // 2 :], filled)


def _image(path: ImageFile) -> Image:
    """Return an image as a gallery embeds it: the path of a file, or the pixels of one in a shard."""
    if isinstance(path, Path):
        return path
    from reidkit.data.decode import decode_bytes

    return decode_bytes(path.read_bytes(), str(path))


class FeatureRows(NamedTuple):
    """The features of a file, and a row for each."""

    embeddings: Embeddings
    rows: list[Row]


def read_feature_rows(path: Path, model: str, *, any_model: bool = False) -> FeatureRows:
    """Return the features of a file for a gallery of `model`, whose fingerprint this is; "": not known.

    Raises:
        DataError: the file is damaged, or its features are another model's or, unless `any_model`, nobody knows whose.
    """
    from reidkit.gallery.base_gallery import refuse_other_model
    from reidkit.gallery.transfer import read_rows

    embeddings, rows = read_rows(path)
    refuse_other_model(embeddings.model, model)
    if not embeddings.model and model and not any_model:
        raise DataError(
            f"{path} does not say which model made its features, and those of {model} are needed: if they are, pass "
            "any_model=True",
            argument="any_model",
        )
    return FeatureRows(embeddings, rows)


def fill_from_features(
    gallery: Gallery,
    source: Path | FeatureRows,
    *,
    on_conflict: OnConflict = "skip",
    any_model: bool = False,
    batch: int = 1000,
) -> Filled:
    """Add the rows of a features file: what `reidkit embed` or `reidkit gallery export` wrote, or anyone's.

    Keys are its `keys` or else its `paths`, and else the name of the file and the number of the row.

    Args:
        gallery: The gallery.
        source: An .npz, or .npy, .mat or .parquet; or what `read_feature_rows` has returned.
        on_conflict: As for `fill`.
        any_model: Take features of which the file does not say which model made them.
        batch: Rows that are made durable together.

    Raises:
        DataError: the file is damaged, or its features are another model's.
    """
    if isinstance(source, Path):
        source = read_feature_rows(source, gallery.model, any_model=any_model)
    embeddings, rows = source
    named, others = named_ids(rows, embeddings.names.pids)
    settle = settle_named((row.key for row in rows if row.pid in named), taken=others)
    filled = Filled()
    for first in range(0, len(rows), batch):
        some = slice(first, first + batch)
        added = gallery.add_vectors(
            embeddings.vectors[some], rows[some], model=embeddings.model, on_conflict=on_conflict, settle=settle
        )
        filled.note(added.keys, added.status)
    return filled


def holds_features(path: Path) -> bool:
    """Return whether a file is one of features, by its name; of `.parquet`, which may be a shard, by its columns."""
    if path.suffix.lower() != ".parquet":
        return path.suffix.lower() in FEATURES
    try:
        from pyarrow import parquet

        return "vector" in parquet.read_schema(path).names
    except (ImportError, OSError, ValueError):
        return True  # whoever reads it says what is wrong


def find_images(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002
    split: str | None = None,
    unreadable: list[tuple[str, str]] | None = None,
    notes: list[str] | None = None,
    **columns: Any,
) -> list[ImageRow]:
    """Return the images of a path, with what is known of each.

    Args:
        path: An image; a folder of images, in folders of their own or not; a data set, of files or of shards (.tar,
            .parquet); a list (.txt) of paths, one a line; a table (.csv, .tsv) with a column `path` and any of key,
            pid, camera (or camid), track, time, image; its other columns are attributes. Paths are relative to the
            file that holds them.
        format: The format of a data set; None: recognised.
        split: Which images of a data set or of a table with such a column: train, query, gallery or all. None: of a
            data set the gallery, and all where there is none; of a table all.
        unreadable: Images of folders and lists whose names no key can be go here, with the reason; None: refused.
        notes: How a data set was read goes here, a sentence each, as what of a folder is passed over.
        **columns: What holds for all images of which it is not known: `camera`, `track`, `time`, `attributes`.

    Keys and pictures are paths relative to the folder, or as the list or table has them.

    Raises:
        MissingFileError: there is nothing.
        DataError: there are no images, a line of a table does not fit, or a name cannot be a key.
    """
    place = Path(path)
    if not place.exists():
        raise MissingFileError(f"{place} is not there: give images, a folder, a list, a table or a data set")
    ending = place.suffix.lower()
    if ending in TABLES and not place.is_dir():
        found, names = [ImageRow(*each) for each in rows_of_table(place, split)], []
    else:
        found, names = [], _names(place, format, split, notes)
    if not found and not names:
        raise DataError(f"{place} holds no images: give images, a folder, a list, a table or a data set")
    found += _readable(names, unreadable)
    given = {name: value for name, value in columns.items() if value}
    return [_with(each, given) for each in found] if given else found


def _with(each: ImageRow, columns: dict[str, Any]) -> ImageRow:
    missing = {name: value for name, value in columns.items() if not getattr(each.row, name)}
    if "attributes" in columns:  # each by itself: some are known
        missing["attributes"] = {**columns["attributes"], **each.row.attributes}
    return each._replace(row=replace(each.row, **missing))


def _names(place: Path, format: str | None, split: str | None, notes: list[str] | None) -> list[_Named]:  # noqa: A002
    """Return the images of a folder, a data set, shards or a list, or the image that it is itself."""
    if place.is_dir() or place.suffix.lower() in SHARDS:
        return _of_folder(place, format, split, notes)
    _refuse_split(place, split)
    return _of_list(place) if place.suffix.lower() == ".txt" else [_Named(place.name, place)]


def _refuse_split(place: Path, split: str | None) -> None:
    from reidkit.data.image_list import refuse_split

    refuse_split(place, None if split == "all" else split)


def _readable(names: Iterable[_Named], unreadable: list[tuple[str, str]] | None) -> Iterator[ImageRow]:
    """Yield the rows of images; those that cannot have one are noted, or refused where nobody takes notes."""
    for name, path, columns in names:
        try:
            row = Row(name, image=name, **columns)
            yield ImageRow(row, path, named=PERSON in row.attributes)
        except DataError as error:
            if unreadable is None:
                raise
            unreadable.append((name, f"{error} (rename the file)"))


def _of_folder(folder: Path, format: str | None, split: str | None, notes: list[str] | None) -> list[_Named]:  # noqa: A002
    """Return the images of a data set or, where none is recognised, all that lie in the folder."""
    from reidkit.data.formats.detect import load_dataset
    from reidkit.data.formats.scan import images_below, worth_saying

    if format is None:
        _refuse_tracks(folder)
    try:
        dataset = load_dataset(folder, format)
    except UnknownLayoutError:
        _refuse_split(folder, split)
        return [_Named(path.relative_to(folder).as_posix(), path) for path in sorted(images_below(folder))]
    if notes is not None:
        notes += worth_saying(dataset)
    return _of_dataset(dataset, folder, split)


def _refuse_tracks(folder: Path) -> None:
    """Refuse a folder that `reidkit video` has written: its tracks would be ids, and its cameras and times be lost.

    Raises:
        DataError: it is one.
    """
    around = [folder.parent] if folder.name == "crops" else []
    places = (*around, folder, *(path.parent for path in sorted(folder.glob("*/video.json"))))
    tables = [
        table for place in places if (table := place / "crops.csv").is_file() and (place / "video.json").is_file()
    ]
    if tables:
        more = f" and {len(tables) - 1} more" if tables[1:] else ""
        raise DataError(
            f"{folder} holds crops of videos, whose folders are tracks and no ids: give their tables, {tables[0]}{more}"
        )


def _of_dataset(dataset: Dataset, folder: Path, split: str | None) -> list[_Named]:
    split = split or ("gallery" if dataset.gallery else "all")
    parts = {"train": dataset.train, "query": dataset.query, "gallery": dataset.gallery}
    if split != "all" and split not in parts:
        raise DataError(f"a data set has no split {split}: choose train, query, gallery or all", argument="split")
    chosen = [sample for name, part in parts.items() if split in (name, "all") for sample in part]
    if not chosen:
        raise DataError(f"{folder} has no {split} images: choose another split, or all", argument="split")
    found = []
    for sample in chosen:
        if isinstance(sample.path, Path):
            name = os.path.relpath(sample.path, folder).replace(os.sep, "/")
        else:  # in a shard: its name there, which is that of the file that was packed
            name = str(getattr(sample.path, "key", sample.path))
        attributes = {PERSON: person} if (person := dataset.names.pids.get(sample.pid)) else {}
        camera = dataset.names.camids.get(sample.camid) or sample.camid
        found.append(_Named(name, sample.path, {"pid": sample.pid, "camera": camera, "attributes": attributes}))
    return found


def _of_list(place: Path) -> list[_Named]:
    try:
        lines = place.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{place} cannot be read as a list of paths: {error}") from None
    return [_Named(line.strip(), place.parent / line.strip()) for line in lines if line.strip()]
