# ruff: noqa: PTH110, PTH118, PTH119, PTH120 (strings: a Path for each of a million files takes its time)
"""Which images lie in a folder, and which of its files are not read."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reidkit.data.shards.storage import url_of
from reidkit.errors import DataError, MissingFileError
from reidkit.types import JUNK, NO_NAMES, Dataset, Names, Sample

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator, Mapping, Sequence


class Format(NamedTuple):
    """How a data set is recognised (`matches`) and read (`load`) from a folder.

    Only a `guessed` one is tried on a folder whose format is not named.
    """

    matches: Callable[[Path], bool]
    load: Callable[[Path], Dataset]
    guessed: bool = False


SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".apng", ".bmp", ".webp", ".avif", ".tif", ".tiff"),
    *(".gif", ".ppm", ".pgm", ".pbm", ".pnm"),
)

_SYSTEM_FOLDERS = frozenset(("@eadir", "__macosx"))
"""Folders of small copies of the images (Synology) and of what a Mac notes beside files, as good as hidden."""

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


def first_image(folder: Path) -> str:
    """Return the first image in `folder` by name, by which formats are told apart; "" when there is none.

    Systems list the files of a folder in orders of their own: by another image than the first, the same folder could be
    another data set on another disk.
    """
    first = ""
    for entry in _all_entries(folder) if folder.is_dir() else ():
        # Names are compared before all else: few of a million are ahead of all before them.
        if (not first or entry.name < first) and not _is_hidden(entry.name) and _is_image(entry):
            first = entry.name
    return first


def folders_in(folder: Path) -> list[Path]:
    """Return the folders right inside `folder`, sorted by name; hidden ones are left out.

    Raises:
        DataError: the folder is missing or may not be read.
    """
    return [folder / name for name in sorted(entry.name for entry in _entries(folder) if _is(entry.is_dir))]


def images_below(folder: Path) -> Iterator[Path]:
    """Yield the images in `folder` and in all folders below it, sorted; hidden ones and links to folders are left out.

    Raises:
        DataError: a folder may not be read.
    """
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        yield from (place / name for name in image_names(place))
        waiting += [inner for inner in reversed(folders_in(place)) if not inner.is_symlink()]


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


def list_lines(table: Path) -> list[str]:
    """Return the lines of a text file in which a data set lists its images.

    Raises:
        DataError: it cannot be read, or is not text.
    """
    try:
        return table.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{table} cannot be read ({error.strerror}): unpack the data set again") from None
    except UnicodeDecodeError:
        raise DataError(f"{table} is not text: unpack the data set again") from None


def list_matches(table: Path, line: re.Pattern[str], example: str, *, head: bool = False) -> Iterator[re.Match[str]]:
    """Yield what `line` finds in each line of such a file but empty ones; with `head` the first need not fit.

    Raises:
        DataError: as `list_lines`, or a line does not fit: it is named with its number, and `example` is shown.
    """
    for number, text in enumerate(list_lines(table), 1):
        match = line.fullmatch(text.strip())
        if match:
            yield match
        elif text.strip() and not (head and number == 1):
            raise DataError(
                f"{table} line {number} does not read like {example}: correct it, or unpack the data set again"
            )


def without_junk(
    name: str,
    train: tuple[Sample, ...],
    query: tuple[Sample, ...],
    gallery: tuple[Sample, ...],
    names: Names = NO_NAMES,
    *,
    notes: tuple[str, ...] = (),
) -> Dataset:
    """Return a data set whose junk (pid -1) has been taken out of every split and laid in `junk`."""
    train, query, gallery, junk = (
        *(tuple(sample for sample in split if sample.pid != JUNK) for split in (train, query, gallery)),
        tuple(sample for split in (train, query, gallery) for sample in split if sample.pid == JUNK),
    )
    return Dataset(name, train, query, gallery, junk, names=names, notes=notes)


def _images(folder: Path) -> Iterator[str]:
    return (entry.name for entry in _entries(folder) if _is_image(entry))


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(SUFFIXES) and _is(entry.is_file)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    return (entry for entry in _all_entries(folder) if not _is_hidden(entry.name))


def _all_entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from None


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS


def _is(question: Callable[[], bool]) -> bool:
    """Return the answer about a directory entry; no for a link that leads to itself."""
    try:
        return question()
    except OSError:
        return False


# What lies in a data set's folder and is not read, counted by kind.


NOTES = frozenset(
    (".txt", ".md", ".csv", ".json", ".mat", ".db", ".ini", ".pdf", ".xml", ".yaml", ".yml", ".html", ".npz")
)
"""Suffixes of files that hold no images, some of which are lists that a reader uses."""

_NOTES, _HIDDEN, _LOST = "notes and lists", "hidden files", "links that lead nowhere"
_PLAIN = "files without a suffix"
_ONE = {_NOTES: "note or list", _LOST: "link that leads nowhere", _PLAIN: "file without a suffix"}
_MASKS = "images in masks/"
"""The masks that `synth --masks` writes beside its images: no more of them."""


def passed_over(folder: Path, dataset: Dataset) -> dict[str, int]:
    """Counts of the files in `folder` that `dataset` does not read, by kind.

    Kinds are images in a folder that is not read (`images in val/`), images in a folder of which others are read
    (`images in train/ not listed`), files with a suffix that is not read (`.heic files`), notes and lists, hidden
    files, and links that lead nowhere. Of shards only suffixes are counted, and nothing of a URL or of a table that was
    named itself.
    """
    if url_of(folder) or not folder.is_dir():
        return {}
    shards = {str(shard) for part in dataset.splits for shard in part.shards}
    used = shards or {str(sample.path) for part in dataset.splits for sample in part}
    files = _Used(str(folder), used)
    return dict(sorted(Counter(kind for path, entry in _walk(folder) if (kind := files.kind(path, entry))).items()))


def worth_saying(dataset: Dataset) -> list[str]:
    """Return the lines of a run about how a data set was read: its notes, and what may have been meant to be read."""
    line = worth_a_line(dataset.passed_over)
    return [*(f"note: {note}" for note in dataset.notes), *([line] if line else [])]


def worth_a_line(counts: Mapping[str, int]) -> str:
    """Return the line of a run about what may have been meant to be read; empty where there is nothing."""
    told = {kind: count for kind, count in counts.items() if kind not in (_HIDDEN, _NOTES, _MASKS)}
    return f"passed over: {as_text(told)}" if told else ""


def as_text(counts: Mapping[str, int]) -> str:
    """Return the counts in a line: 1 note or list, 2 .heic files."""
    return ", ".join(f"{count} {_of_one(kind) if count == 1 else kind}" for kind, count in counts.items())


def _of_one(kind: str) -> str:
    """Return what one file of a kind is called."""
    if kind.startswith("images in "):
        return kind.replace("images", "image", 1)
    return _ONE.get(kind, kind.removesuffix("s"))


class _Used:
    """The files that are read, and the folders that hold one."""

    def __init__(self, root: str, used: set[str]) -> None:
        self.root = root
        self.files = {os.path.normpath(path) for path in used}
        self.folders: set[str] = set()
        self.straight = {os.path.dirname(path) for path in self.files}
        for path in self.straight:
            above = path
            while above not in self.folders and above != os.path.dirname(above):
                self.folders.add(above)
                above = os.path.dirname(above)
        # the same files may be reached through a linked folder, too
        real = {path: os.path.realpath(path) for path in self.straight}
        self.real = {os.path.join(real[os.path.dirname(path)], os.path.basename(path)) for path in self.files}

    def kind(self, path: str, entry: os.DirEntry[str]) -> str:
        """Return what kind of file is passed over here; empty where it is read."""
        path = os.path.normpath(path)
        if path in self.files or os.path.join(os.path.realpath(os.path.dirname(path)), entry.name) in self.real:
            return ""
        if _is_hidden(entry.name):
            return _HIDDEN
        if not os.path.exists(path):
            return _LOST
        suffix = Path(entry.name).suffix.lower()
        if suffix not in SUFFIXES:
            return _NOTES if suffix in NOTES else f"{suffix} files" if suffix else _PLAIN
        return self._images(os.path.dirname(path))

    def _images(self, folder: str) -> str:
        if folder in self.straight:
            return f"images in {self._named(folder)} not listed"
        while os.path.dirname(folder) not in self.folders and folder != os.path.normpath(self.root):
            folder = os.path.dirname(folder)
        return f"images in {self._named(folder)}"

    def _named(self, folder: str) -> str:
        name = os.path.relpath(folder, self.root)
        return "the folder itself" if name == "." else f"{name}/"


def _walk(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield every file below `folder`, through links but never in a circle. What cannot be listed has no files."""
    waiting, seen = [str(folder)], set()
    while waiting:
        place = waiting.pop()
        real = os.path.realpath(place)
        entries = () if real in seen else _listed(place)
        seen.add(real)
        for path, entry in entries:
            if not _is_folder(entry) or _is_hidden(entry.name):
                yield path, entry
            else:
                waiting.append(path)


def _listed(place: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        with os.scandir(place) as entries:
            for entry in entries:
                yield os.path.join(place, entry.name), entry
    except OSError:
        return


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
