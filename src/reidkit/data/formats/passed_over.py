# ruff: noqa: PTH110, PTH118, PTH119, PTH120 (strings: a Path for each of a million files takes its time)
"""What lies in a data set's folder and is not read, counted by kind."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from reidkit.data.formats.scan import SUFFIXES
from reidkit.data.shards.storage import url_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reidkit.types import Dataset

NOTES = frozenset(
    (".txt", ".md", ".csv", ".json", ".mat", ".db", ".ini", ".pdf", ".xml", ".yaml", ".yml", ".html", ".npz")
)
"""Suffixes of files that hold no images, some of which are lists that a reader uses."""

_NOTES, _HIDDEN, _LOST = "notes and lists", "hidden files", "links that lead nowhere"


def passed_over(folder: Path, dataset: Dataset) -> dict[str, int]:
    """Counts of the files in `folder` that `dataset` does not read, by kind.

    Kinds are images in a folder that is not read (`images in val/`), images in a folder of which others are read
    (`images in train/ not listed`), files with a suffix that is not read (`.heic files`), notes and lists, hidden
    files, and links that lead nowhere. Of shards only suffixes are counted, and nothing of a URL or of a table that was
    named itself.
    """
    parts = (dataset.train, dataset.query, dataset.gallery, dataset.junk)
    if url_of(folder) or not folder.is_dir():
        return {}
    shards = {str(shard) for part in parts for shard in part.shards}
    used = shards or {str(sample.path) for part in parts for sample in part}
    files = _Used(str(folder), used)
    return dict(sorted(Counter(kind for path, entry in _walk(folder) if (kind := files.kind(path, entry))).items()))


def worth_a_line(counts: Mapping[str, int]) -> str:
    """Return the line of a run about what may have been meant to be read; empty where there is nothing."""
    told = {kind: count for kind, count in counts.items() if kind not in (_HIDDEN, _NOTES)}
    return f"passed over: {as_text(told)}" if told else ""


def as_text(counts: Mapping[str, int]) -> str:
    """Return the counts in a line."""
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


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
        if entry.name.startswith("."):
            return _HIDDEN
        if not os.path.exists(path):
            return _LOST
        suffix = Path(entry.name).suffix.lower()
        if suffix not in SUFFIXES:
            return _NOTES if suffix in NOTES else f"{suffix} files" if suffix else "files without a suffix"
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
        entries = () if real in seen else _entries(place)
        seen.add(real)
        for path, entry in entries:
            if not _is_folder(entry) or entry.name.startswith("."):
                yield path, entry
            else:
                waiting.append(path)


def _entries(place: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
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
