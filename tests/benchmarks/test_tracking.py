"""Tracks of small synthetic videos against their ground truth, by TrackEval; floors far below what is measured."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("trackeval")
pytest.importorskip("edgefirst.tracker")

from benchmarks.tracking import evaluate, joining, overlaps, purity

from reidkit.video import PieceOptions, TrackerOptions, TrackOptions, draw_videos, read_pieces, track
from tests.video.conftest import SMALL


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    out = tmp_path_factory.mktemp("videos") / "street"
    draw_videos(out, 2, seed=2, **SMALL)
    return out


@pytest.fixture(scope="module")
def pieces(street, tmp_path_factory):
    """Tracks by each tracker."""
    found = {}
    for tracker in ("edgefirst", "iou"):
        out = tmp_path_factory.mktemp("tracks") / tracker
        options = TrackOptions(keep="nothing", pieces=PieceOptions(tracker=TrackerOptions(tracker=tracker)))
        videos, boxes = sorted(street.glob("*.mp4")), sorted((street / "det").glob("*.txt"))
        track([str(each) for each in videos], out, boxes=boxes, options=options)
        found[tracker] = read_pieces(out)
    return found


def test_overlaps_by_hand():
    """Two boxes of 10 x 10 that share half of each: 50 of 150 pixels."""
    one = np.array([[0.0, 0.0, 10.0, 10.0]])
    assert overlaps(one, np.array([[5.0, 0.0, 15.0, 10.0], [20.0, 20.0, 30.0, 30.0]])) == pytest.approx(
        np.array([[1 / 3, 0.0]])
    )


def test_tracks_are_pure_and_purer_than_those_of_plain_overlap(street, pieces):
    strict, plain = (evaluate(pieces[name], street) for name in ("edgefirst", "iou"))
    assert strict.purity > 0.95
    assert strict.purity >= plain.purity
    assert strict.hota > 0.5
    assert strict.idf1 > 0.5
    assert strict.switches < 30


def test_joining_is_measured_over_pairs(street, pieces):
    """Nobody joined: nothing is wrong, and nothing is found. Everybody joined: everything is found."""
    some = pieces["edgefirst"]
    names = [piece.key for piece in some]
    assert joining(np.arange(len(some)), names, some, street) == (1.0, 0.0, 1.0, 0.0)
    precision, recall, precision_across, recall_across = joining(np.zeros(len(some), np.int64), names, some, street)
    assert recall == recall_across == 1.0
    assert 0.0 < precision < 0.6
    assert 0.0 < precision_across < 0.6
    assert purity(some, street) > 0.95
