"""The files of a model: their endings, and where others lie beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

EXPORTED = (".onnx", ".xml")
"""The endings of models that ONNX Runtime and OpenVINO run."""


def beside(model: Path, name: str) -> Path:
    """Return where the file `name` of a model is kept: in its run's folder, or in the folder of its file.

    An exported file computes features of its own, so that its companion bears its name: several may lie in one folder,
    that of the run among them.
    """
    if model.is_dir():
        return model / name
    if model.suffix.lower() in EXPORTED:
        return model.with_name(f"{model.name}.{name}")
    return model.parent / name
