"""`reidkit train --processes N` and torchrun as users call them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from reidkit.encoder import load_model
from reidkit.train.log import read
from tests.commands import training
from tests.noise import TRAIN

if TYPE_CHECKING:
    from collections.abc import Iterator

REIDKIT = [sys.executable, "-m", "reidkit"]


def start(*words: str, begin: list[str] = REIDKIT) -> subprocess.Popen[str]:
    return subprocess.Popen([*begin, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(*words: str, begin: list[str] = REIDKIT) -> tuple[int, str, str]:
    process = start(*words, begin=begin)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def children(pid: int) -> Iterator[int]:
    """The processes that `pid` has started, in the order of their numbers."""
    for status in sorted(Path("/proc").glob("[0-9]*/stat"), key=lambda path: int(path.parent.name)):
        try:
            parent = int(status.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # it has ended meanwhile
            continue
        if parent == pid:
            yield int(status.parent.name)


def until_logged(folder: Path, epoch: int) -> None:
    for _ in range(1200):
        if any(row["epoch"] >= epoch for row in read(folder / "log.jsonl")):
            return
        time.sleep(0.05)
    raise AssertionError("the run does not get on")


@pytest.fixture(scope="module")
def alone(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    status, _, err = run(*training(noise, folder), "--precision", "fp32", "--evaluate-every", "1")
    assert status == 0, err
    return folder


@pytest.mark.parametrize("way", ["--processes", "torchrun"])
def test_two_share_a_run(way: str, noise: Path, alone: Path, tmp_path: Path) -> None:
    """The scores before the first step, and its losses, are those of one process; what is written is written once."""
    words = [*training(noise, tmp_path / "run"), "--precision", "fp32", "--evaluate-every", "1"]
    if way == "torchrun":
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        status, out, err = run(*words, begin=[*torchrun, "-m", "reidkit"])
    else:
        status, out, err = run(*words, "--processes", "2")
    assert status == 0, err
    assert out.count("rank-1") == 1
    assert err.count("epoch 3/3  loss") == 1
    assert "2 processes of " in err
    ours, theirs = (read(folder / "log.jsonl") for folder in (tmp_path / "run", alone))
    assert [(row["kind"], row["epoch"], row["step"]) for row in ours] == [
        (row["kind"], row["epoch"], row["step"]) for row in theirs
    ]
    assert ours[0]["kind"] == "scores"
    assert ours[0]["map"] == pytest.approx(theirs[0]["map"], abs=1e-6)
    for term in ("loss", "identity", "triplet", "center"):
        assert ours[1][term] == pytest.approx(theirs[1][term], abs=1e-5)
    load_model(tmp_path / "run")


def test_they_share_out_a_sampled_classifier(noise: Path, tmp_path: Path) -> None:
    """Six of eight people enter a step; what is saved has the rows of all, and one process goes on with it."""
    logs = []
    for count in ("1", "2"):
        words = [*training(noise, tmp_path / count, identity__sampled=6), "--precision", "fp32", "--save-every", "1"]
        status, _, err = run(*words, "--processes", count)
        assert status == 0, err
        logs.append([row["identity"] for row in read(tmp_path / count / "log.jsonl") if row["kind"] == "step"])
    assert logs[1][0] == pytest.approx(logs[0][0], abs=1e-5)
    assert logs[1] == pytest.approx(logs[0], abs=0.05)
    state = torch.load(tmp_path / "2" / "state.pt", weights_only=True)["objective"]
    assert len(state["identity.rows.weight"]) == 8
    assert int(state["identity.rows.visits"].sum()) == 6 * len(logs[1])
    status, _, err = run(*words, "--resume")
    assert status == 0, err


def test_two_evaluate(noise: Path, alone: Path) -> None:
    words = ["evaluate", str(alone), "--data", str(noise), "--precision", "fp32", "--flip", "--json"]
    one, two = (run(*words, "--processes", count) for count in ("1", "2"))
    assert (one[0], two[0]) == (0, 0), two[2]
    scores, shared = (json.loads(out) for _, out, _ in (one, two))
    assert scores.pop("seconds").keys() == shared.pop("seconds").keys()
    for key in ("trained_on", "warnings"):
        assert shared.pop(key) == scores.pop(key)
    assert shared == pytest.approx(scores, abs=1e-6)


def test_one_is_killed_and_another_number_goes_on(noise: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = [*training(noise, folder), "--set", "optim.epochs=300", "--save-every", "1"]
    process = start(*words, "--processes", "2")
    until_logged(folder, 3)
    os.kill(list(children(process.pid))[1], signal.SIGKILL)
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 60
    assert process.returncode == 1
    last = err.splitlines()[-1]
    assert last.startswith("reidkit: process 1 of 2 was killed by SIGKILL, and the others were ended; go on with: ")
    assert last.endswith("--resume")
    assert "Traceback" not in err
    assert err.count("reidkit: ") == 1
    assert not list(children(process.pid))

    reached = max(row["epoch"] for row in read(folder / "log.jsonl"))
    for count in ("4", "1"):
        process = start(*words, "--resume", "--processes", count)
        until_logged(folder, reached + 2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert "reidkit: stopped and saved at step" in err
        reached = max(row["epoch"] for row in read(folder / "log.jsonl"))
    steps = [row["step"] for row in read(folder / "log.jsonl") if row["kind"] == "step"]
    assert steps == list(range(1, len(steps) + 1))


def test_one_cannot_read_an_image(noise: Path, tmp_path: Path) -> None:
    """All save and end, in the words of the one that has met it; mended, the run goes on from the step before."""
    own, folder = Path(shutil.copytree(noise, tmp_path / "own")), tmp_path / "run"
    words = [*training(own, folder), "--set", "optim.epochs=300", "--save-every", "300", "--processes", "2"]
    process = start(*words)
    until_logged(folder, 2)
    image = sorted((own / TRAIN).iterdir())[5]
    whole = image.read_bytes()
    image.write_bytes(b"")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert err.count("reidkit: ") == 1, err
    last = err.splitlines()[-1]
    assert image.name in last
    found = re.search(r"; saved at step (\d+) of epoch \d+, go on with: .*--processes 2 --resume$", last)
    assert found, last
    image.write_bytes(whole)
    process = start(*words, "--resume")
    until_logged(folder, max(row["epoch"] for row in read(folder / "log.jsonl")) + 2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    steps = [row["step"] for row in read(folder / "log.jsonl") if row["kind"] == "step"]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) > int(found[1])


def test_who_started_them_is_killed(noise: Path, tmp_path: Path) -> None:
    """The processes do not go on for nobody: they save and end."""
    folder = tmp_path / "run"
    process = start(*training(noise, folder), "--set", "optim.epochs=300", "--processes", "2")
    until_logged(folder, 2)
    started = list(children(process.pid))
    process.kill()
    process.wait()
    for _ in range(600):
        if not any(Path(f"/proc/{pid}/cmdline").is_file() for pid in started):
            break
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}/cmdline").is_file() for pid in started)
    assert (folder / "state.pt").is_file()
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["--data", "nowhere"], 1, "nowhere"),
        (["--set", "batch.ids=3", "--set", "batch.images=3"], 2, "cannot share a batch of 9 images evenly"),
        (["--set", "batch.ids=6", "--set", "batch.micro_batches=3"], 2, "set batch.micro_batches to 2"),
    ],
)
def test_one_line_for_all(words: list[str], status: int, sentence: str, noise: Path, tmp_path: Path) -> None:
    found, _, err = run(*training(noise, tmp_path / "run"), *words, "--processes", "2")
    assert found == status
    assert sentence in err.splitlines()[-1]
    assert err.count("reidkit: ") == 1, err
