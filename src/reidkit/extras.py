"""Packages that only some of reidkit needs, and how to get them: by their own names, which every index knows."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from reidkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        with _unreported(module):
            return importlib.import_module(module)
    except ImportError:
        raise UsageError(f"{why}: {install(by or module)}") from None


@contextmanager
def _unreported(module: str) -> Iterator[None]:
    """Keep a runtime that is imported here from reporting its use to its makers, as ONNX Runtime and OpenVINO do.

    What somebody has set is left as it is, and a runtime that the program itself has imported already, too.
    """
    if module == "onnxruntime":
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read once, at the import
    if module != "openvino" or module in sys.modules:
        yield
        return
    # It does without the package that reports where that is not installed.
    reporter = "openvino_telemetry"
    before = sys.modules.get(reporter)
    sys.modules[reporter] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[reporter]
        if before is not None:
            sys.modules[reporter] = before
