"""Packages that only some of reidkit needs, and how to get them: by their own names, which every index knows."""

from __future__ import annotations

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
