from __future__ import annotations

import copy
import functools
import operator
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from reidkit import distributed
from reidkit.cli.output import join
from reidkit.distributed import ALONE, Group, joined
from reidkit.errors import PeerError, UsageError
from reidkit.train.parallel import SyncedNorm, synchronise
from reidkit.workers import shared
from tests.together import together

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Nursery


def messages(group: Group) -> dict[str, Any]:
    """Everything that a group can do, with numbers that tell who said them."""
    own = torch.full((2, 1), float(group.rank + 1), requires_grad=True)
    gathered = group.gather(own)
    (gathered * torch.arange(2.0 * group.size)[:, None]).sum().backward()
    floats, whole = torch.full((2, 2), float(group.rank)), torch.tensor([group.rank])
    group.add_in_place([floats, whole], 1)
    pair = group.neighbours(2)
    return {
        "gathered": gathered.detach().flatten().tolist(),
        "gathered gradient": own.grad.flatten().tolist(),  # type: ignore[union-attr]
        "rows": group.gather_rows(torch.full((group.rank, 1), group.rank)).flatten().tolist(),
        "in place": [floats.flatten().tolist(), whole.tolist()],
        "any": [group.any(group.rank == 2), group.any(False)],
        "pair": [pair.rank, pair.size, pair.gather(torch.tensor([group.rank])).tolist()],
    }


def test_by_hand_in_four_processes(nursery: Nursery, tmp_path: Path) -> None:
    """The processes say 1, 2, 3 and 4, and have the weights 0 to 7 for the gathered rows."""
    for rank, found in enumerate(together(nursery, f"{__name__}:messages", 4, tmp_path)):
        assert found == {
            "gathered": [1, 1, 2, 2, 3, 3, 4, 4],
            "gathered gradient": [2 * rank, 2 * rank + 1],
            "rows": [1, 2, 2, 3, 3, 3],
            "in place": [[6, 6, 6, 6], [6]],
            "any": [True, False],
            "pair": [rank % 2, 2, [0, 1] if rank < 2 else [2, 3]],
        }


def test_alone_nothing_happens() -> None:
    value = torch.ones(2)
    assert ALONE.gather(value) is value
    assert ALONE.gather_rows(value) is value
    ALONE.add_in_place([value], 7)
    assert value.tolist() == [1, 1]
    assert (ALONE.any(True), ALONE.any(False)) == (True, False)


def test_a_network_can_be_copied_with_its_group() -> None:
    """As `embed` does it. What torch knows a group by cannot be copied."""
    group = Group(0, 2, threading.Lock())
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    names = list(network.state_dict())
    synchronise(network, group)
    copied = copy.deepcopy(network)
    assert list(copied.state_dict()) == names
    assert isinstance(copied[1], SyncedNorm)
    assert copied[1].group is group


@pytest.mark.parametrize(("count", "size"), [(10, 3), (64, 4), (2, 5), (0, 2)])
def test_shares_follow_each_other_and_are_even(count: int, size: int) -> None:
    taken = [list(range(count))[Group(rank, size).slice_of(count)] for rank in range(size)]
    assert functools.reduce(operator.iadd, taken, []) == list(range(count))
    assert max(map(len, taken)) - min(map(len, taken)) <= 1


WHOLE = {
    "WORLD_SIZE": "2",
    "RANK": "0",
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("WORLD_SIZE", "abc"),
        ("WORLD_SIZE", "-1"),
        ("WORLD_SIZE", "0"),
        ("WORLD_SIZE", "2.0"),
        ("WORLD_SIZE", "9" * 5000),
        ("WORLD_SIZE", "\u0662"),
        ("RANK", "abc"),
        ("RANK", "2"),
        ("RANK", "-1"),
        ("RANK", ""),
        ("LOCAL_RANK", "x"),
        ("LOCAL_RANK", "7"),
        ("LOCAL_WORLD_SIZE", "0"),
        ("MASTER_PORT", "http"),
        ("MASTER_PORT", "0"),
        ("MASTER_PORT", "65536"),
        ("MASTER_PORT", ""),
        ("MASTER_ADDR", ""),
    ],
)
def test_an_environment_that_is_not_torchruns_is_named(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    for key, value in (WHOLE | {name: text}).items():
        monkeypatch.setenv(key, value)
    with pytest.raises(UsageError, match=rf"{name}.*(unset it, or start with torchrun)") as caught, joined():
        pass
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("text", ["", "1", " 1 "])
def test_one_process_is_alone(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", text)
    with joined() as group:
        assert group is ALONE


def test_processes_and_torchrun_must_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(UsageError, match="--processes 4, but WORLD_SIZE is '1'"):
        shared(4)
    assert not shared(1)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert not shared(4)
    monkeypatch.setenv("WORLD_SIZE", "")
    assert shared(4)


def test_waiting_for_processes_that_do_not_come_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the others are waited for, and only then: those that come in time are not spoken of."""
    for key, value in WHOLE.items():
        monkeypatch.setenv(key, value)
    said, lines = threading.Event(), []

    def tell(words: str, *values: object) -> None:
        lines.append(words % values)
        said.set()

    monkeypatch.setattr(distributed.LOGGER, "warning", tell)

    def nobody_comes(*_: object, **__: object) -> None:
        assert said.wait(60)
        raise RuntimeError("the clients have not come")

    monkeypatch.setattr("torch.distributed.init_process_group", nobody_comes)
    with pytest.raises(PeerError, match="cannot be reached"), joined():
        pass
    assert len(lines) == 1
    assert lines[0].startswith("waiting up to 30 minutes for all 2 processes to come to '127.0.0.1:29500'")
    assert "unset it" in lines[0]

    def refused(*_: object, **__: object) -> None:
        raise RuntimeError("at once")

    monkeypatch.setattr(distributed, "SILENCE", 30.0)
    monkeypatch.setattr("torch.distributed.init_process_group", refused)
    with pytest.raises(PeerError), joined():
        pass
    assert len(lines) == 1


def test_the_command_says_so_on_stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """And a child of `--processes` is silent."""

    @contextmanager
    def slow() -> Any:
        distributed.LOGGER.warning("waiting for %d", 2)
        yield ALONE

    monkeypatch.setattr(distributed, "joined", slow)
    with join() as group:
        assert group is ALONE
    assert capsys.readouterr().err == "warning: waiting for 2\n"
    monkeypatch.setenv("REIDKIT_PROCESS", "1")
    with join():
        pass
    assert capsys.readouterr().err == ""
