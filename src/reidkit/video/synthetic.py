"""Synthetic videos: people of the synthetic set walk past several cameras, with the truth about who is where."""

from __future__ import annotations

import csv
import io
import shutil
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Unpack

import numpy as np

from reidkit.atomic import not_written
from reidkit.errors import DataError, UsageError
from reidkit.synth.street import Street
from reidkit.types import SYNTHETIC
from reidkit.video.encode import write_video

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from typing import TypedDict

    from reidkit.synth.street import Seen

    class Settings(TypedDict, total=False):
        """Optional settings of the videos, with the defaults of `Street`."""

        ids: int
        seconds: float
        rate: int
        height: int
        width: int
        apart: float


README, TABLE, TRUTH, DETECTIONS, PHOTO = "README.txt", "videos.csv", "gt", "det", "photo.png"

BEGAN = datetime(2026, 11, 26, 8, 0, tzinfo=UTC)
"""When the first video begins."""

SEEN_FROM = 0.3
"""The part of a person that must be visible for a detector to find them."""

FALSE_BOXES = 0.02
"""Boxes a frame where nobody is, of a detector."""

_FOUND = 6
"""The stream of random numbers for what a detector finds."""


def draw_videos(
    out: str | os.PathLike[str],
    videos: int = 2,
    seed: int = 0,
    *,
    progress: Callable[[int, int], None] | None = None,
    **settings: Unpack[Settings],
) -> dict[str, int]:
    """Draw videos of people who walk past several cameras into the folder `out`, which appears when it is complete.

    It holds `camera1.mp4` and so on; `gt/camera1.txt`, the ground truth in the format of MOTChallenge, with ids that
    are the same in all videos; `det/camera1.txt`, what a detector might find: boxes without ids, somewhat off, none of
    whom is mostly hidden, and now and then one where nobody is; `photo.png`, one of them before another camera; and
    `videos.csv`, the camera and the start of each video. The same arguments draw the same frames and boxes. Earlier
    synthetic videos in `out` are replaced.

    Args:
        out: The folder.
        videos: Cameras, with a video each.
        seed: Another seed, other people, cameras and ways.
        progress: Called with the frames that are done, and all of them.
        **settings: Fields of `Street`.

    Returns:
        The numbers of `videos`, `frames`, `ids` in them, `boxes`, and of ids that are in more than one (`across`); the
        id of the person on the photo (`photo`).

    Raises:
        UsageError: `out` holds something else, a number is out of range, or PyAV is not installed.
        DataError: the files cannot be written.
    """
    street = Street(videos=videos, seed=seed, **settings)
    total, done = street.frames * videos, 0
    where: dict[int, set[int]] = {}
    boxes = 0
    with _replacing(Path(out).absolute()) as folder:
        (folder / TRUTH).mkdir()
        (folder / DETECTIONS).mkdir()
        for number in range(1, videos + 1):
            rows: list[list[Seen]] = []

            def frames(number: int = number, rows: list[list[Seen]] = rows) -> Iterator[tuple[float, np.ndarray]]:
                nonlocal done
                for at, frame in enumerate(street.film(number)):
                    rows.append(frame.people)
                    yield at / street.rate, frame.pixels
                    done += 1
                    if progress:
                        progress(done, total)

            about = {"creation_time": _start(street, number).isoformat().replace("+00:00", "Z"), "title": SYNTHETIC}
            name = f"camera{number}.mp4"
            write_video(folder / name, frames(), rate=street.rate, about=about, called=Path(out) / name)
            (folder / TRUTH / f"camera{number}.txt").write_text(truth_lines(rows), encoding="utf-8")
            (folder / DETECTIONS / f"camera{number}.txt").write_text(
                detection_lines(rows, street, number), encoding="utf-8"
            )
            boxes += sum(map(len, rows))
            for seen in (seen for row in rows for seen in row):
                where.setdefault(seen.who, set()).add(number)
        street.portrait(_sought(street)).save(folder / PHOTO)
        (folder / TABLE).write_text(_table(street), encoding="utf-8")
        (folder / README).write_text(_describe(street), encoding="utf-8")
    across = sum(len(cameras) > 1 for cameras in where.values())
    return {
        "videos": videos,
        "frames": total,
        "ids": len(where),
        "boxes": boxes,
        "across": across,
        "photo": _sought(street),
    }


