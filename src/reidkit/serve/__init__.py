"""A gallery over HTTP: an API, a page for the operator, an audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reidkit.lazy import import_when_asked

if TYPE_CHECKING:
    from reidkit.serve.app import create_app
    from reidkit.serve.server import serve
    from reidkit.serve.settings import ServiceSettings

__all__ = ["ServiceSettings", "create_app", "serve"]

_NAMES = {
    "reidkit.serve.app": ("create_app",),
    "reidkit.serve.server": ("serve",),
    "reidkit.serve.settings": ("ServiceSettings",),
}

__getattr__ = import_when_asked(__name__, _NAMES)
