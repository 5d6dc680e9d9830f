"""`--network module:function`: a user's own network on the command line, from training to a threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.commands import training

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Nursery

SOURCE = """
from torch import nn


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=4)

    def forward(self, images):
        return self.conv(images).mean(dim=(2, 3))


def make():
    return Small()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(SOURCE)
    return tmp_path


def test_from_training_to_a_threshold(nursery: Nursery, noise: Path, folder: Path) -> None:
    run, mine = folder / "run", ["--network", "mine:make"]
    trained = nursery.run(*training(noise, run), *mine, "--precision", "fp32", "--json", folder=folder).json()
    words = [run, "--data", noise, "--no-cache", "--precision", "fp32", "--json"]
    evaluated = nursery.run("evaluate", *words, *mine, folder=folder).json()
    assert evaluated["map"] == pytest.approx(trained["map"], abs=1e-6)
    assert evaluated["queries"] == trained["queries"]
    calibrated = nursery.run("calibrate", *words, *mine, "--allow-training-ids", folder=folder).json()
    assert calibrated["model"] == trained["model"]
    line = nursery.run("evaluate", *words, folder=folder).line()
    assert "holds a network of your own, mine.Small" in line
    assert "--network" in line
    again = nursery.run(*training(noise, run), "--precision", "fp32", "--resume", folder=folder).line()
    assert "network: none, not mine.Small" in again


@pytest.mark.parametrize(("name", "sentence"), [("mine", "MODULE:FUNCTION"), ("mine:other", "no function other")])
def test_a_name_that_makes_no_network(nursery: Nursery, noise: Path, folder: Path, name: str, sentence: str) -> None:
    result = nursery.run(*training(noise, folder / "run"), "--network", name, folder=folder)
    assert result.status == 2
    assert sentence in result.line()
    assert not (folder / "run").exists()
