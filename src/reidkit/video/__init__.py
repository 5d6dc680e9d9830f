"""People in videos: boxes of a detector or a file, tracked as short pieces, with their best crops and features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reidkit.lazy import import_when_asked

if TYPE_CHECKING:
    from reidkit.video.box_files import read_boxes
    from reidkit.video.clips import write_clips, write_marked
    from reidkit.video.crops import CropOptions
    from reidkit.video.detectors.file_detector import FileDetector
    from reidkit.video.joining import Tracks, join, propose_threshold
    from reidkit.video.people import confirm_people, forget_people, join_people, unconfirm_people, write_people
    from reidkit.video.piece import Piece, read_pieces
    from reidkit.video.piece_maker import PieceMaker, PieceOptions
    from reidkit.video.synthetic import draw_videos
    from reidkit.video.trackers import TrackerOptions
    from reidkit.video.tracking import Tracked, TrackOptions, track
    from reidkit.video.visits import Visit, Visits, find_visits

__all__ = [
    "CropOptions",
    "FileDetector",
    "Piece",
    "PieceMaker",
    "PieceOptions",
    "TrackOptions",
    "Tracked",
    "TrackerOptions",
    "Tracks",
    "Visit",
    "Visits",
    "confirm_people",
    "draw_videos",
    "find_visits",
    "forget_people",
    "join",
    "join_people",
    "propose_threshold",
    "read_boxes",
    "read_pieces",
    "track",
    "unconfirm_people",
    "write_clips",
    "write_marked",
    "write_people",
]

_NAMES = {
    "reidkit.video.clips": ("write_clips", "write_marked"),
    "reidkit.video.visits": ("Visit", "Visits", "find_visits"),
    "reidkit.video.box_files": ("read_boxes",),
    "reidkit.video.crops": ("CropOptions",),
    "reidkit.video.detectors.file_detector": ("FileDetector",),
    "reidkit.video.joining": ("Tracks", "join", "propose_threshold"),
    "reidkit.video.people": (
        "confirm_people",
        "forget_people",
        "join_people",
        "unconfirm_people",
        "write_people",
    ),
    "reidkit.video.piece": ("Piece", "read_pieces"),
    "reidkit.video.piece_maker": ("PieceMaker", "PieceOptions"),
    "reidkit.video.synthetic": ("draw_videos",),
    "reidkit.video.trackers": ("TrackerOptions",),
    "reidkit.video.tracking": ("TrackOptions", "Tracked", "track"),
}

__getattr__ = import_when_asked(__name__, _NAMES)
