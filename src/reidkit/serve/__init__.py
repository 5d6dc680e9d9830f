"""A gallery over HTTP: an API, a page for the operator, an audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reidkit.serve.app import create_app
    from reidkit.serve.server import serve
    from reidkit.serve.settings import ServiceSettings

__all__ = ["ServiceSettings", "create_app", "serve"]

_MODULES = {"create_app": "app", "serve": "server", "ServiceSettings": "settings"}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: FastAPI is an extra."""
    from importlib import import_module

    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
