from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image

from reidkit.comparison import calibrate, compare
from reidkit.encoder import load_model
from reidkit.errors import UsageError
from tests.encoder.files import mean_colour

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Nursery


def test_two_colours_by_hand(tmp_path: Path, nursery: Nursery) -> None:
    """(3, 4, 0) and (0, 5, 0): the cosine is 4/5."""
    model = mean_colour(tmp_path / "m.onnx")
    for name, colour in (("a", (3, 4, 0)), ("b", (0, 5, 0))):
        Image.new("RGB", (2, 4), colour).save(tmp_path / f"{name}.png")
    words = ("compare", model, tmp_path / "a.png", tmp_path / "b.png", "--input-spec", "raw")
    found = nursery.run(*words, "--json").json()
    assert found["similarity"] == pytest.approx(0.8)
    assert (found["same"], found["threshold"], found["false_accepts"]) == (None, None, None)
    found = nursery.run(*words, "--threshold", "0.7", "--picture", tmp_path / "both.png", "--json").json()
    assert found["same"] is True
    assert (tmp_path / "both.png").stat().st_size > 1000
    before = (tmp_path / "a.png").read_bytes()
    assert "is what this command reads" in nursery.run(*words, "--picture", tmp_path / "a.png").line()
    assert (tmp_path / "a.png").read_bytes() == before
    refused = nursery.run("compare", model, tmp_path / "gone.png", tmp_path / "b.png", "--input-spec", "raw")
    assert "gone.png" in refused.line()


def test_error_rates_are_those_of_the_calibration(tmp_path: Path, noise: Path) -> None:
    """At the calibrated threshold they are what was measured there; below, more is accepted."""
    model = load_model(mean_colour(tmp_path / "m.onnx", size=(16, 8)), input_spec="torchreid")
    made = calibrate(model, noise, far=0.3)
    first, second = sorted((noise / "query").iterdir())[:2]
    found = compare(model, first, second)
    assert found.false_accepts == pytest.approx(made.chosen.false_accepts / made.impostors)
    assert found.false_rejects == pytest.approx(1 - made.chosen.tpr)
    low = compare(model, first, second, threshold=-1.0)
    assert low.same is True
    assert low.false_accepts == pytest.approx(1)
    assert low.false_rejects == pytest.approx(0)
    assert "of pairs of two ids are accepted" in str(low)
    for wrong in (80, -1.1, float("nan")):
        with pytest.raises(UsageError, match=r"is no cosine: pass a similarity from -1 to 1"):
            compare(model, first, second, threshold=wrong)
