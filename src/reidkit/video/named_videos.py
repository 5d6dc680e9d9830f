"""Videos as a user names them: files, folders of MOT, addresses; what each is called, and how it is opened."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from reidkit.errors import DataError, MissingFileError, UsageError
from reidkit.extras import require_extras
from reidkit.gallery.row import as_time
from reidkit.terminal import counted
from reidkit.video.frames import VideoFile
from reidkit.video.image_folder import ImageFolder
from reidkit.video.live import LiveInput, is_live, shown_address
from reidkit.video.record import Source, read_record, video_folders
from reidkit.video.video_table import is_table, read_video_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reidkit.video.frames import Frames

PIECE = 1 << 16
"""Bytes from the beginning and the end of a file that tell it from others."""

_RUNTIMES = {".onnx": ("onnx", "onnxruntime"), ".xml": ("openvino",)}
"""What runs the files of networks, by their endings."""

LONGEST = 200
"""Bytes of the stem of a name: `-2`, a time and the ending of a lock fit behind it into the 255 of a file system."""


@dataclass(frozen=True, kw_only=True)
class GivenVideo:
    """A video as it was given.

    Attributes:
        given: The path or address.
        stem: What it would be called if no other video were.
        camera: The name of its camera.
        start: The clock time of its second 0; None: as the file says, if it does.
    """

    given: str
    stem: str
    camera: str
    start: datetime | None = None

    @property
    def live(self) -> bool:
        """Whether it is live input."""
        return is_live(self.given)

    @property
    def shown(self) -> str:
        """What it is called in messages: without a password."""
        return shown_address(self.given) if self.live else self.given

    def open(self, every: float, seconds: float | None) -> Frames:
        """Open it.

        Raises:
            DataError: it is no video.
        """
        if self.live:
            return LiveInput(self.given, every, seconds=seconds)
        path = Path(self.given)
        return ImageFolder(path, every) if path.is_dir() else VideoFile(path, every)

    def source(self, out: Path) -> Source:
        """Return where it is from, for the record in DIR.

        Raises:
            MissingFileError: it is not there.
        """
        if self.live:
            now = datetime.now(UTC).isoformat()
            digest = hashlib.sha256(f"{self.shown} {now}".encode()).hexdigest()[:16]
            return Source(name=self.shown, digest=digest, live=True)
        path = Path(self.given)
        return Source(name=path.name, digest=_digest(path), path=_relative(path, out))


def given_videos(
    videos: Sequence[str | os.PathLike[str]],
    cameras: Sequence[str] | Mapping[str, str] = (),
    starts: Sequence[datetime | str] | Mapping[str, datetime | str] = (),
) -> list[GivenVideo]:
    """Return videos with the names of their cameras and the times at which they begin.

    Args:
        videos: Paths and addresses; a .csv or .tsv is a table of them (`read_video_table`).
        cameras: The cameras, in the order of the videos or by their names (path, name of the file or stem, also the
            stem as a folder is called by it, in which spaces are `_`). Others are called like the stem of their file.
        starts: Likewise, clock times of second 0; text is of ISO 8601, UTC where it names no zone.

    Raises:
        UsageError: there is no video, one is given twice, or a name or a time fits none.
        DataError: a table cannot be read.
    """
    videos = list(videos) if isinstance(videos, Iterable) and not isinstance(videos, str) else [videos]
    if wrong := [each for each in videos if not isinstance(each, str | os.PathLike)]:
        raise UsageError(f"{wrong[0]!r} is no video: name files, folders or addresses", argument="videos")
    rows = {row.video: row for video in videos if is_table(video) for row in read_video_table(video)}
    given = [each for video in videos for each in _each(video)]
    if not given:
        raise UsageError("no videos are given: name files, folders of MOT or addresses of cameras", argument="videos")
    if len(set(given)) < len(given):
        twice = next(each for each in given if given.count(each) > 1)
        raise UsageError(f"{shown_address(twice)} is given twice: name each video once", argument="videos")
    if sum(map(is_live, given)) > 1:
        raise UsageError("live input never ends: start one command for each camera", argument="videos")
    named = _by_video(given, cameras, "cameras")
    times = _by_video(given, starts, "starts")
    found = []
    for each in given:
        stem = _stem(each)
        start = times.get(each) or (rows[each].start if each in rows else "") or None
        try:
            time = None if start is None else as_time(start)  # type: ignore[arg-type]
        except DataError as error:
            raise UsageError(f"the start of {shown_address(each)}: {error}", argument="starts") from None
        camera = str(named.get(each) or (rows[each].camera if each in rows else "") or stem)
        if not camera.isprintable() or len(camera) > 200:
            raise UsageError(f"{camera[:200]!r} is no name of a camera: give a short one", argument="cameras")
        found.append(GivenVideo(given=each, stem=stem, camera=camera, start=time))
    return found


def names_of(videos: Sequence[str | os.PathLike[str]]) -> set[str]:
    """Return each name by which one of the videos, those in tables too, may be called.

    Raises:
        DataError: a table cannot be read.
    """
    return {name for video in videos for each in _each(video) for name in _names(each)}


def require_packages(videos: Sequence[str | os.PathLike[str]], files: Iterable[str | os.PathLike[str] | None]) -> None:
    """Refuse, before any of them is opened, videos, a detector and a model for which packages are not installed.

    Args:
        videos: Paths, addresses and tables; folders of images need no package.
        files: The files of the detector and of the model; None for none.

    Raises:
        UsageError: some are not installed; all of them are named.
        DataError: a table cannot be read.
    """
    modules = ["av"] if any(not Path(each).is_dir() for video in videos for each in _each(video)) else []
    for file in files:
        modules += _RUNTIMES.get(Path(file).suffix.lower(), ()) if file is not None else ()
    require_extras("tracking these videos", modules)


def boxes_in(folder: Path, given: Sequence[GivenVideo]) -> list[Path]:
    """Return the VIDEO.txt of each video in a folder, called like its file or like its stem; none where there is none.

    Raises:
        MissingFileError: some are there, and some are not.
    """
    likely = [[folder / f"{name}.txt" for name in (_file_stem(each.given), each.stem)] for each in given]
    found = [next((path for path in paths if path.is_file()), None) for paths in likely]
    there = [path for path in found if path is not None]
    if there and len(there) < len(given):
        lacking = found.index(None)
        raise MissingFileError(
            f"{likely[lacking][0]} with the boxes of {given[lacking].shown} is not there: put it there, or give a file "
            "for each video",
            argument="boxes",
        )
    return there


def choose_names(
    sources: Sequence[tuple[GivenVideo, Source]], out: Path, taken_elsewhere: Callable[[str, str], bool]
) -> list[str]:
    """Return a name for each video, which is that of its folder in DIR.

    It is the stem of the file. A video that is in DIR already keeps its name, whatever else has the same stem; where
    another video has the name, `-2` and so on are added. Live input has the time when it began in its name.

    Args:
        sources: The videos.
        out: DIR.
        taken_elsewhere: Whether a name belongs to a video of another digest in a gallery.
    """
    known = _known(out)
    names: list[str] = []
    for video, source in sources:
        before = next((name for name, digest in known.items() if digest == source.digest and name not in names), None)
        if before is not None:
            names.append(before)
            continue
        stem = f"{video.stem}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}" if source.live else video.stem
        number, name = 1, stem
        while name in known or name in names or taken_elsewhere(name, source.digest):
            number += 1
            name = f"{stem}-{number}"
        names.append(name)
    return names


def _known(out: Path) -> dict[str, str]:
    """Return the digests of the videos in DIR by the names of their folders; "" for what is no video of ours."""
    there = list(out.iterdir()) if out.is_dir() else []
    found = {path.name: "" for path in there if not path.is_dir() or any(path.iterdir())}
    try:
        folders = video_folders(out)
    except MissingFileError:
        return found
    for place in folders:
        try:
            found[place.name] = read_record(place).source.digest
        except DataError:  # a folder that is damaged keeps its name, and another one is made
            continue
    return found


def _each(video: str | os.PathLike[str]) -> list[str]:
    return [row.video for row in read_video_table(video)] if is_table(video) else [os.fspath(video)]


def _by_video(given: Sequence[str], told: Sequence[object] | Mapping[str, object], argument: str) -> dict[str, object]:
    """Return what was told of each video, by position or by name.

    Raises:
        UsageError: there are more or fewer values than videos, or a name of no video or of several.
    """
    if not isinstance(told, Mapping):
        if not isinstance(told, Iterable | None):
            raise UsageError(f"{argument} {told!r} are no list: give one for each video, or by name", argument=argument)
        values = [told] if isinstance(told, str) else list(told or ())
        if values and len(values) != len(given):
            told_for = f"{counted(len(values), argument.removesuffix('s'))} for {counted(len(given), 'video')}"
            raise UsageError(f"{told_for}: give one for each, or by name", argument=argument)
        return dict(zip(given, values, strict=False))
    found = {}
    for name, value in told.items():
        meant = [each for each in given if name in _names(each)]
        if len(meant) != 1:
            why = "is the name of several videos: write their paths" if meant else "is none of the videos"
            raise UsageError(f"{argument}: {name} {why}", argument=argument)
        found[meant[0]] = value
    return found


def _names(given: str) -> set[str]:
    """Return by what names a video may be called."""
    return {given, os.path.basename(given), _file_stem(given), _stem(given)}  # noqa: PTH119


def _file_stem(given: str) -> str:
    """Return the stem of a video's file, the name of its folder, or the last part of its address."""
    if is_live(given):
        return PurePosixPath(shown_address(given)).name or "camera"
    path = Path(os.path.abspath(given))  # noqa: PTH100 (`.` has a name, and links keep theirs)
    return path.name if path.is_dir() else path.stem


