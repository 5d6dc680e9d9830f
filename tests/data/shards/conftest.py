"""Shards made by hand."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the test's own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "reidkit"


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    """A small image."""
    buffer = BytesIO()
    Image.new("RGB", (4, 8), (90, 120, 150)).save(buffer, "JPEG")
    return buffer.getvalue()
