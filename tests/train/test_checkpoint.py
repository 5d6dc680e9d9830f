from __future__ import annotations

import errno
import io
import pickle
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import torch

from reidkit.errors import RunError
from reidkit.train import checkpoint
from reidkit.train.checkpoint import Progress
from tests.together import together

if TYPE_CHECKING:
    from reidkit.distributed import Group
    from tests.commands import Nursery


class Part:
    """A part whose state is one tensor."""

    def __init__(self, value: float) -> None:
        self.tensor = torch.full((100,), value)

    def state_dict(self) -> dict[str, Any]:
        return {"tensor": self.tensor, "plain": {"a": 0.1 + 0.2}}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        assert state["plain"] == {"a": 0.1 + 0.2}
        self.tensor = state["tensor"]


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    path, place = tmp_path / "state.pt", Progress(epoch=3, batch=2, step=17)
    checkpoint.save(path, place, "digest", part=Part(7.0), other=Part(8.0))
    part, other = Part(0.0), Part(0.0)
    assert checkpoint.load(path, "digest", part=part, other=other) == place
    assert (float(part.tensor[0]), float(other.tensor[0])) == (7, 8)
    assert list(tmp_path.iterdir()) == [path]


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    checkpoint.save(path, Progress(), "one", part=Part(7.0))
    with pytest.raises(RunError, match=r"belongs to another recipe: start a new run with another folder as out"):
        checkpoint.load(path, "two", part=Part(0.0))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "state.pt"
    checkpoint.save(path, Progress(), "x", part=Part(7.0))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(RunError, match=r"state\.pt cannot be read .*: delete it to start over"):
        checkpoint.load(path, "x", part=Part(0.0))


@pytest.mark.parametrize("content", [{}, {"place": (1, 0, 0)}, [1], {"place": 3, "recipe": "x", "part": {}}])
def test_another_file_of_torch_is_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "state.pt"
    torch.save(content, path)
    with pytest.raises(RunError, match="cannot be read"):
        checkpoint.load(path, "x", part=Part(0.0))


def test_a_file_is_never_executed(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (tmp_path.joinpath("executed").touch, ())

    path = tmp_path / "state.pt"
    for content in (pickle.dumps(Bomb()), _saved(Bomb())):
        path.write_bytes(content)
        with pytest.raises(RunError):
            checkpoint.load(path, "x", part=Part(0.0))
    assert not (tmp_path / "executed").exists()


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who deletes it on our advice loses the run."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(RunError, match=r"\(Permission denied\): run again with resume=True when it can"):
        checkpoint.load(tmp_path / "state.pt", "x", part=Part(0.0))


def test_want_of_memory_is_not_called_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(MemoryError):
        checkpoint.load(tmp_path / "state.pt", "x", part=Part(0.0))


def test_a_write_that_fails_half_way_leaves_the_earlier_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.pt"
    checkpoint.save(path, Progress(), "x", part=Part(7.0))
    before = path.read_bytes()

    def run_out(state: object, file: io.BufferedWriter) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", run_out)
    with pytest.raises(RunError, match=r"\(No space left on device\): make room and run again with resume=True"):
        checkpoint.save(path, Progress(9, 9, 9), "x", part=Part(8.0))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_that_is_no_refusal_of_the_system_is_not_dressed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        checkpoint.save(tmp_path / "state.pt", Progress(), "x", part=Part(8.0))


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"state\.pt cannot be written \(No such file or directory\)"):
        checkpoint.save(tmp_path / "gone" / "state.pt", Progress(), "x", part=Part(8.0))


def save_in_a_group(group: Group) -> bool:
    """Whether the state is there when `save` returns; the first process takes its time. A second one is refused."""
    write = checkpoint.save

    def slowly(path: Path, *words: Any, **parts: Any) -> None:
        time.sleep(1)
        write(path, *words, **parts)

    with mock.patch.object(checkpoint, "save", slowly):
        saver = checkpoint.Checkpoint(Path(sys.argv[2]).with_name("state.pt"), "x", {"part": Part(8.0)}, group=group)
        saver.save(Progress())
        there = saver.path.is_file()
        with pytest.raises(RunError, match=r"state\.pt (cannot|could not) be written"):
            replace(saver, path=saver.path.parent / "gone" / "state.pt").save(Progress())
    return there


def test_no_process_returns_before_the_state_is_written(nursery: Nursery, tmp_path: Path) -> None:
    """Else the others end at once where a run is stopped, and the first one is killed five seconds later."""
    assert together(nursery, f"{__name__}:save_in_a_group", 2, tmp_path) == [True, True]


def _saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.tensor([float("nan")]), "part.tensor is not finite"),
        (torch.tensor([1.0]).to_sparse(), "part.tensor is sparse"),
        (torch.empty(1, device="meta"), "part.tensor is a meta tensor without values"),
        (torch.zeros(1).expand(2**20, 2**20), "part.tensor is expanded"),
        (torch.zeros(1, dtype=torch.complex64), "part.tensor is complex"),
    ],
)
def test_tensors_that_training_cannot_go_on_with_are_named(tmp_path: Path, value: Any, words: str) -> None:
    path = tmp_path / "state.pt"
    torch.save({"place": (1, 0, 0), "recipe": "x", "part": {"tensor": value}}, path)
    with pytest.raises(RunError, match=rf"is damaged \({words}.*\): delete it to start over"):
        checkpoint.load(path, "x", part=Part(0.0))


@pytest.mark.parametrize(
    "place", [(0, 0, 0), (1, -1, 0), (1, 0, 1.5), (1, 0, "x"), (1, 0, 2**70), (True, 0, 0), (1, 0, 0, 0)]
)
def test_a_place_that_is_none(tmp_path: Path, place: Any) -> None:
    path = tmp_path / "state.pt"
    torch.save({"place": place, "recipe": "x", "part": {"tensor": torch.zeros(1)}}, path)
    with pytest.raises(RunError, match="cannot be read"):
        checkpoint.load(path, "x", part=Part(0.0))


def changed_moments(state: dict[str, Any], change: str) -> None:
    moments = state["optimizer"]["state"][0]
    if change == "shape":
        moments["exp_avg"] = torch.zeros(3)
    elif change == "gone":
        del moments["exp_avg_sq"]
    elif change == "groups":
        state["optimizer"]["param_groups"] = []
    else:
        state["optimizer"]["param_groups"][0]["betas"] = "many"


@pytest.mark.parametrize("change", ["shape", "gone", "groups", "betas"])
def test_moments_that_do_not_fit_the_weights(tmp_path: Path, change: str) -> None:
    """What the recipe says of the optimiser is not taken from the file, be it damaged."""
    weight = torch.nn.Parameter(torch.ones(2))

    def adam() -> torch.optim.Adam:
        return torch.optim.Adam([weight], lr=0.5, fused=True)

    first = adam()
    weight.grad = torch.ones(2)
    first.step()
    path = tmp_path / "state.pt"
    checkpoint.save(path, Progress(), "x", optimizer=first)
    state = torch.load(path)
    changed_moments(state, change)
    torch.save(state, path)
    second = adam()
    if change == "betas":
        checkpoint.load(path, "x", optimizer=second)
        assert second.param_groups[0]["betas"] == (0.9, 0.999)
        assert torch.equal(second.state[weight]["exp_avg"], first.state[weight]["exp_avg"])
    else:
        with pytest.raises(RunError, match="cannot be read"):
            checkpoint.load(path, "x", optimizer=second)
