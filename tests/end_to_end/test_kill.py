"""Processes that are killed without warning."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.kill import compare

from reidkit.train.log import TIMINGS, read
from tests.commands import training, until
from tests.end_to_end.faults import NAME

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Command, Nursery


@dataclass(frozen=True)
class Killable:
    """A command as `benchmarks.kill` takes it."""

    command: Command

    def kill(self) -> None:
        self.command.send(signal.SIGKILL)

    def poll(self) -> int | None:
        return 0 if self.command.ended() else None

    def wait(self) -> int:
        return self.command.wait().status


def test_ten_kills_at_random_moments(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    def start(out: Path, resume: bool) -> Killable:
        words = [*training(noise, out, optim__epochs=4), "--evaluate-every", "2", "--save-every", "1"]
        return Killable(nursery.start(*words, *(["--resume"] if resume else [])))

    verdict = compare(start, tmp_path, kills=10, seed=0, say=str)
    assert len(verdict.kills) == 10
    assert verdict.same_weights
    assert verdict.same_log
    assert verdict.steps >= 12


def test_a_kill_in_the_midst_of_a_checkpoint_leaves_the_one_before(
    nursery: Nursery, noise: Path, tmp_path: Path
) -> None:
    words = [*training(noise, tmp_path / "run"), "--save-every", "1"]
    command = nursery.start(*words, before=f"{NAME}:stuck_save")
    state = tmp_path / "run" / "state.pt"
    until(lambda: any((tmp_path / "run").glob("state.pt.*.stuck")))
    (partial,) = (tmp_path / "run").glob("state.pt.*.partial")
    good = state.read_bytes()
    command.send(signal.SIGKILL)
    assert command.wait().status == -signal.SIGKILL
    assert partial.stat().st_size < len(good)
    assert state.read_bytes() == good
    assert nursery.run(*words, "--resume").status == 0
    assert nursery.run(*training(noise, tmp_path / "peace"), "--save-every", "1").status == 0
    ours, theirs = tmp_path / "run", tmp_path / "peace"
    assert (ours / "model.safetensors").read_bytes() == (theirs / "model.safetensors").read_bytes()
    logs = [
        [{k: v for k, v in row.items() if k not in TIMINGS} for row in read(f / "log.jsonl")] for f in (ours, theirs)
    ]
    assert logs[0] == logs[1]
    assert not partial.exists()


def test_a_kill_in_the_midst_of_the_weights_leaves_none(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    words, model = training(noise, tmp_path / "run"), tmp_path / "run" / "model.safetensors"
    command = nursery.start(*words, before=f"{NAME}:stuck_weights")
    until(lambda: any((tmp_path / "run").glob("model.safetensors.*.partial")))
    command.send(signal.SIGKILL)
    assert command.wait().status == -signal.SIGKILL
    assert not model.exists()
    assert (
        "`reidkit train --resume` goes on with it"
        in nursery.run("evaluate", tmp_path / "run", "--data", noise, "--no-cache").line()
    )
    assert nursery.run(*words, "--resume").status == 0
    assert nursery.run(*training(noise, tmp_path / "peace")).status == 0
    assert model.read_bytes() == (tmp_path / "peace" / "model.safetensors").read_bytes()
    assert not list((tmp_path / "run").glob("*.partial"))


def test_a_kill_while_the_cache_is_built(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    words = [word for word in training(noise, tmp_path / "run") if word != "--no-cache"] + ["--cache", tmp_path / "c"]
    command = nursery.start(*words, before=f"{NAME}:stuck_decoding")
    until(lambda: any((tmp_path / "c").glob("*.partial")))
    command.send(signal.SIGKILL)
    assert command.wait().status == -signal.SIGKILL
    assert not list((tmp_path / "c").glob("*.images"))
    assert nursery.run(*words).status == 0
    assert len(list((tmp_path / "c").glob("*.images"))) == 3
    assert not list((tmp_path / "c").glob("*.partial"))


def test_a_cache_deleted_during_training_or_spoilt_after_it(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    cached = [word for word in training(noise, tmp_path / "run") if word != "--no-cache"] + ["--cache", tmp_path / "c"]
    command = nursery.start(*cached, before=f"{NAME}:held_steps", folder=tmp_path)
    until((tmp_path / "run" / "log.jsonl").exists)
    for path in (tmp_path / "c").iterdir():
        path.unlink()
    (tmp_path / "go").touch()
    result = command.wait()
    assert result.status == 0, result.err
    for number, path in enumerate(sorted((tmp_path / "c").glob("*.images"))):
        whole = path.read_bytes()
        path.write_bytes((b"", whole[: len(whole) // 2], whole[:-1], whole[:-16] + bytes(16))[number])
    again = [*cached[: cached.index("--out")], "--out", tmp_path / "again", *cached[cached.index("--out") + 2 :]]
    assert nursery.run(*again).status == 0
    assert nursery.run(*training(noise, tmp_path / "none")).status == 0
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "again", "none")]
    assert weights[0] == weights[1] == weights[2]
