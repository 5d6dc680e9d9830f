"""What a run leaves behind in the process that has called it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from reidkit.encoder import load_model, require_torch
from reidkit.errors import RunError, UsageError, WeightsError
from reidkit.export.onnx_file import require_onnx, to_onnx
from reidkit.export.presets import Front
from reidkit.model.fuse import TRACING
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


def own() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))


def test_a_network_is_that_of_its_seed_whatever_other_threads_load(run: Run, noise: Path, tmp_path: Path) -> None:
    """First weights were drawn from one random state, in turns."""

    def make() -> nn.Module:
        nn.Linear(2, 2)
        other.start()
        other.join(1)  # it waits for this network, and would draw otherwise
        return own()

    def alone() -> nn.Module:
        nn.Linear(2, 2)
        return own()

    other = threading.Thread(target=load_model, args=[run.folder])
    made = [
        train(SHORT, noise, out=tmp_path / each.__name__, network=each, seed=3, options=OPTIONS)
        for each in (make, alone)
    ]
    other.join(60)
    assert fingerprint(made[0].model.network.state_dict()) == fingerprint(made[1].model.network.state_dict())


def test_an_export_is_refused_while_another_thread_trains() -> None:
    """Torch turns oneDNN off for the whole process meanwhile, and `optimizer.zero_grad` ended in a KeyError."""
    began, ended = threading.Event(), threading.Event()

    def training() -> None:
        with prepared(torch.device("cpu")):
            began.set()
            assert ended.wait(60)

    run = threading.Thread(target=training)
    run.start()
    assert began.wait(60)
    for work in (require_onnx, lambda: to_onnx(nn.Identity(), (4, 2), Front())):
        with pytest.raises(UsageError, match=r"a training runs in another thread, .* export when it has ended"):
            work()
    ended.set()
    run.join()
    with prepared(torch.device("cpu")):  # as by a callback of the run
        require_onnx()


def test_torch_traces_for_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An export and the making ready of a model at once left a tracer's call for that of all modules, for good."""
    held: list[bool] = []
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: held.append(TRACING.locked()))
    with pytest.raises(WeightsError):
        to_onnx(nn.Identity(), (4, 2), Front())
    assert held == [True]
    assert not TRACING.locked()
