"""What is known of a video that was tracked: where it is from, how it was read, what was found; `video.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

from reidkit.atomic import write_bytes_atomic
from reidkit.errors import DataError, MissingFileError
from reidkit.strict_json import JsonError, fit, read

if TYPE_CHECKING:
    from pathlib import Path

RECORD = "video.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a video is from.

    Attributes:
        name: Its name as the user gave it, without folders; of an address, without user, password and query.
        digest: Tells videos of equal names apart: sixteen digits over its size and its first and last bytes; of live
            input, over its address and the time when it began.
        path: The file or folder, relative to DIR, for clips; "" for live input.
        live: Whether it was live.
    """

    name: str
    digest: str
    path: str = ""
    live: bool = False


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the pieces of a video depend on, beside its source: another run with other settings gives other pieces.

    Attributes:
        camera: The name of the camera.
        start: The clock time of second 0 as it was given, in ISO 8601; "" where it was not.
        every: The least seconds from one frame that is looked at to the next; 0: every frame.
        boxes: Where boxes are from: a detector with its format, digest and settings, or a file with its digest.
        tracker: The tracker with its settings, or `given` for ids of a file.
        choice: How pieces are cut and crops chosen.
        model: The fingerprint of the model; "" without one.
        keep: What is kept beside boxes: crops and vectors, vectors alone, or nothing.
    """

    camera: str
    start: str = ""
    every: float = 0.0
    boxes: str = ""
    tracker: str = ""
    choice: str = ""
    model: str = ""
    keep: Literal["crops", "vectors", "nothing"] = "crops"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How much was read and found: frames of the video, frames that were looked at, boxes of pieces, and so on."""

    frames: int = 0
    looked_at: int = 0
    detections: int = 0
    boxes: int = 0
    pieces: int = 0
    crops: int = 0


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of a tracked video.

    Attributes:
        video: Its name, which is that of its folder.
        source: Where it is from; `settings`: how it was read; `counts`: what was found.
        width: Of the upright frames, in pixels, as `height`; 0 where there was no frame.
        rate: Frames a second on average, as the file says; 0: not known.
        seconds: From the beginning to the last frame that was read.
        moved: Frames whose seconds are not those of the file, as their times are wrong or begin again.
        start: The clock time of second 0 in ISO 8601; "" where it is not known.
        start_from: Who says so: the user (`given`), the file (`creation time`), the `clock` of live input; "" for none.
        finished: Whether it was read to its end; what is not is begun anew by the next run.
        remarks: What was wrong with the video, a sentence each.
        notes: What is not wrong, and worth to know.
        galleries: The galleries that hold its pieces, by their uuid.
        doubles: Pairs of tracks that are doubles of each other (`reidkit.video.piece`).
    """

    video: str
    source: Source
    settings: Settings
    counts: Counts = field(default_factory=Counts)
    width: int = 0
    height: int = 0
    rate: float = 0.0
    seconds: float = 0.0
    moved: int = 0
    start: str = ""
    start_from: str = ""
    finished: bool = False
    remarks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    galleries: tuple[str, ...] = ()
    doubles: tuple[tuple[str, str], ...] = ()
    format: int = FORMAT

    @property
    def camera(self) -> str:
        """The name of the camera."""
        return self.settings.camera


def write_record(place: Path, record: Record) -> None:
    """Write `video.json` into the folder of a video, whole or not at all.

    Raises:
        DataError: the folder cannot be written.
    """
    text = json.dumps(asdict(record), indent=2, ensure_ascii=False)
    write_bytes_atomic(place / RECORD, f"{text}\n".encode(errors="backslashreplace"))  # names that are no UTF-8


def read_record(place: Path) -> Record:
    """Read `video.json` in the folder of a video.

    Raises:
        DataError: it is damaged, or of a later version.
    """
    path = place / RECORD
    try:
        content = read(path)
        if isinstance(content, dict) and content.get("format", FORMAT) != FORMAT:
            raise DataError(f"{path} is of format {content['format']}: read it by a later version of reidkit")
        record: Record = fit(content, Record)
    except (OSError, JsonError) as error:
        raise DataError(f"{path} cannot be read ({error}): remove its folder and track the video again") from None
    if not is_name(record.video):
        raise DataError(f"{path}: {record.video!r} is no name of a folder: remove its folder and track the video again")
    return record


def is_name(text: str) -> bool:
    """Return whether a text can be the name of a folder or file on every system, and leads nowhere else."""
    return bool(text) and not text.startswith(".") and text.isprintable() and not set(text) & set('/\\:*?"<>|')


def video_folders(folder: Path) -> list[Path]:
    """Return the folders of videos in DIR, sorted by name; `folder` itself where it is one.

    Raises:
        MissingFileError: there are none.
    """
    if (folder / RECORD).is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{RECORD}")) if folder.is_dir() else []
    if not found:
        raise MissingFileError(f"{folder} holds no tracked videos: make it by reidkit video track VIDEO --out {folder}")
    return found
