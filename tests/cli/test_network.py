"""A network of the user's own, named on the command line by `--network`."""

from __future__ import annotations

import pytest

from tests.commands import training

SOURCE = """
from torch import nn

class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 8)

    def forward(self, images):
        return self.layer(images.mean(dim=(2, 3)))

def broken():
    return 7
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(SOURCE)
    return tmp_path


def test_it_is_trained_evaluated_and_calibrated(nursery, folder, noise):
    words = training(noise, folder / "run", optim__epochs=1, optim__drops=[])
    assert nursery.run(*words, "--network", "mine:Mean", folder=folder).status == 0
    run = folder / "run"
    named = ("--data", noise, "--no-cache", "--network", "mine:Mean", "--json")
    found = nursery.run("evaluate", run, *named, folder=folder).json()
    assert 0 < found["map"] <= 1
    missing = nursery.run("evaluate", run, "--data", noise, "--no-cache", folder=folder)
    assert (missing.status, "--network" in missing.line()) == (2, True)
    both = nursery.run("compare-runs", run, run, *named, folder=folder).json()
    assert both["map"]["difference"] == 0
    assert nursery.run("calibrate", run, *named, "--far", "0.1", folder=folder).json()["file"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mine", "give MODULE:FUNCTION"),
        ("nowhere:Mean", "the module nowhere cannot be imported"),
        ("mine:Other", "mine has no function Other"),
        ("mine:broken", "the network is of int"),
    ],
)
def test_a_name_of_no_network_ends_in_a_line(nursery, folder, noise, name, sentence):
    words = training(noise, folder / "run", optim__epochs=1, optim__drops=[])
    result = nursery.run(*words, "--network", name, folder=folder)
    assert result.status == 2
    assert sentence in result.line()
    assert "(--network)" in result.line()
