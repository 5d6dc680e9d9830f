"""The people of a gallery that was filled from videos: tracks joined, noted in its rows, confirmed or taken back.

What joining proposes is the attribute `person` of each row, a number. What somebody has confirmed is the row's `pid`,
which joining never changes and always follows: rows of one pid are one person, rows of two are two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeGuard

import numpy as np

from reidkit.errors import DataError, UsageError
from reidkit.gallery.filters import EVERYTHING, Filter
from reidkit.gallery.person_ids import PERSON
from reidkit.gallery.row import as_time
from reidkit.gallery.transfer import pages
from reidkit.metrics.calibration_file import pair_of
from reidkit.video.joining import FAR, UNKNOWN, Joined, Proposal, Tracks, join, propose_threshold
from reidkit.video.piece import DOUBLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from reidkit.gallery.protocol import Gallery
    from reidkit.gallery.row import Row, Value
    from reidkit.metrics.calibration_file import Calibration
    from reidkit.video.joining import Linkage

MOST_COMPARED = 5000
"""Tracks among which all pairs are looked at for a hint, at most."""

_MANY = 1000
"""Rows that are read or written at a time."""


Basis: TypeAlias = Literal["calibrated", "videos", "given"]


@dataclass(frozen=True, kw_only=True)
class Track:
    """One track of a gallery: its name and rows, and from when to when it lasts.

    `start` and `end` are clock times, None where they are not known; `first` and `last` are seconds: since 1970, or
    since the video began where no clock time is known; None where there is neither. `video` is the name of the video.
    """

    name: str
    keys: tuple[str, ...]
    camera: str | None
    video: str | None
    pid: int | None
    person: int | None
    start: datetime | None
    end: datetime | None
    first: float | None
    last: float | None
    clock: str
    row: Row


@dataclass(frozen=True, eq=False, kw_only=True)
class People:
    """Tracks of a gallery, and who they are.

    Attributes:
        tracks: The tracks, in the order in which they begin.
        people: The number of the person of each, int64 [N]: the pid where somebody has confirmed one, else a new one.
        joined: What joining found; its numbers of people and tracks are those of `numbers` and of `tracks`.
        numbers: The number in `people` of each person in `joined`.
        basis: Where the threshold is from: `calibrated`, `videos` (tracks that are seen together) or `given`.
        threshold: The threshold, and `far` its false accept rate; of several for pairs of cameras the general one.
        proposal: What a threshold from the videos rests on.
        calibration: What gives probabilities, where the model was calibrated.
    """

    tracks: tuple[Track, ...]
    people: NDArray[np.int64]
    joined: Joined
    numbers: NDArray[np.int64]
    basis: Basis
    threshold: float
    far: float | None
    proposal: Proposal | None
    calibration: Calibration | None

    @property
    def count(self) -> int:
        """How many people there are."""
        return len(self.numbers)


def join_people(
    gallery: Gallery,
    *,
    threshold: float | None = None,
    far: float | None = None,
    linkage: Linkage = "average",
    cameras_overlap: bool = False,
    matching: Filter = EVERYTHING,
) -> People:
    """Join the tracks of a gallery into people; nothing is written.

    The threshold is, in this order: the one that is given; that of the gallery's calibration, for each two cameras; one
    that at most `far` of the pairs of tracks reach that are seen together, 0.02 unless it is given.

    Args:
        gallery: The gallery. Rows of one track are compared by the mean of their features.
        threshold: The similarity from which on two tracks show one person; None: as above.
        far: For a threshold from the videos; refused with another one.
        linkage: See `join`.
        cameras_overlap: Whether two cameras may see one person at the same time.
        matching: Which rows to look at.

    Raises:
        DataError: no rows; too few tracks that are seen together; see `join`.
        UsageError: see `join`; a FAR where the threshold is not from the videos.
    """
    if far is not None and (threshold is not None or gallery.calibration):
        other = "the gallery's model is calibrated" if threshold is None else "a threshold is given"
        raise UsageError(
            f"far is that of a threshold from the videos, and {other}: leave it out, or calibrate the model with it",
            argument="far",
        )
    found, features = read_tracks(gallery, matching)
    if not found:
        raise DataError("there are no tracks to join: fill the gallery by reidkit video track, or choose other rows")
    names = _cameras(found)
    tracks = _as_arrays(found, features, names)
    calibration, proposal = gallery.calibration, None
    limits: float | NDArray[np.float64]
    basis: Basis
    if threshold is not None:
        limits, basis = threshold, "given"
    elif calibration:
        limits, basis = _limits(calibration, names), "calibrated"
        threshold, far = calibration.chosen.threshold, calibration.settings.far
    else:
        far = FAR if far is None else far
        proposal = propose_threshold(tracks, far=far, cameras_overlap=cameras_overlap)
        limits, threshold, basis = proposal.threshold, proposal.threshold, "videos"
    joined = join(tracks, limits, linkage=linkage, cameras_overlap=cameras_overlap)
    numbers = _numbers(found, joined, gallery.person_names())
    return People(
        tracks=tuple(found),
        people=numbers[joined.people],
        joined=joined,
        numbers=numbers,
        basis=basis,
        threshold=threshold,
        far=None if basis == "given" else far,
        proposal=proposal,
        calibration=calibration,
    )


def hint_of_videos(gallery: Gallery, *, far: float = FAR) -> Proposal | None:
    """Return which similarity at most `far` of the pairs of tracks reach that are seen together, as joining finds it.

    Where nothing is calibrated, it tells what similarity strangers have in these videos. It compares tracks, and a
    photo from elsewhere is less like all of them. None: fewer than 20 pairs are seen together, or there are more than
    `MOST_COMPARED` rows.
    """
    if gallery.count() > MOST_COMPARED:
        return None
    found, features = read_tracks(gallery)
    try:
        return propose_threshold(_as_arrays(found, features, _cameras(found)), far=far)
    except DataError:
        return None


def read_tracks(gallery: Gallery, matching: Filter = EVERYTHING) -> tuple[list[Track], NDArray[np.float64]]:
    """Return the tracks of a gallery in the order in which they begin, and the mean of the unit features of each.

    Rows without a track are one each.
    """
    by_name: dict[str, list[Row]] = {}
    for page in pages(gallery, matching):
        for row in page:
            by_name.setdefault(row.track or row.key, []).append(row)
    tracks = sorted(
        (_track(name, rows) for name, rows in by_name.items()),
        key=lambda track: (track.first is None, track.first or 0.0, track.name),
    )
    keys = [key for track in tracks for key in track.keys]
    parts = [gallery.vectors(keys[at : at + _MANY]) for at in range(0, len(keys), _MANY)]
    vectors = np.concatenate(parts).astype(np.float64) if parts else np.zeros((0, gallery.dim))
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    ends = np.cumsum([0, *(len(track.keys) for track in tracks)])
    means = np.add.reduceat(vectors, ends[:-1], axis=0) / np.diff(ends)[:, None] if tracks else vectors
    return tracks, means


def write_people(gallery: Gallery, people: People) -> int:
    """Note in each row whom it is proposed to show, as the attribute `person`; how many rows changed.

    Joining once more, or `forget_people`, changes it again; pids stay.
    """
    number_of = {
        key: int(number) for track, number in zip(people.tracks, people.people, strict=True) for key in track.keys
    }
    return _change(gallery, number_of, lambda row: _with_person(row, number_of[row.key]))


def forget_people(gallery: Gallery) -> int:
    """Take back what was proposed: no row has a number as `person` any more; how many had one. Pids and names stay."""
    keys = [row.key for page in pages(gallery) for row in page if is_number(row.attributes.get(PERSON))]
    return _change(gallery, keys, lambda row: _with_person(row, None))


def confirm_people(gallery: Gallery, numbers: Sequence[int], *, one: bool = False) -> int:
    """Confirm that the rows of a proposed person show one: its number becomes their pid; how many rows changed.

    Args:
        gallery: The gallery.
        numbers: The attribute `person` of these rows.
        one: All of these are one person, who gets the first of the numbers.

    Raises:
        DataError: no row is proposed to show one of them; or their rows have several pids that were confirmed.
    """
    rows = _of_people(gallery, numbers)
    for group in [list(numbers)] if one else [[number] for number in numbers]:
        pids = {row.pid for number in group for row in rows[number] if row.pid is not None}
        if len(pids) > 1:
            raise DataError(
                f"these rows were confirmed as {', '.join(map(str, sorted(pids)))}: take back one of them first",
                argument="confirm",
            )
    pid_of = {row.key: numbers[0] if one else number for number in numbers for row in rows[number]}
    return _change(gallery, pid_of, lambda row: replace(_with_person(row, pid_of[row.key]), pid=pid_of[row.key]))


def unconfirm_people(gallery: Gallery, numbers: Sequence[int]) -> int:
    """Take back that somebody has confirmed these pids; how many rows changed.

    Raises:
        DataError: no row has one of them.
    """
    keys = []
    for number in dict.fromkeys(numbers):
        some = [row.key for page in pages(gallery, Filter(pids=[number])) for row in page]
        if not some:
            raise DataError(f"no row has the pid {number}: confirmed are those that --confirm has named")
        keys += some
    return _change(gallery, keys, lambda row: replace(row, pid=None))


def _of_people(gallery: Gallery, numbers: Sequence[int]) -> Mapping[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for number in numbers:
        found[number] = [row for page in pages(gallery, Filter(attributes={PERSON: number})) for row in page]
        if not found[number]:
            raise DataError(f"no row is proposed to show person {number}: run reidkit video join first")
    if not numbers:
        raise UsageError("name at least one person by its number", argument="confirm")
    return found


def _with_person(row: Row, number: int | None) -> Row:
    if isinstance(row.attributes.get(PERSON), str):  # a name, which stands nowhere else
        return row
    others: dict[str, Value] = {name: value for name, value in row.attributes.items() if name != PERSON}
    return replace(row, attributes=others if number is None else others | {PERSON: number})


def _change(gallery: Gallery, keys: Iterable[str], change: Callable[[Row], Row]) -> int:
    """Write rows anew with their features and pictures, some at a time; how many differ from before."""
    wanted, count = list(keys), 0
    for at in range(0, len(wanted), _MANY):
        some = Filter(keys=wanted[at : at + _MANY])
        rows = [row for row in gallery.rows(some, limit=_MANY).rows if change(row) != row]
        if rows:
            names = [row.key for row in rows]
            pictures = [gallery.thumbnail(name) for name in names]
            made = [replace(change(row), id=0, added=None) for row in rows]
            gallery.add_vectors(gallery.vectors(names), made, thumbnails=pictures, on_conflict="replace")
            count += len(rows)
    return count


def _track(name: str, rows: list[Row]) -> Track:
    """Return what rows of one track say of it; of several cameras or pids, that of the first row that has one."""
    spans = [span_of_row(row) for row in rows]
    clocks = {clock for clock, _, _ in spans}
    clock = min(clocks) if len(clocks) == 1 else ""
    first, last = (min(span[1] for span in spans), max(span[2] for span in spans)) if clock else (None, None)
    return Track(
        name=name,
        keys=tuple(row.key for row in rows),
        camera=next((row.camera for row in rows if row.camera is not None), None),
        video=next((str(row.attributes["video"]) for row in rows if "video" in row.attributes), None),
        pid=next((row.pid for row in rows if row.pid is not None), None),
        person=next((int(row.attributes[PERSON]) for row in rows if is_number(row.attributes.get(PERSON))), None),
        start=None if first is None or clock != "time" else as_time(first),
        end=None if last is None or clock != "time" else as_time(last),
        first=first,
        last=last,
        clock=clock,
        row=rows[0],
    )


def span_of_row(row: Row) -> tuple[str, float, float]:
    """Return the clock of a row, and from when to when it lasts on it: "" where that is not known."""
    second, first, last = (row.attributes.get(name) for name in ("second", "first", "last"))
    if is_number(second) and is_number(first) and is_number(last):
        if row.time is not None:
            zero = row.time.timestamp() - second
            return "time", zero + first, zero + last
        where = row.attributes.get("source") or row.attributes.get("video") or row.camera or ""
        return f"video {where}" if where else "", float(first), float(last)
    if row.time is not None:
        return "time", row.time.timestamp(), row.time.timestamp()
    return "", 0.0, 0.0


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether an attribute is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def seconds_in_video(row: Row) -> tuple[float, float] | None:
    """Return from which to which second of its video a row was seen; None where it does not say."""
    first, last = row.attributes.get("first"), row.attributes.get("last")
    return (float(first), float(last)) if is_number(first) and is_number(last) else None


def _cameras(found: list[Track]) -> list[str]:
    return sorted({track.camera for track in found if track.camera is not None})


def _as_arrays(found: list[Track], features: NDArray[np.float64], names: list[str]) -> Tracks:
    numbers = {name: number for number, name in enumerate(names)}
    clocks = {name: number for number, name in enumerate(sorted({track.clock for track in found if track.clock}))}
    return Tracks.of(
        features,
        [0.0 if track.first is None else track.first for track in found],
        [0.0 if track.last is None else track.last for track in found],
        cameras=[UNKNOWN if track.camera is None else numbers[track.camera] for track in found],
        clocks=[clocks.get(track.clock, UNKNOWN) for track in found],
        ids=[UNKNOWN if track.pid is None else track.pid for track in found],
        doubles=_doubles(found),
    )


def _doubles(found: list[Track]) -> list[tuple[int, int]]:
    """Return the pairs of tracks of one video that are doubles, as their rows say."""
    places = {track.name: at for at, track in enumerate(found)}
    pairs = []
    for at, track in enumerate(found):
        told = track.row.attributes.get(DOUBLES, "")  # a single one of a table is a number
        others = [places.get(f"{track.video}/{name}") for name in str(told).split(",")]
        pairs += [(at, other) for other in others if other is not None and other != at]
    return pairs


def _limits(calibration: Calibration, names: list[str]) -> NDArray[np.float64]:
    """Return the threshold of each two cameras; the last row and column are those of cameras that are not known."""
    cameras: list[str | None] = [*names, None]
    limits = np.full((len(cameras), len(cameras)), calibration.chosen.threshold)
    for i, one in enumerate(cameras):
        for j, other in enumerate(cameras):
            if pair := pair_of(calibration, one, other):
                limits[i, j] = pair.threshold
    # Either track may be the query: what is joined is so both ways.
    symmetric: NDArray[np.float64] = np.clip(np.maximum(limits, limits.T), -1.0, 1.0)
    return symmetric


def _numbers(found: list[Track], joined: Joined, ids: Iterable[int]) -> NDArray[np.int64]:
    """Return a number for each person: the pid that was confirmed, else the next one that is nobody's.

    `ids` are the pids of the whole gallery.
    """
    pids = set(ids)
    numbers: list[int] = []
    free = 0
    confirmed = {
        int(person): track.pid for person, track in zip(joined.people, found, strict=True) if track.pid is not None
    }
    for person in range(int(joined.people.max()) + 1):
        if person in confirmed:
            numbers.append(confirmed[person])
            continue
        free += 1
        while free in pids:
            free += 1
        numbers.append(free)
    return np.array(numbers, np.int64)
