"""A folder of images as a video, in the form of the MOT challenge: SEQ/img1/000001.jpg and SEQ/seqinfo.ini."""

from __future__ import annotations

import configparser
import math
import re
from typing import TYPE_CHECKING

from reidkit.data.decode import decode
from reidkit.errors import DataError
from reidkit.terminal import counted
from reidkit.video.frames import About, Frame, Sampling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
FILMS = frozenset({".mp4", ".m4v", ".avi", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".ts", ".wmv", ".flv"})
INFO = "seqinfo.ini"


class ImageFolder:
    """The frames of a folder in the form of MOT; the number of a frame is that in the name of its file.

    Args:
        folder: SEQ, which holds seqinfo.ini with `frameRate` and `imDir`.
        every: The least seconds from one frame that is looked at to the next; 0: every frame.

    Raises:
        DataError: there is no seqinfo.ini, no rate in it, no image, or two of one number.
    """

    def __init__(self, folder: Path, every: float = 0.0) -> None:
        self.path, self.read = folder, 0
        self._sampling = Sampling(every)
        rate, images = _read_info(folder)
        self._files = _numbered(images)
        last = max(self._files)
        self.about = About(rate=rate, seconds=last / rate, frames=len(self._files), last=last)

    def __iter__(self) -> Iterator[Frame]:
        unreadable: list[str] = []
        for number, path in sorted(self._files.items()):
            self.read += 1
            second = (number - 1) / self.about.rate
            if not self._sampling.takes(second):
                continue
            try:
                image = decode(path)
            except DataError as error:
                unreadable.append(str(error))
                continue
            yield Frame(number, second, image)
        if unreadable:
            self.about.remarks.append(
                f"{counted(len(unreadable), 'unreadable image')}, the first of them: {unreadable[0]}"
            )

    def close(self) -> None:
        """Do nothing: no file is open."""


def _read_info(folder: Path) -> tuple[float, Path]:
    """Return the rate and the folder of the images.

    Raises:
        DataError: seqinfo.ini is not there, or does not say it.
    """
    info = folder / INFO
    example = f"write {info} with the lines [Sequence], frameRate=25 and imDir=img1"
    films = sorted(path for path in folder.iterdir() if path.suffix.lower() in FILMS)
    if films and not info.is_file():
        raise DataError(f"{folder} is a folder of videos, and no video: name them one by one, as {films[0]}")
    if not info.is_file():
        raise DataError(f"{folder} is a folder without {INFO}, which says how many images are a second: {example}")
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(info.read_text(encoding="utf-8-sig"))
        rate = float(parser["Sequence"]["frameRate"])
        name = parser["Sequence"].get("imDir", "img1")
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError, ValueError):
        rate, name = math.nan, ""
    if not 0 < rate <= 1000:
        raise DataError(f"{info} gives no rate from 0 to 1000: {example}")
    if not (folder / name).is_dir() or not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{info} names {name!r}, which is no folder in {folder}: {example}")
    return rate, folder / name


def number_in(stem: str) -> int | None:
    """Return the last number in the name of a frame's file, without its ending; None where there is none."""
    match = re.search(r"(\d{1,15})(?=\D*$)", stem, re.ASCII)
    return int(match[1]) if match else None


def _numbered(images: Path) -> dict[int, Path]:
    """Return the images by their numbers.

    Raises:
        DataError: there is none, or two of one number.
    """
    found: dict[int, Path] = {}
    for path in sorted(images.iterdir()):
        number = number_in(path.stem)
        if path.suffix.lower() not in ENDINGS or number is None:
            continue
        if number < 1 or number in found:
            why = f"as {found[number].name} has" if number in found else "which is none: frames are counted from 1"
            raise DataError(f"{path} has the number {number}, {why}: rename it")
        found[number] = path
    if not found:
        raise DataError(f"{images} holds no images with numbers, as 000001.jpg: give the folder of a sequence")
    return found
