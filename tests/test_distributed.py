from __future__ import annotations

import copy
import functools
import operator
import threading
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from reidkit.distributed import ALONE, Group
from reidkit.model.norm import SyncedNorm, synchronise
from tests.together import together

if TYPE_CHECKING:
    from pathlib import Path


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


def test_by_hand_in_four_processes(tmp_path: Path) -> None:
    """The processes say 1, 2, 3 and 4, and have the weights 0 to 7 for the gathered rows."""
    for rank, found in enumerate(together(f"{__name__}:messages", 4, tmp_path)):
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
    taken = [list(range(count))[Group(rank, size).share(count)] for rank in range(size)]
    assert functools.reduce(operator.iadd, taken, []) == list(range(count))
    assert max(map(len, taken)) - min(map(len, taken)) <= 1
