"""A classifier shared out over processes, against one that a single process has: gloo, on this machine."""

from __future__ import annotations

import math
import multiprocessing
import traceback
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.distributed as dist

from reidkit.distributed import Group
from reidkit.losses.objective import Objective
from reidkit.losses.sampled import SampledIdentityLoss
from reidkit.losses.sharded import cross_entropy
from reidkit.recipe import Center, Identity, Network, Optim, Recipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PEOPLE, CHANNELS, BATCH, STEPS = 23, 5, 12, 8
ADAM = Optim(weight_decay=5e-4)


def together(work: Callable[..., Any], size: int, folder: Path, *words: Any) -> list[Any]:
    """What `work(group, *words)` gives in each of `size` processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # torch is imported once, and not by each
    answers = context.Queue()
    running = [
        context.Process(target=_member, args=(rank, size, f"file://{folder}/meeting-{size}", answers, work, words))
        for rank in range(size)
    ]
    for process in running:
        process.start()
    found = dict(answers.get(timeout=120) for _ in running)
    for process in running:
        process.join(30)
    failed = [str(answer) for answer in found.values() if isinstance(answer, str)]
    assert not failed, failed[0]
    return [found[rank] for rank in range(size)]


def _member(rank: int, size: int, meeting: str, answers: Any, work: Callable[..., Any], words: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
        answer = plain(work(Group(rank, size), *words))
    except Exception:
        answer = traceback.format_exc()
    answers.put((rank, answer))
    dist.destroy_process_group()


def plain(value: Any) -> Any:
    """Tensors as NumPy arrays, which travel by value."""
    if isinstance(value, torch.Tensor):
        return value.detach().numpy()
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def train(loss: SampledIdentityLoss, steps: range, own: slice = slice(None)) -> tuple[list[float], list[torch.Tensor]]:
    """Losses, and the gradients of the features of the own images."""
    values, gradients = [], []
    for number in steps:
        generator = torch.Generator().manual_seed(number)
        feat = torch.randn(BATCH, CHANNELS, generator=generator)
        label = torch.randint(0, PEOPLE, (BATCH,), generator=generator)
        part = feat[own].clone().requires_grad_()
        feat[own] = part
        value = loss(feat, label)
        value.backward()
        loss.step(1e-2)
        values.append(value.item())
        assert part.grad is not None
        gradients.append(part.grad)
    return values, gradients


def made(recipe: Identity, bias: bool, **group: Any) -> SampledIdentityLoss:
    torch.manual_seed(0)
    return SampledIdentityLoss(CHANNELS, PEOPLE, recipe, ADAM, bias=bias, **group)


def shared(group: Group, recipe: Identity, bias: bool, steps: range, state: dict[str, Any] | None) -> list[Any]:
    loss = made(recipe, bias, group=group)
    if state is not None:
        loss.load_state_dict({name: torch.as_tensor(value) for name, value in state.items()})
    values, gradients = train(loss, steps, group.share(BATCH))
    held = len(loss.rows.weight)
    if group.rank == 0:
        with pytest.raises(RuntimeError, match="let every process call `collect`"):
            loss.state_dict()
    loss.rows.collect()
    return [values, gradients, {name: value.clone() for name, value in loss.state_dict().items()}, held]


def by_hand(group: Group) -> list[float]:
    """Three classes with logits log 2 | 0, 0: p = (1/2, 1/4, 1/4), eps 0.3 of three gives q = (0.8, 0.1, 0.1)."""
    logits = (torch.tensor([[math.log(2)]]), torch.zeros(1, 2))[group.rank].requires_grad_()
    place = torch.tensor([0 - group.rank])
    value = cross_entropy(logits, place, 3, 0.3, group)
    (2 * value).backward()
    assert logits.grad is not None
    return [value.item(), *logits.grad.flatten().tolist()]


def test_worked_example(tmp_path: Path) -> None:
    first, second = together(by_hand, 2, tmp_path)
    expected = 0.8 * math.log(2) + 0.2 * math.log(4)
    assert first == pytest.approx([expected, 2 * (0.5 - 0.8)], abs=1e-6)
    assert second == pytest.approx([expected, 2 * (0.25 - 0.1), 2 * (0.25 - 0.1)], abs=1e-6)


@pytest.mark.parametrize(
    ("recipe", "bias"),
    [
        (Identity(sampled=64, smoothing=0.1, std=0.3), False),  # everybody
        (Identity(sampled=14, smoothing=0.1, std=0.3, spread="others"), True),
    ],
    ids=["all", "drawn"],
)
def test_two_processes_are_one(tmp_path: Path, recipe: Identity, bias: bool) -> None:
    """Losses, gradients, weights and moments over eight steps; then three processes and one go on with the state."""
    alone = made(recipe, bias)
    values, gradients = train(alone, range(STEPS))
    state = {name: value.clone() for name, value in alone.state_dict().items()}
    answers = together(shared, 2, tmp_path, recipe, bias, range(STEPS), None)
    for theirs, *_ in answers:
        assert theirs == pytest.approx(values, abs=1e-6)
    for number, whole in enumerate(gradients):
        parts = torch.cat([torch.as_tensor(answer[1][number]) for answer in answers])
        torch.testing.assert_close(parts, whole, atol=1e-6, rtol=0)
    assert [answer[3] for answer in answers] == [11, 12]
    kept = answers[0][2]
    for name, value in state.items():
        torch.testing.assert_close(torch.as_tensor(kept[name]), value, atol=2e-6, rtol=0)

    more = train(alone, range(STEPS, 2 * STEPS))[0]
    for theirs, *_ in together(shared, 3, tmp_path, recipe, bias, range(STEPS, 2 * STEPS), kept):
        assert theirs == pytest.approx(more, abs=1e-5)
    single = made(recipe, bias)
    single.load_state_dict({name: torch.as_tensor(value) for name, value in kept.items()})
    assert train(single, range(STEPS, 2 * STEPS))[0] == pytest.approx(more, abs=1e-5)


def lonely(group: Group) -> list[float]:
    """Two people enter, and both belong to the last process."""
    loss = made(Identity(sampled=2), bias=False, group=group)
    label = torch.tensor([PEOPLE - 1, PEOPLE - 2] * 4)
    value = loss(torch.ones(8, CHANNELS, requires_grad=True), label)
    value.backward()
    before = loss.rows.weight.clone()
    loss.step(1e-2)
    return [value.item(), float((loss.rows.weight != before).any(1).sum())]


def test_a_process_that_has_none_of_those_who_enter(tmp_path: Path) -> None:
    first, last = together(lonely, 2, tmp_path)
    assert first == pytest.approx([math.log(2), 0], abs=0.01)
    assert last == pytest.approx([math.log(2), 2], abs=0.01)


def objective_of(group: Group) -> dict[str, torch.Tensor]:
    recipe = Recipe(network=Network(neck="bnneck"), center=Center(weight=5e-4), identity=Identity(sampled=16))
    torch.manual_seed(0)
    objective = Objective(recipe, CHANNELS, PEOPLE, group)
    generator = torch.Generator().manual_seed(1)
    feat = torch.randn(BATCH, CHANNELS, generator=generator, requires_grad=True)
    torch.stack(list(objective(feat, feat, torch.arange(BATCH) // 2).values())).sum().backward()
    objective.step(1e-2)
    objective.collect()
    return {name: value.clone() for name, value in objective.state_dict().items()}


def test_the_objective_of_two_processes_is_that_of_one(tmp_path: Path) -> None:
    whole, part = together(objective_of, 2, tmp_path)
    alone = objective_of(Group(0, 1))
    assert whole.keys() == alone.keys()
    for name, value in alone.items():
        torch.testing.assert_close(torch.as_tensor(whole[name]), value, atol=1e-6, rtol=0)
    assert part["identity.rows.weight"].shape == (12, CHANNELS)
