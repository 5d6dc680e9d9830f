"""`reidkit train --processes N` and torchrun: once as users call them, and forked from the nursery."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from reidkit.encoder import load_model
from reidkit.train.log import read
from tests.commands import training, until
from tests.noise import TRAIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.commands import Command, Nursery, Result

FORKED = "tests.forked:forked_processes"


def ending(command: Command) -> Result:
    until(command.ended)
    return command.wait()


def share(nursery: Nursery, *words: object) -> Result:
    return ending(nursery.start(*words, before=FORKED))


def children(pid: int) -> Iterator[int]:
    """The processes that `pid` has started, in the order of their numbers."""
    for status in sorted(Path("/proc").glob("[0-9]*/stat"), key=lambda path: int(path.parent.name)):
        try:
            parent = int(status.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # it has ended meanwhile
            continue
        if parent == pid:
            yield int(status.parent.name)


def runs(pid: int) -> bool:
    """Whether it has not ended. What has ended stays as a zombie, without words, where nobody collects it."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def until_logged(folder: Path, epoch: int) -> None:
    until(lambda: any(row["epoch"] >= epoch for row in read(folder / "log.jsonl")))


@pytest.fixture(scope="module", autouse=True)
def _no_pictures(nursery: Nursery) -> Iterator[None]:
    with nursery.without_pictures():
        yield