def truth_lines(rows: list[list[Seen]]) -> str:
    """Return ground truth as MOTChallenge has it: frame, id, left, top, width, height, 1, class 1, visibility.

    Frames and pixels are counted from 1.
    """
    return "".join(
        f"{at},{seen.who},{left + 1:.2f},{top + 1:.2f},{wide:.2f},{high:.2f},1,1,{seen.visible:.3f}\n"
        for at, row in enumerate(rows, 1)
        for seen in row
        for left, top, wide, high in [seen.box]
    )


def detection_lines(rows: list[list[Seen]], street: Street, number: int) -> str:
    """Return what a detector might find in the frames of camera `number`, as MOTChallenge has detections."""
    rng = np.random.default_rng((street.seed, _FOUND, number))
    lines = []
    for at, row in enumerate(rows, 1):
        found = [(seen.box, seen.visible) for seen in row if seen.visible >= SEEN_FROM and rng.random() < 0.97]
        if rng.random() < FALSE_BOXES:
            high = 0.4 * street.height
            left, top = rng.random(2) * (street.width - 0.4 * high, street.height - high)
            found.append(((float(left), float(top), 0.4 * high, high), 0.0))
        for (left, top, wide, high), visible in found:
            off = rng.normal(0.0, 0.03, 4) * (wide, high, wide, high)
            score = min(0.99, 0.45 + 0.5 * visible + 0.03 * float(rng.standard_normal()))
            box = (left + 1 + off[0], top + 1 + off[1], wide + off[2], high + off[3])
            lines.append(f"{at},-1,{','.join(f'{value:.2f}' for value in box)},{score:.3f},-1,-1,-1\n")
    return "".join(lines)


def _sought(street: Street) -> int:
    """Return who is on the photo: the first who is in the most views."""
    views = {who: {walk.camera for walk in street.walks if walk.who == who} for who in range(1, street.ids + 1)}
    return max(views, key=lambda who: (len(views[who]), -who))


def _start(street: Street, number: int) -> datetime:
    return BEGAN + timedelta(seconds=street.start(number))


def _table(street: Street) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("video", "camera", "start"))
    rows.writerows(
        (f"camera{number}.mp4", f"camera{number}", _start(street, number).isoformat())
        for number in range(1, street.videos + 1)
    )
    return text.getvalue()


def _describe(street: Street) -> str:
    size = f"{street.width} x {street.height} pixels, {street.rate} frames a second, {street.seconds:g} seconds"
    return f"""{SYNTHETIC}

Every frame was drawn by a program, `reidkit synth --videos {street.videos} --ids {street.ids} --seed {street.seed}`:
{street.videos} cameras, {street.ids} people, {size}.
Scores on these videos show that the software works. They say nothing about real cameras.

cameraN.mp4: the videos. {TABLE}: when each begins.
{TRUTH}/cameraN.txt: who is where, as MOTChallenge has ground truth; ids are the same in all videos.
{DETECTIONS}/cameraN.txt: what a detector might find, as MOTChallenge has detections.
{PHOTO}: a photo of person {_sought(street)}, by another camera.
"""


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Yield a folder to draw into, which replaces `out` at the end, or is removed after an error.

    Raises:
        UsageError: `out` holds anything but synthetic videos.
        DataError: the files cannot be written.
    """
    if not _is_ours(out):
        raise UsageError(f"{out} holds something else than synthetic videos: give a folder that is empty or not there")
    unfinished, replaced = (out.with_name(f"{out.name}.{token_hex(4)}.{kind}") for kind in ("partial", "old"))
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        if out.exists():
            out.rename(replaced)
        unfinished.rename(out)
    except DataError:
        raise
    except OSError as error:
        raise not_written(out, error, "one in a folder you can write to") from None
    finally:
        for folder in (unfinished, replaced):
            shutil.rmtree(folder, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    """Return whether this is nothing, an empty folder, or synthetic videos without other files."""
    if not folder.exists() and not folder.is_symlink():
        return True
    if not folder.is_dir() or folder.is_symlink():
        return False
    entries = {entry.name for entry in folder.iterdir() if not _is_video(entry.name, ".mp4")}
    inside = [
        entry.name for name in (TRUTH, DETECTIONS) if (folder / name).is_dir() for entry in (folder / name).iterdir()
    ]
    readme = folder / README
    titled = readme.is_file() and readme.read_bytes().startswith(SYNTHETIC.encode())
    return not any(folder.iterdir()) or (
        titled
        and entries <= {README, TABLE, TRUTH, DETECTIONS, PHOTO}
        and all(_is_video(name, ".txt") for name in inside)
    )


def _is_video(name: str, ending: str) -> bool:
    return name.startswith("camera") and name.endswith(ending) and name[6 : -len(ending)].isdecimal()
