"""Packages that only some of reidkit needs, and how to get them: by their own names, which every index knows."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from reidkit.errors import UsageError
from reidkit.terminal import comma_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EXTRAS = {
    "tensorboard": ("tensorboard",),
    "fsspec": ("fsspec", "aiohttp"),
    "aiohttp": ("fsspec", "aiohttp"),
    "pyarrow": ("pyarrow",),
    "fastapi": ("fastapi", "prometheus-client", "python-multipart", "uvicorn"),
    "pymilvus": ("pymilvus",),
    "ray": ("ray",),
    "timm": ("timm",),
    "onnx": ("onnx",),
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


def require_extras(what: str, modules: Iterable[str]) -> None:
    """Refuse what needs several modules where some are not there, and name all of these at once.

    Args:
        what: What needs them.
        modules: Their names, of `EXTRAS`.

    Raises:
        UsageError: some are not installed.
    """
    lacking = [module for module in modules if not _is_there(module)]
    packages = list(dict.fromkeys(package for module in lacking for package in EXTRAS[module]))
    if packages:
        raise UsageError(f"{what} needs {comma_list(packages, 'and')}: pip install {' '.join(packages)}")


def _is_there(module: str) -> bool:
    """Return whether a module can be found, without the time that its import takes."""
    if module in sys.modules:
        return sys.modules[module] is not None
    return importlib.util.find_spec(module) is not None


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
