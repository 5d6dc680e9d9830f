"""Real processes that are stopped and go on: what they leave equals, bit for bit, what an unbroken run leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from reidkit.train.log import TIMINGS, read
from tests.commands import training, until
from tests.end_to_end.faults import NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reidkit.train.log import Row
    from tests.commands import Nursery


@dataclass(frozen=True)
class Left:
    """What a run leaves that must be the same again."""

    weights: bytes
    log: list[Row]


def left(folder: Path) -> Left:
    rows = [{k: v for k, v in row.items() if k not in TIMINGS} for row in read(folder / "log.jsonl")]
    return Left((folder / "model.safetensors").read_bytes(), rows)


@pytest.fixture(scope="module", autouse=True)
def _no_pictures(nursery: Nursery) -> Iterator[None]:
    with nursery.without_pictures():
        yield


@pytest.fixture(scope="module")
def unbroken(nursery: Nursery, noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Left:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    result = nursery.run(*training(noise, folder), "--evaluate-every", "1")
    assert result.status == 0, result.err
    return left(folder)


def test_the_same_command_twice(nursery: Nursery, noise: Path, unbroken: Left, tmp_path: Path) -> None:
    assert nursery.run(*training(noise, tmp_path / "run"), "--evaluate-every", "1").status == 0
    assert left(tmp_path / "run") == unbroken
    kinds = [row["kind"] for row in unbroken.log]
    assert (kinds.count("step"), kinds.count("epoch"), kinds.count("scores")) == (len(kinds) - 7, 3, 4)


def test_processes_that_have_nothing_in_common(noise: Path, unbroken: Left, tmp_path: Path) -> None:
    """Those of the nursery share what an interpreter draws once: the order of sets, the seeds of hash tables."""
    for number in range(2):
        words = [*training(noise, tmp_path / str(number)), "--evaluate-every", "1"]
        surroundings = {**os.environ, "PYTHONHASHSEED": str(number), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "reidkit", *words]
        subprocess.run(command, check=True, capture_output=True, env=surroundings)
        assert left(tmp_path / str(number)) == unbroken


def test_another_seed_gives_another_run(nursery: Nursery, noise: Path, unbroken: Left, tmp_path: Path) -> None:
    assert nursery.run(*training(noise, tmp_path / "run"), "--evaluate-every", "1", "--seed", "1").status == 0
    assert left(tmp_path / "run").weights != unbroken.weights


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_stopped_in_mid_epoch(
    nursery: Nursery, noise: Path, unbroken: Left, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    folder = tmp_path / "my run"
    words = [*training(noise, folder), "--evaluate-every", "1"]
    command = nursery.start(*words, before=f"{NAME}:held_later", folder=tmp_path)
    until(lambda: any(row["kind"] == "scores" and row["epoch"] == 1 for row in read(folder / "log.jsonl")))
    command.send(number)
    (tmp_path / "go").touch()
    stopped = command.wait()
    assert stopped.status == status
    assert stopped.line().startswith("stopped and saved at step ")
    assert f"; go on with: reidkit train strong-baseline --data {noise} --out '{folder}' " in stopped.line()
    assert stopped.line().endswith(" --evaluate-every 1 --resume")
    assert not (folder / "model.safetensors").exists()
    assert len(read(folder / "log.jsonl")) < len(unbroken.log)
    assert nursery.run(*words, "--resume").status == 0
    assert left(folder) == unbroken


def test_a_sampled_classifier_draws_the_same_when_it_goes_on(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    """Six of eight people enter each step: those of the batch, and two of the others."""
    for name, fault in (("peace", ""), ("stopped", f"{NAME}:held_later")):
        words = training(noise, tmp_path / name, identity__sampled=6)
        command = nursery.start(*words, before=fault, folder=tmp_path)
        if fault:
            until(lambda: any(row["kind"] == "step" for row in read(tmp_path / "stopped" / "log.jsonl")))
            command.send(signal.SIGTERM)
            (tmp_path / "go").touch()
            assert command.wait().status == 143
            command = nursery.start(*words, "--resume")
        assert command.wait().status == 0
    assert left(tmp_path / "stopped") == left(tmp_path / "peace")
    assert nursery.run(*training(noise, tmp_path / "all")).status == 0
    assert left(tmp_path / "all").log[0]["identity"] > left(tmp_path / "peace").log[0]["identity"], "ln 8 and ln 6"


def test_a_finished_run_resumed_stays_as_it_is(nursery: Nursery, noise: Path, unbroken: Left, tmp_path: Path) -> None:
    words = [*training(noise, tmp_path / "run"), "--evaluate-every", "1"]
    for extra in ([], ["--resume"], ["--resume"]):
        assert nursery.run(*words, *extra).status == 0
        assert left(tmp_path / "run") == unbroken


def test_nobody_listening_is_no_reason_to_stop(nursery: Nursery, noise: Path, unbroken: Left, tmp_path: Path) -> None:
    words = [*training(noise, tmp_path / "run"), "--evaluate-every", "1"]
    assert nursery.run(*words, before=f"{NAME}:no_listener").status == 0
    assert left(tmp_path / "run") == unbroken


def test_data_that_moved_is_the_same_data(nursery: Nursery, noise: Path, unbroken: Left, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.symlink_to(noise)
    assert nursery.run(*training(noise, tmp_path / "run"), "--evaluate-every", "1").status == 0
    assert nursery.run(*training(moved, tmp_path / "run"), "--evaluate-every", "1", "--resume").status == 0
    assert left(tmp_path / "run") == unbroken


def test_a_changed_recipe_has_a_folder_of_its_own_and_an_older_run_goes_on_in_its_own(
    nursery: Nursery, noise: Path, tmp_path: Path
) -> None:
    """Runs that were begun when a change was in no name lie in `runs/strong-baseline-seed0` and keep that name."""
    words = training(noise, tmp_path, optim__epochs=1, optim__drops=[])
    del words[words.index("--out") : words.index("--out") + 2]
    assert nursery.run(*words, folder=tmp_path).status == 0
    (new,) = (tmp_path / "runs").iterdir()
    assert new.name.startswith("strong-baseline-")
    assert json.loads((new / "recipe.json").read_text())["name"] == new.name.removesuffix("-seed0")
    again = nursery.run(*words, folder=tmp_path)
    assert "holds a run already" in again.line()

    old = new.rename(new.with_name("strong-baseline-seed0"))
    begun = json.loads((old / "recipe.json").read_text()) | {"name": "strong-baseline"}
    (old / "recipe.json").write_text(json.dumps(begun))
    assert nursery.run(*words, "--resume", folder=tmp_path).status == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["strong-baseline-seed0"]
    assert b'\\"name\\": \\"strong-baseline\\"' in (old / "model.safetensors").read_bytes()
    assert nursery.run(*words, "--set", "optim.lr=0.01", "--resume", folder=tmp_path).status == 0
    assert len(list((tmp_path / "runs").iterdir())) == 2
