"""Galleries: images of people by key, with camera, time and attributes, searched for the person of another image."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from reidkit.errors import DataError, UsageError

if TYPE_CHECKING:
    from reidkit.encoder import Encoder
    from reidkit.gallery.filters import Filter
    from reidkit.gallery.protocol import Added, Gallery, Info, Page
    from reidkit.gallery.query import Hit, Hits, Query, SearchOptions
    from reidkit.gallery.row import Row

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
    "reidkit.gallery.protocol": ("Added", "Gallery", "Info", "Page"),
    "reidkit.gallery.query": ("Hit", "Hits", "Query", "SearchOptions"),
    "reidkit.gallery.row": ("Row",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def open_gallery(uri: str | os.PathLike[str], model: Encoder | None = None) -> Gallery:
    """Open the gallery at `uri`, whose features are those of `model`; where there is none, make one.

    Args:
        uri: A file, as `people.db`; `memory` is an empty gallery that ends with the program.
        model: What embeds images. Without one, the gallery must be there, and only features can be added and searched
            for.

    Raises:
        DataError: no gallery, a damaged one, or one of another model.
        UsageError: an address of another kind.
    """
    place = os.fspath(uri)
    if place == "memory":
        from reidkit.gallery.memory import MemoryGallery

        if model is None:
            raise UsageError("a gallery in memory is empty, and needs a model to be filled: pass one", argument="model")
        return MemoryGallery(model)
    if "://" in place:
        raise UsageError(f"there are no galleries at {place} yet: name a file, as people.db, or memory", argument="uri")
    from reidkit.gallery.local import LocalGallery

    if model is not None and not os.path.lexists(place):
        try:
            return LocalGallery.create(place, model)
        except DataError:
            if not os.path.lexists(place):  # and not made by another process meanwhile
                raise
    return LocalGallery(place, model)


def __getattr__(name: str) -> Any:
    """Import a public name (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
