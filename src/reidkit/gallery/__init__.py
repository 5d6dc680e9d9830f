"""Galleries: images of people by key, with camera, time and attributes, searched for the person of another image."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from reidkit.errors import UsageError

if TYPE_CHECKING:
    from reidkit.encoder import Encoder
    from reidkit.gallery.filters import Filter
    from reidkit.gallery.gallery import Added, Gallery, Hit, Hits, Info, Page, Query, SearchOptions
    from reidkit.gallery.rows import Row

__all__ = [
    "Added",
    "Filter",
    "Gallery",
    "Hit",
    "Hits",
    "Info",
    "Page",
    "Query",
    "Row",
    "SearchOptions",
    "open_gallery",
]

_MODULES = {
    "reidkit.gallery.filters": ("Filter",),
    "reidkit.gallery.gallery": ("Added", "Gallery", "Hit", "Hits", "Info", "Page", "Query", "SearchOptions"),
    "reidkit.gallery.rows": ("Row",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def open_gallery(uri: str | os.PathLike[str], model: Encoder | None = None) -> Gallery:
    """Open the gallery at `uri`, whose features are those of `model`.

    Args:
        uri: `memory` is an empty one, which ends with the program. There is no other kind yet.
        model: What embeds images.

    Raises:
        UsageError: any other address.
    """
    from reidkit.gallery.memory import MemoryGallery

    if os.fspath(uri) == "memory" and model is not None:
        return MemoryGallery(model)
    raise UsageError(
        f"galleries in files and clusters are not there yet, {os.fspath(uri)} neither: open 'memory', which ends with "
        "the program"
    )


def __getattr__(name: str) -> Any:
    """Import a public name (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
