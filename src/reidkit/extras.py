"""Packages that only some of reidkit needs, and how to get them: by their own names, which every index knows."""

from __future__ import annotations

import importlib
from typing import Any

from reidkit.errors import UsageError

EXTRAS = {
    "tensorboard": ("tensorboard",),
    "fsspec": ("fsspec", "aiohttp"),
    "aiohttp": ("fsspec", "aiohttp"),
    "pyarrow": ("pyarrow",),
    "fastapi": ("fastapi", "prometheus-client", "python-multipart", "uvicorn"),
    "pymilvus": ("pymilvus",),
    "ray": ("ray",),
    "timm": ("timm",),
    "onnxruntime": ("onnx", "onnxruntime"),
    "onnxscript": ("onnx", "onnxruntime", "onnxscript"),
    "openvino": ("openvino",),
    "av": ("av",),
    "edgefirst": ("edgefirst-tracker",),
}
"""What to install for each module; URLs of HTTP need two."""


def install(module: str) -> str:
    """Return the command that brings a module which is not there.

    >>> install("pyarrow")
    'pip install pyarrow'
    """
    return f"pip install {' '.join(EXTRAS[module])}"


def import_extra(module: str, why: str, *, by: str = "") -> Any:
    """Return a module that only some of reidkit needs.

    Args:
        module: Its name.
        why: The beginning of the sentence that says so where it is not there.
        by: The one of `EXTRAS` that brings it; "": itself.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UsageError(f"{why}: {install(by or module)}") from None
