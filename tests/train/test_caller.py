"""What a run leaves behind in the process that has called it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from reidkit.encoder import load_model, require_torch
from reidkit.errors import RunError
from reidkit.model.weights import fingerprint
from reidkit.recipe import override
from reidkit.train import Run, TrainOptions, device, train
from reidkit.train.cluster_contrast import adapt
from reidkit.train.device import prepared
from reidkit.train.feature_reduction import reduce
from tests.train.tiny import RECIPE

if TYPE_CHECKING:
    from pathlib import Path

SHORT = override(RECIPE, {"optim.epochs": 1, "optim.drops": [], "optim.warmup_epochs": 0})
OPTIONS = TrainOptions(device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, noise: Path) -> Run:
    return train(SHORT, noise, out=tmp_path_factory.mktemp("runs") / "run", options=OPTIONS)


def test_random_numbers_go_on_as_if_nothing_had_been_trained_or_loaded(run: Run, noise: Path, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    train(SHORT, noise, out=tmp_path / "run", options=OPTIONS)
    assert torch.equal(torch.get_rng_state(), before)
    model = require_torch(load_model(run.folder))
    assert torch.equal(torch.get_rng_state(), before)
    reduce(model, noise, dim=2, out=tmp_path / "reduced")
    assert torch.equal(torch.get_rng_state(), before)
    settings = {"adapt.eps": 0.9, "optim.epochs": 1, "adapt.steps": 1, "batch.ids": 2, "batch.images": 2}
    with pytest.raises(RunError, match="make up 1 cluster"):  # of noise
        adapt(model, noise, out=tmp_path / "adapted", settings=settings, options=OPTIONS)
    assert torch.equal(torch.get_rng_state(), before)


def test_memory_is_not_kept_after_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "is_memory_short", lambda: False)
    with prepared(torch.device("cpu")), prepared(torch.device("cpu")):
        assert device._kept is (device._libc() is not None)
    assert not device._kept


def test_a_network_is_that_of_its_seed_whatever_other_threads_load(run: Run, noise: Path, tmp_path: Path) -> None:
    """First weights were drawn from one random state, in turns."""

    def make() -> nn.Module:
        layers = [nn.Conv2d(3, 4, 3)]
        other = threading.Thread(target=load_model, args=[run.folder])
        others.append(other)
        other.start()
        other.join(1)  # it waits for this network, and would draw otherwise
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))

    def alone() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))

    others: list[threading.Thread] = []
    made = [
        train(SHORT, noise, out=tmp_path / each.__name__, network=each, seed=3, options=OPTIONS)
        for each in (make, alone)
    ]
    for other in others:
        other.join(60)
    assert fingerprint(made[0].model.network.state_dict()) == fingerprint(made[1].model.network.state_dict())
