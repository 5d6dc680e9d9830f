"""How pure tracks of synthetic videos are, and how well they are joined: python benchmarks/tracking.py MODEL.

Tracks are compared with the ground truth by TrackEval (HOTA, IDF1, id switches) and by purity, the part of the boxes
that belong to the id that most boxes of their track belong to; beside those of plain overlap. Joining: of all pairs of
tracks that were put together the part that is of one id (precision), and of all that are of one id the part that was
put together (recall); the same of the pairs of two cameras alone.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import reidkit as rk
from reidkit.video import (
    PieceOptions,
    TrackerOptions,
    TrackOptions,
    draw_videos,
    join_people,
    read_pieces,
    track,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.video import Piece

LEAST_OVERLAP = 0.5


class Quality(NamedTuple):
    """How tracks compare with the ground truth of their videos."""

    tracks: int
    hota: float
    idf1: float
    switches: int
    purity: float


def overlaps(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the intersection over union of boxes [n, 4] and [m, 4], as x1, y1, x2, y2."""
    low, high = np.maximum(one[:, None, :2], other[:, :2]), np.minimum(one[:, None, 2:], other[:, 2:])
    both = np.clip(high - low, 0, None).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (one, other)]
    return np.asarray(both / np.maximum(areas[0][:, None] + areas[1] - both, 1e-9))


def read_truth(path: Path) -> NDArray[np.float64]:
    """Return frame, id, x1, y1, x2, y2 of each box that can be seen."""
    rows = np.loadtxt(path, delimiter=",", ndmin=2)
    rows = rows[rows[:, 8] >= 0.3]
    corners = rows[:, 2:4] - 1
    return np.hstack((rows[:, :2], corners, corners + rows[:, 4:6]))