@pytest.fixture(scope="module")
def alone(nursery: Nursery, noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    done = nursery.run(*training(noise, folder), "--precision", "fp32", "--evaluate-every", "1")
    assert done.status == 0, done.err
    return folder


@pytest.mark.parametrize("way", ["--processes", "torchrun"])
def test_two_share_a_run(way: str, noise: Path, alone: Path, tmp_path: Path) -> None:
    """The scores before the first step, and its losses, are those of one process; what is written is written once."""
    words = [*training(noise, tmp_path / "run"), "--precision", "fp32", "--evaluate-every", "1"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = (
        ["-m", "reidkit", *words, "--processes", "2"] if way == "--processes" else [*torchrun, "-m", "reidkit", *words]
    )
    done = subprocess.run([sys.executable, *command], check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("rank-1") == 1
    assert done.stderr.count("epoch 3/3  loss") == 1
    assert "2 processes of " in done.stderr
    ours, theirs = (read(folder / "log.jsonl") for folder in (tmp_path / "run", alone))
    assert [(row["kind"], row["epoch"], row["step"]) for row in ours] == [
        (row["kind"], row["epoch"], row["step"]) for row in theirs
    ]
    assert ours[0]["kind"] == "scores"
    assert ours[0]["map"] == pytest.approx(theirs[0]["map"], abs=1e-6)
    for term in ("loss", "identity", "triplet", "center"):
        assert ours[1][term] == pytest.approx(theirs[1][term], abs=1e-5)
    load_model(tmp_path / "run")


def test_they_share_out_a_sampled_classifier(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    """Six of eight people enter a step; what is saved has the rows of all, and one process goes on with it."""
    logs = []
    for count in ("1", "2"):
        words = [*training(noise, tmp_path / count, identity__sampled=6), "--precision", "fp32", "--save-every", "1"]
        done = share(nursery, *words, "--processes", count)
        assert done.status == 0, done.err
        logs.append([row["identity"] for row in read(tmp_path / count / "log.jsonl") if row["kind"] == "step"])
    assert logs[1][0] == pytest.approx(logs[0][0], abs=1e-5)
    assert logs[1] == pytest.approx(logs[0], abs=0.05)
    state = torch.load(tmp_path / "2" / "state.pt", weights_only=True)["objective"]
    assert len(state["identity.rows.weight"]) == 8
    assert int(state["identity.rows.visits"].sum()) == 6 * len(logs[1])
    again = nursery.run(*words, "--resume")
    assert again.status == 0, again.err


def test_two_evaluate(nursery: Nursery, noise: Path, alone: Path) -> None:
    words = ["evaluate", alone, "--data", noise, "--precision", "fp32", "--flip", "--json"]
    scores, shared = (share(nursery, *words, "--processes", count).json() for count in ("1", "2"))
    assert scores.pop("seconds").keys() == shared.pop("seconds").keys()
    for key in ("trained_on", "warnings"):
        assert shared.pop(key) == scores.pop(key)
    assert shared == pytest.approx(scores, abs=1e-6)


def test_one_is_killed_and_another_number_goes_on(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = [*training(noise, folder), "--set", "optim.epochs=300", "--save-every", "1"]
    command = nursery.start(*words, "--processes", "2", before=FORKED)
    until_logged(folder, 3)
    os.kill(list(children(command.pid))[1], signal.SIGKILL)
    killed = ending(command)
    assert killed.status == 1
    last = killed.line()
    assert last.startswith("process 1 of 2 was killed by SIGKILL, and the others were ended; go on with: ")
    assert last.endswith("--resume")
    assert not list(children(command.pid))

    reached = max(row["epoch"] for row in read(folder / "log.jsonl"))
    for count in ("4", "1"):
        command = nursery.start(*words, "--resume", "--processes", count, before=FORKED)
        until_logged(folder, reached + 2)
        command.send(signal.SIGINT)
        stopped = ending(command)
        assert stopped.status == 130, stopped.err
        assert "reidkit: stopped and saved at step" in stopped.err
        reached = max(row["epoch"] for row in read(folder / "log.jsonl"))
    steps = [row["step"] for row in read(folder / "log.jsonl") if row["kind"] == "step"]
    assert steps == list(range(1, len(steps) + 1))


def test_one_cannot_read_an_image(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    """All save and end, in the words of the one that has met it; mended, the run goes on from the step before."""
    own, folder = Path(shutil.copytree(noise, tmp_path / "own")), tmp_path / "run"
    words = [*training(own, folder), "--set", "optim.epochs=300", "--save-every", "300", "--processes", "2"]
    command = nursery.start(*words, before=FORKED)
    until_logged(folder, 2)
    image = sorted((own / TRAIN).iterdir())[5]
    whole = image.read_bytes()
    image.write_bytes(b"")
    failed = ending(command)
    assert failed.status == 1, failed.err
    last = failed.line()
    assert image.name in last
    found = re.search(r"; saved at step (\d+) of epoch \d+, go on with: .*--processes 2 --resume$", last)
    assert found, last
    image.write_bytes(whole)
    command = nursery.start(*words, "--resume", before=FORKED)
    until_logged(folder, max(row["epoch"] for row in read(folder / "log.jsonl")) + 2)
    command.send(signal.SIGINT)
    stopped = ending(command)
    assert stopped.status == 130, stopped.err
    steps = [row["step"] for row in read(folder / "log.jsonl") if row["kind"] == "step"]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) > int(found[1])


def test_who_started_them_is_killed(nursery: Nursery, noise: Path, tmp_path: Path) -> None:
    """The processes do not go on for nobody: they save and end."""
    folder = tmp_path / "run"
    command = nursery.start(*training(noise, folder), "--set", "optim.epochs=300", "--processes", "2", before=FORKED)
    until_logged(folder, 2)
    started = list(children(command.pid))
    assert len(started) == 2
    command.send(signal.SIGKILL)
    assert command.wait().status == -signal.SIGKILL
    until(lambda: not any(runs(pid) for pid in started))
    assert (folder / "state.pt").is_file()


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["--data", "nowhere"], 1, "nowhere"),
        (["--set", "batch.ids=3", "--set", "batch.images=3"], 2, "cannot share a batch of 9 images evenly"),
        (["--set", "batch.ids=6", "--set", "batch.micro_batches=3"], 2, "set batch.micro_batches to 2"),
    ],
)
def test_one_line_for_all(
    nursery: Nursery, words: list[str], status: int, sentence: str, noise: Path, tmp_path: Path
) -> None:
    done = share(nursery, *training(noise, tmp_path / "run"), *words, "--processes", "2")
    assert done.status == status
    assert sentence in done.line()
