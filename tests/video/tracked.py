"""The folder that `reidkit video track` makes, of synthetic videos tracked by their ground truth."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from reidkit.video.piece import Piece
from reidkit.video.piece_writer import PieceWriter
from reidkit.video.record import Record, Settings, Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

BEGAN = datetime.fromisoformat("2026-11-26T08:00:00+00:00")


def track(street: Path, out: Path, features: NDArray[np.float32], *, rate: int = 8, apart: float = 3.0) -> list[Piece]:
    """Write the tracks of all videos into `out`, and return them; `features` [ids + 1, D] say who each is."""
    found = []
    for number, video in enumerate(sorted(street.glob("*.mp4"))):
        name = video.stem
        source = Source(name=video.name, digest="0" * 16, path=f"../{street.name}/{video.name}")
        record = Record(video=name, source=source, settings=Settings(camera=name), rate=float(rate))
        writer = PieceWriter(out / name, record)
        rows = np.loadtxt(street / "gt" / f"{name}.txt", delimiter=",")
        for piece in _pieces(name, rows, features, BEGAN + timedelta(seconds=apart * number), rate):
            writer.add(piece)
            found.append(piece)
        writer.finish(record)
    return found


def _pieces(
    name: str, rows: NDArray[np.float64], features: NDArray[np.float32], start: datetime, rate: int
) -> Iterator[Piece]:
    for who in np.unique(rows[:, 1]).astype(int):
        mine = rows[rows[:, 1] == who]
        for at, part in enumerate(np.split(mine, np.flatnonzero(np.diff(mine[:, 0]) > 1) + 1)):
            corners = part[:, 2:4] - 1
            yield Piece(
                video=name,
                camera=name,
                track=str(10 * who + at),
                frames=part[:, 0].astype(np.int64),
                seconds=(part[:, 0] - 1) / rate,
                boxes=np.hstack((corners, corners + part[:, 4:6])).astype(np.float32),
                scores=np.ones(len(part), np.float32),
                start=start,
                feature=features[who],
                best=(len(part) // 2,),
            )
