"""People in videos: boxes of a detector or a file, tracked as short pieces, with their best crops and features."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_MODULES = {
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
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
