"""People in videos: boxes of a detector or a file, tracked as short pieces, with their best crops and features."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reidkit.video.joining import Tracks, join, propose_threshold
    from reidkit.video.people import confirm_people, forget_people, join_people, unconfirm_people, write_people
    from reidkit.video.piece import Piece, read_pieces
    from reidkit.video.synthetic import draw_videos

__all__ = [
    "Piece",
    "Tracks",
    "confirm_people",
    "draw_videos",
    "forget_people",
    "join",
    "join_people",
    "propose_threshold",
    "read_pieces",
    "unconfirm_people",
    "write_people",
]

_MODULES = {
    "reidkit.video.joining": ("Tracks", "join", "propose_threshold"),
    "reidkit.video.people": (
        "confirm_people",
        "forget_people",
        "join_people",
        "unconfirm_people",
        "write_people",
    ),
    "reidkit.video.piece": ("Piece", "read_pieces"),
    "reidkit.video.synthetic": ("draw_videos",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
