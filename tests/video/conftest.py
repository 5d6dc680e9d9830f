"""Synthetic videos that several tests read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("av")

from reidkit.video import draw_videos

if TYPE_CHECKING:
    from pathlib import Path

SMALL = {"ids": 6, "seconds": 14.0, "rate": 8, "height": 144, "width": 256, "apart": 3.0}
"""Videos of 112 frames in which five of six people walk past both cameras."""


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small videos with their ground truth, to read and not to change."""
    out = tmp_path_factory.mktemp("videos") / "street"
    draw_videos(out, 2, seed=2, **SMALL)  # type: ignore[arg-type]
    return out
