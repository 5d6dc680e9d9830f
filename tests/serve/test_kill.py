"""A service that is killed while clients write: what it acknowledged is there, once, and in the log."""

from __future__ import annotations

import pytest
import torch
from benchmarks.kill_service import Seen, kill_once

from reidkit.model.network import build_network
from reidkit.model.weights import save_model
from reidkit.recipes import get_recipe
from tests.commands import SIZE

pytest.importorskip("uvicorn", reason="needs the extra serve")


def test_nothing_that_was_acknowledged_is_lost(tmp_path):
    """Twice here; `python -m benchmarks.kill_service MODEL --kills 20` does it more often."""
    torch.manual_seed(0)
    recipe = get_recipe("small-strong-baseline", SIZE)
    save_model(tmp_path / "model.safetensors", build_network(recipe.network), recipe)
    seen = Seen()
    for seconds in (0.5, 1.0):
        before = len(seen.rows)
        assert kill_once(tmp_path / "people.db", tmp_path / "model.safetensors", seen, seconds) == []
        assert len(seen.rows) > before, "clients wrote"
    assert seen.searches