def _stem(given: str) -> str:
    """Return what a video is called: the stem of its file, or the last part of an address, fit to be a folder."""
    name = _file_stem(given)
    plain = "".join(letter if letter.isprintable() else "_" for letter in name)
    short = (re.sub(r'[/\\:*?"<>|\s]+', "_", plain).lstrip(".") or "video")[:100]
    return short.encode()[:LONGEST].decode(errors="ignore")  # a letter may be four bytes


def _digest(path: Path) -> str:
    """Return sixteen digits that tell a video from others: over size and ends of a file, or names and sizes of images.

    Raises:
        MissingFileError: it is not there.
    """
    total = hashlib.sha256()
    try:
        if path.is_dir():
            for each in sorted(path.rglob("*")):
                if each.is_file():
                    total.update(f"{each.relative_to(path)} {each.stat().st_size}\0".encode(errors="surrogateescape"))
            return total.hexdigest()[:16]
        size = path.stat().st_size
        total.update(str(size).encode())
        if path.is_file():
            with path.open("rb") as file:
                total.update(file.read(PIECE))
                file.seek(max(size - PIECE, 0))
                total.update(file.read(PIECE))
    except OSError as error:
        raise MissingFileError(f"{path} cannot be read ({error.strerror}): give a video") from None
    return total.hexdigest()[:16]


def _relative(path: Path, out: Path) -> str:
    """Return a path as it is seen from DIR: it says no more of this machine than is needed."""
    try:
        return Path(os.path.relpath(path, out)).as_posix()
    except ValueError:  # another disk of Windows
        return str(path)
