"""Small data sets on disk."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes the same tiny JPEG to every relative path it is given, and returns the folder."""
    buffer = BytesIO()
    Image.new("RGB", (4, 8), (90, 120, 150)).save(buffer, "JPEG")

    def write(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(buffer.getvalue())
        return tmp_path

    return write
