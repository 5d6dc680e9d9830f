"""Groups of parameters, frozen steps and the cosine, by hand and in runs that are broken off."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from reidkit.errors import UsageError
from reidkit.losses.objective import build_objective
from reidkit.model.network import build_network
from reidkit.recipe import Optim, override
from reidkit.train.checkpoint import Progress
from reidkit.train.loop import training_step
from reidkit.train.optimizer import Freezing, Schedule, build_optimizer, build_schedule, set_learning_rate
from reidkit.train.remarks import schedule_warnings
from tests.train.tiny import RECIPE, CrashError, Run, same_weights

if TYPE_CHECKING:
    from pathlib import Path


class Pooled(nn.Module):
    """A parameter that weight decay would pull to zero, beside a convolution that a file has filled."""

    undecayed = ("p",)

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.p = nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Parameter(torch.tensor(3.0))
        self.filled = frozenset({"conv.weight", "norm.weight"})


def test_groups_by_hand() -> None:
    """Filled with decay at the rate, new with decay at twice the rate, p without decay at twice the rate; last: new."""
    network, objective = Pooled(), nn.Linear(2, 3)
    optimizer = build_optimizer(network, objective, Optim(lr=0.1, weight_decay=0.5, new=2.0))
    set_learning_rate(optimizer, Schedule(lr=0.1), Progress())
    found = {
        tuple(sorted(p.numel() for p in group["params"])): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
    }
    assert found == {(2, 6): (0.1, 0.5), (1,): (0.2, 0.0), (2, 2, 3, 6): (0.2, 0.5)}
    assert optimizer.param_groups[-1]["params"][-1] is objective.bias


def test_the_exponent_of_a_generalised_mean_is_not_decayed() -> None:
    network = build_network(override(RECIPE, ["network.pool=gem"]).network)
    first, last = build_optimizer(network, nn.Linear(2, 2), Optim()).param_groups
    assert [tuple(p.shape) for p in first["params"]] == [(1,)]
    assert (first["weight_decay"], last["weight_decay"]) == (0.0, 5e-4)


def test_where_nothing_sets_groups_apart_there_is_one() -> None:
    """So that a run begun before there were groups goes on."""
    network = nn.Linear(2, 3)
    network.filled = frozenset({"weight"})  # type: ignore[assignment]
    optimizer = build_optimizer(network, nn.Linear(3, 4), Optim())
    assert isinstance(optimizer, torch.optim.Adam)
    assert [len(group["params"]) for group in optimizer.param_groups] == [4]


@pytest.mark.parametrize(
    ("name", "after"),
    [("sgd", 1 - 0.1 * (1 + 0.5)), ("adamw", 1 * (1 - 0.1 * 0.5) - 0.1), ("adam", 1 - 0.1), ("amsgrad", 1 - 0.1)],
)
def test_one_step_by_hand(name: Any, after: float) -> None:
    """Weight 1, gradient 1, rate 0.1, decay 0.5. SGD adds the decay to the gradient; Adam's first step is the rate."""
    one = nn.Linear(1, 1, bias=False)
    nn.init.ones_(one.weight)
    optimizer = build_optimizer(one, nn.Module(), Optim(name=name, lr=0.1, weight_decay=0.5))
    one.weight.grad = torch.ones(1, 1)
    optimizer.step()
    assert one.weight.item() == pytest.approx(after, abs=1e-6)


def test_two_steps_of_nesterov_by_hand() -> None:
    """At a gradient of 1: v = 1, w = 1 - 0.1 (1 + 0.9); then v = 1.9, w = 0.81 - 0.1 (1 + 0.9 x 1.9)."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    optim = Optim(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0)
    optimizer = build_optimizer(network, nn.Identity(), optim)
    for after in (0.81, 0.539):
        optimizer.zero_grad()
        network.weight.sum().backward()
        optimizer.step()
        assert network.weight.item() == pytest.approx(after)
    for wrong in ({"name": "adam"}, {"name": "sgd", "momentum": 0.0}):
        with pytest.raises(UsageError, match=r"optim\.nesterov must be false without"):
            Optim(nesterov=True, **wrong)


def test_the_cosine_by_hand() -> None:
    """fast-reid's strong baseline: 3.5e-4 up to epoch 30, half-way at 45, 7e-7 at 60; a step warm-up of 2,000."""
    schedule = build_schedule(Optim(epochs=60, schedule="cosine", flat=30, floor=7e-7, warmup_steps=2000))
    late = [schedule.rate(epoch, 10**6) for epoch in (1, 30, 45, 60)]
    assert late == pytest.approx([3.5e-4, 3.5e-4, 1.7535e-4, 7e-7])
    assert [schedule.rate(1, step) for step in (0, 1000, 2000)] == pytest.approx([3.5e-5, 1.925e-4, 3.5e-4])


