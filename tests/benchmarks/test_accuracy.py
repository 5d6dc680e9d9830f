"""The figures of `benchmarks/accuracy.py`: by hand, and of two short runs on noise."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks import accuracy

if TYPE_CHECKING:
    from pathlib import Path


def test_figures_by_hand() -> None:
    """Means 0.8 and 0.7, deviations 0.1 each: the difference 0.1 has an error of sqrt(2 * 0.1^2 / 3) = 0.0816."""
    ours = [{"rank1": value, "map": 0.5} for value in (0.7, 0.8, 0.9)]
    plain = [{"rank1": value, "map": 0.5} for value in (0.6, 0.7, 0.8)]
    found = accuracy.figures({"reidkit": ours, "plain": plain})
    assert found["rank1"]["reidkit"] == pytest.approx([0.8, 0.1])
    assert found["rank1"]["difference"] == pytest.approx(0.1)
    assert found["rank1"]["standard_errors"] == pytest.approx(1.2247, abs=1e-4)
    assert found["map"]["difference"] == 0


def test_both_ways_are_run_once(
    noise: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ("optim.epochs=2", "optim.drops=[1]", "optim.warmup_epochs=1", "images.height=32", "images.width=32")
    batch = ("batch.ids=2", "batch.images=2", "images.pad=2", "network.width=0.125", "erasing.probability=1")
    words = [word for change in (*changes, *batch) for word in ("--set", change)]
    call = ["accuracy.py", "--data", str(noise), "--out", str(tmp_path), "--seeds", "2", "--json", *words]
    monkeypatch.setattr(sys, "argv", call)
    accuracy.main()
    first = json.loads(capsys.readouterr().out)
    assert all(len(found) == 2 and 0 <= found[0]["map"] <= 1 for found in first["runs"].values())
    monkeypatch.setattr(accuracy, "scores", None)
    accuracy.main()
    assert json.loads(capsys.readouterr().out) == first, "what is done is read again"
