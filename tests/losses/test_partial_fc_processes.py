"""A classifier shared out over processes, against one that a single process has."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch

from reidkit.distributed import ALONE, Group
from reidkit.losses.objective import build_objective
from reidkit.losses.partial_fc import PartialFC, cross_entropy
from reidkit.recipe import Center, Identity, Network, Recipe
from tests.together import together

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Nursery

PEOPLE, CHANNELS, BATCH, STEPS = 23, 5, 12, 8
CASES: dict[str, dict[str, Any]] = {
    "all": {"sampled": 64, "smoothing": 0.1, "std": 0.3},
    "sampled": {"sampled": 14, "smoothing": 0.1, "std": 0.3, "smoothing_over": "others", "bias": True},
}
"""The options of a loss."""


def made(case: str, group: Group) -> PartialFC:
    torch.manual_seed(0)
    return PartialFC(CHANNELS, PEOPLE, weight_decay=5e-4, group=group, **CASES[case])


def train(loss: PartialFC, steps: range) -> dict[str, Any]:
    """Losses, and the gradients of the features of the own images."""
    losses, gradients = [], []
    own = loss.group.slice_of(BATCH)
    for number in steps:
        generator = torch.Generator().manual_seed(number)
        feat = torch.randn(BATCH, CHANNELS, generator=generator)
        label = torch.randint(0, PEOPLE, (BATCH,), generator=generator)
        part = feat[own].clone().requires_grad_()
        value = loss(loss.group.gather(part), label)
        value.backward()
        loss.step(1e-2)
        losses.append(value.item())
        assert part.grad is not None
        gradients.append(part.grad)
    return {"losses": losses, "gradients": gradients}


def trained(case: str, group: Group) -> dict[str, Any]:
    """A training from the start, and the state that it leaves."""
    loss = made(case, group)
    found = train(loss, range(STEPS))
    loss.collect()
    return found | {"state": {name: value.clone() for name, value in loss.state_dict().items()}}


def gone_on(case: str, group: Group, state: dict[str, torch.Tensor]) -> dict[str, Any]:
    loss = made(case, group)
    loss.load_state_dict(state)
    return train(loss, range(STEPS, 2 * STEPS))


def by_hand(group: Group) -> list[float]:
    """Three classes with logits log 2 | 0, 0."""
    logits = (torch.tensor([[math.log(2)]]), torch.zeros(1, 2))[group.rank].requires_grad_()
    value = cross_entropy(logits, torch.tensor([0 - group.rank]), 3, 0.3, group)
    (2 * value).backward()
    assert logits.grad is not None
    return [value.item(), *logits.grad.flatten().tolist()]


def lonely(group: Group) -> list[float]:
    """Two people enter, and both belong to the last process."""
    torch.manual_seed(0)
    loss = PartialFC(CHANNELS, PEOPLE, sampled=2, group=group)
    value = loss(torch.ones(8, CHANNELS, requires_grad=True), torch.tensor([PEOPLE - 1, PEOPLE - 2] * 4))
    value.backward()
    before = loss.rows.weight.clone()
    loss.step(1e-2)
    return [value.item(), float((loss.rows.weight != before).any(1).sum())]


def uncollected(group: Group) -> str:
    try:
        made("all", group).state_dict()
    except RuntimeError as error:
        return str(error)
    return ""


def objective_of(group: Group) -> dict[str, torch.Tensor]:
    recipe = Recipe(network=Network(neck="bnneck"), center=Center(weight=5e-4), identity=Identity(sampled=16))
    torch.manual_seed(0)
    objective = build_objective(recipe, {"": slice(0, CHANNELS)}, PEOPLE, group)
    feat = torch.randn(BATCH, CHANNELS, generator=torch.Generator().manual_seed(1), requires_grad=True)
    torch.stack(list(objective(feat, feat, torch.arange(BATCH) // 2).values())).sum().backward()
    objective.step(1e-2)
    objective.collect()
    return {name: value.clone() for name, value in objective.state_dict().items()}


def everything(group: Group) -> dict[str, Any]:
    found: dict[str, Any] = {case: trained(case, group) for case in CASES}
    works = {"by hand": by_hand, "lonely": lonely, "uncollected": uncollected, "objective": objective_of}
    return found | {name: work(group) for name, work in works.items()}


def the_rest(group: Group) -> dict[str, Any]:
    return {case: gone_on(case, group, trained(case, ALONE)["state"]) for case in CASES}


@pytest.fixture(scope="module")
def pair(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes find, each."""
    return together(nursery, f"{__name__}:everything", 2, tmp_path_factory.mktemp("pair"))


def test_worked_example(pair: list[dict[str, Any]]) -> None:
    """Logits log 2 | 0, 0: p = (1/2, 1/4, 1/4). eps 0.3 of three gives q = (0.8, 0.1, 0.1). Twice the loss."""
    expected = 0.8 * math.log(2) + 0.2 * math.log(4)
    assert pair[0]["by hand"] == pytest.approx([expected, 2 * (0.5 - 0.8)], abs=1e-6)
    assert pair[1]["by hand"] == pytest.approx([expected, 2 * (0.25 - 0.1), 2 * (0.25 - 0.1)], abs=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_one(pair: list[dict[str, Any]], case: str) -> None:
    """Losses, gradients, weights and moments over eight steps; each process holds its share, the first one writes."""
    alone = trained(case, ALONE)
    for found in pair:
        assert found[case]["losses"] == pytest.approx(alone["losses"], abs=1e-6)
    for number, whole in enumerate(alone["gradients"]):
        parts = torch.cat([found[case]["gradients"][number] for found in pair])
        torch.testing.assert_close(parts, whole, atol=1e-6, rtol=0)
    assert pair[0][case]["state"].keys() == alone["state"].keys()
    for name, value in alone["state"].items():
        torch.testing.assert_close(pair[0][case]["state"][name], value, atol=2e-6, rtol=0)
    assert len(pair[1][case]["state"]["rows.weight"]) == 12


@pytest.mark.parametrize("case", CASES)
def test_one_goes_on_with_the_state_of_two(pair: list[dict[str, Any]], case: str) -> None:
    expected = gone_on(case, ALONE, trained(case, ALONE)["state"])["losses"]
    assert gone_on(case, ALONE, pair[0][case]["state"])["losses"] == pytest.approx(expected, abs=1e-5)


def test_three_go_on_with_the_state_of_one(nursery: Nursery, tmp_path: Path) -> None:
    found = together(nursery, f"{__name__}:the_rest", 3, tmp_path)
    for case in CASES:
        expected = gone_on(case, ALONE, trained(case, ALONE)["state"])["losses"]
        for each in found:
            assert each[case]["losses"] == pytest.approx(expected, abs=1e-5)


def test_a_process_that_has_none_of_those_who_enter(pair: list[dict[str, Any]]) -> None:
    assert pair[0]["lonely"] == pytest.approx([math.log(2), 0], abs=0.01)
    assert pair[1]["lonely"] == pytest.approx([math.log(2), 2], abs=0.01)


def test_a_state_that_was_not_brought_together_is_refused(pair: list[dict[str, Any]]) -> None:
    assert "let every process call `collect` before" in pair[0]["uncollected"]
    assert pair[1]["uncollected"] == "", "what the others have is never written"


def test_the_objective_of_two_processes_is_that_of_one(pair: list[dict[str, Any]]) -> None:
    alone = objective_of(ALONE)
    assert pair[0]["objective"].keys() == alone.keys()
    for name, value in alone.items():
        torch.testing.assert_close(pair[0]["objective"][name], value, atol=1e-6, rtol=0)