def test_the_cosine_from_the_first_epoch_is_its_equation() -> None:
    schedule = Schedule(lr=1.0, schedule="cosine", epochs=8)
    assert [schedule.rate(t) for t in range(1, 9)] == pytest.approx(
        [(1 + math.cos(math.pi * t / 8)) / 2 for t in range(1, 9)]
    )


def test_a_cosine_that_never_falls_is_said() -> None:
    """Drops, which it has no use for, are not."""
    [(key, words)] = schedule_warnings(Optim(epochs=20, schedule="cosine", flat=30), 100)
    assert key == "optim.flat"
    assert "optim.flat=10" in words


@pytest.mark.parametrize("setting", ["optim.floor=1", "optim.momentum=1", "optim.new=0", "optim.freeze=-1"])
def test_what_cannot_be(setting: str) -> None:
    with pytest.raises(UsageError, match=setting.partition("=")[0]):
        override(RECIPE, [setting])


def frozen_run(steps: int) -> tuple[nn.Module, list[dict[str, torch.Tensor]]]:
    """States of a network whose backbone a file has filled, after each of three steps."""
    torch.manual_seed(0)
    network = build_network(RECIPE.network).train()
    network.filled = frozenset(f"backbone.{name}" for name, _ in network.backbone.named_parameters())
    objective = build_objective(RECIPE, network.spans, 4)
    optimizer = build_optimizer(network, objective, RECIPE.optim)
    freezing, states = Freezing(network, objective, steps), []
    images, labels = torch.rand(8, 3, 32, 32), torch.arange(4).repeat_interleave(2)
    for step in range(3):
        freezing.set_for(step)
        training_step(network, objective, optimizer, images, labels)
        states.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
    return network, states


def test_what_is_frozen_gets_no_step_and_keeps_its_norms() -> None:
    """For two steps all of the backbone, statistics too; the neck learns from the first; at the third all of it."""
    network, (first, second, third) = frozen_run(2)
    backbone = [name for name in first if name.startswith("backbone.")]
    assert all(torch.equal(first[name], second[name]) for name in backbone)
    assert not torch.equal(first["neck.weight"], second["neck.weight"])
    moved = [name for name in backbone if not torch.equal(second[name], third[name])]
    assert "backbone.conv1.weight" in moved
    assert "backbone.bn1.running_mean" in moved
    assert all(parameter.requires_grad for name, parameter in network.named_parameters() if name != "head.neck.bias")


def test_freezing_everything_is_refused() -> None:
    network = nn.Linear(2, 2)
    network.filled = frozenset({"weight", "bias"})  # type: ignore[assignment]
    with pytest.raises(UsageError, match=r"set optim\.freeze to 0"):
        Freezing(network, nn.Module(), 5)


@pytest.mark.parametrize("name", ["sgd", "amsgrad", "adamw"])
def test_a_run_goes_on_as_it_would_have(name: str, tmp_path: Path) -> None:
    changes = [f"optim.name={name}", "optim.epochs=2", "optim.schedule=cosine", "optim.warmup_epochs=0"]
    runs = []
    for stop in (99, 2):
        folder = tmp_path / str(stop)
        folder.mkdir()
        run = Run(folder, override(RECIPE, changes))

        def fault(_: Run, step: int, stop: int = stop) -> None:
            if step == stop:
                raise CrashError

        if stop == 2:
            with pytest.raises(CrashError):
                run.go(fault)
        run.go()
        runs.append(run)
    whole, broken = runs
    assert same_weights(whole.network, broken.network)
    assert whole.rows() == broken.rows()