def owners(piece: Piece, truth: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return whose each box of a track is, by its largest overlap; -1: nobody's."""
    found = []
    for frame, box in zip(piece.frames, piece.boxes, strict=True):
        here = truth[truth[:, 0] == frame]
        scores = overlaps(box[None], here[:, 2:])[0] if len(here) else np.zeros(0)
        found.append(int(here[scores.argmax(), 1]) if len(scores) and scores.max() >= LEAST_OVERLAP else -1)
    return np.array(found, np.int64)


def evaluate(pieces: list[Piece], street: Path) -> Quality:
    """Compare tracks with the ground truth; the videos count as one, one after the other."""
    from trackeval.metrics import CLEAR, HOTA, Identity

    steps: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    offset = 0
    numbers = {piece.key: number for number, piece in enumerate(pieces)}
    for path in sorted((street / "gt").glob("*.txt")):
        truth = read_truth(path)
        # An id of one video is another one in the next: how tracks are joined is measured by itself.
        truth[:, 1] += offset
        offset += 1000
        mine = [
            (frame, numbers[piece.key], *box)
            for piece in pieces
            if piece.video == path.stem
            for frame, box in zip(piece.frames, piece.boxes, strict=True)
        ]
        boxes = np.array(mine, np.float64).reshape(-1, 6)
        last = int(max(truth[:, 0].max(), boxes[:, 0].max()))
        steps += [(truth[truth[:, 0] == at], boxes[boxes[:, 0] == at]) for at in range(1, last + 1)]
    data = _data(steps, street)
    hota = float(np.mean(HOTA().eval_sequence(data)["HOTA"]))
    idf1 = float(Identity({"PRINT_CONFIG": False}).eval_sequence(data)["IDF1"])
    switches = int(CLEAR({"PRINT_CONFIG": False}).eval_sequence(data)["IDSW"])
    return Quality(len(pieces), hota, idf1, switches, purity(pieces, street))


def _data(steps: list[tuple[NDArray[np.float64], NDArray[np.float64]]], street: Path) -> dict[str, Any]:
    """Return frames as TrackEval takes them: ids from 0 without gaps, and overlaps."""
    known = [np.unique(np.concatenate([step[side][:, 1] for step in steps])) for side in (0, 1)]
    return {
        "seq": street.name,
        "num_timesteps": len(steps),
        "num_gt_ids": len(known[0]),
        "num_tracker_ids": len(known[1]),
        "num_gt_dets": sum(len(truth) for truth, _ in steps),
        "num_tracker_dets": sum(len(boxes) for _, boxes in steps),
        "gt_ids": [np.searchsorted(known[0], truth[:, 1]) for truth, _ in steps],
        "tracker_ids": [np.searchsorted(known[1], boxes[:, 1]) for _, boxes in steps],
        "similarity_scores": [overlaps(truth[:, 2:], boxes[:, 2:]) for truth, boxes in steps],
    }


def purity(pieces: list[Piece], street: Path) -> float:
    """Return the part of the boxes of people that belong to the id of most boxes of their track."""
    pure = total = 0
    for piece in pieces:
        mine = owners(piece, read_truth(street / "gt" / f"{piece.video}.txt"))
        mine = mine[mine >= 0]
        pure += int(np.bincount(mine).max()) if len(mine) else 0
        total += len(mine)
    return pure / max(1, total)


def joining(people: NDArray[np.int64], names: list[str], pieces: list[Piece], street: Path) -> tuple[float, ...]:
    """Return precision and recall over pairs of tracks, and over those of two cameras; who is nobody is left out."""
    ids, videos = {}, {}
    for piece in pieces:
        mine = owners(piece, read_truth(street / "gt" / f"{piece.video}.txt"))
        mine = mine[mine >= 0]
        ids[piece.key] = int(np.bincount(mine).argmax()) if len(mine) else -1
        videos[piece.key] = piece.video
    who = np.array([ids[name] for name in names])
    where = np.array([videos[name] for name in names])
    one, other = np.triu_indices(len(who), 1)
    known = (who[one] >= 0) & (who[other] >= 0)
    found: tuple[float, ...] = ()
    for pairs in (known, known & (where[one] != where[other])):
        same, put = (who[one] == who[other])[pairs], (people[one] == people[other])[pairs]
        found += (float(same[put].mean()) if put.any() else 1.0, float(put[same].mean()) if same.any() else 1.0)
    return found


def main() -> None:
    """Print both tables for some seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    model = rk.load_model(given.model)
    print("seed  tracker     tracks  HOTA   IDF1   switches  purity")
    rows = []
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as temporary:
            street = Path(temporary) / "street"
            draw_videos(street, 2, seed=seed, seconds=given.seconds)
            videos, boxes = sorted(street.glob("*.mp4")), sorted((street / "det").glob("*.txt"))
            for tracker in ("edgefirst", "iou"):
                out = Path(temporary) / tracker
                options = TrackOptions(pieces=PieceOptions(tracker=TrackerOptions(tracker=tracker)))
                with rk.open_gallery(out.with_suffix(".db"), model) as gallery:
                    track(
                        [str(each) for each in videos], out, boxes=boxes, model=model, gallery=gallery, options=options
                    )
                    pieces = read_pieces(out)
                    found = evaluate(pieces, street)
                    print(
                        f"{seed:<5} {tracker:<10} {found.tracks:7}  {100 * found.hota:5.1f}  {100 * found.idf1:5.1f}  "
                        f"{found.switches:8}  {100 * found.purity:5.1f}"
                    )
                    if tracker == "edgefirst":
                        rows += measure_joining(gallery, pieces, street, seed)
    print("\nseed  threshold   value  people  precision  recall  across cameras: precision  recall")
    for seed, basis, threshold, count, *shares in rows:
        all_pairs, across = (
            f"{100 * precision:9.1f}  {100 * recall:6.1f}" for precision, recall in (shares[:2], shares[2:])
        )
        print(f"{seed:<5} {basis:<10} {threshold:6.3f}  {count:6}  {all_pairs}  {across:>33}")


def measure_joining(gallery: Any, pieces: list[Piece], street: Path, seed: int) -> list[tuple[Any, ...]]:
    """Join by the calibrated threshold, where there is one, and by that of the videos."""
    rows = []
    calibration = gallery.calibration
    for known in (calibration, None) if calibration else (None,):
        gallery.calibration = known
        found = join_people(gallery)
        names = [each.name for each in found.tracks]
        rows.append((seed, found.basis, found.threshold, found.count, *joining(found.people, names, pieces, street)))
    gallery.calibration = calibration
    return rows


if __name__ == "__main__":
    main()
