"""Kill a training run at random moments, go on with it each time, and compare it with an undisturbed one.

    python benchmarks/kill.py --data DIR --recipe NAME --kills 10

It trains twice with the same recipe and seed: once in peace, once killed by SIGKILL (no handler runs) and resumed, as
often as asked. Exit status 1 if the weights differ in a byte, or the log has a step twice, or misses one.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from reidkit.train.log import TIMINGS, read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Process(Protocol):
    """A training process."""

    def kill(self) -> None:
        """End it by SIGKILL, if it still runs."""

    def poll(self) -> int | None:
        """None while it runs."""

    def wait(self) -> int:
        """Its status, negative where a signal ended it."""


@dataclass(frozen=True)
class Kill:
    """One kill: seconds after the log was opened, and what the log said then."""

    after_seconds: float
    epoch: int
    step: int


@dataclass(frozen=True)
class Verdict:
    """`steps` are those of the unbroken run; `runs` how many times a broken run came to its end."""

    kills: tuple[Kill, ...]
    runs: int
    steps: int
    same_weights: bool
    same_log: bool


def compare(start: Callable[[Path, bool], Process], folder: Path, kills: int, seed: int, say: Any = print) -> Verdict:
    """Train in `folder`/unbroken, then in `folder`/broken-N with kills; `start(out, resume)` starts a training.

    Where a run ends before all kills are done, another one is begun and killed.
    """
    peace = folder / "unbroken"
    opened, seconds = _train(start(peace, False), peace)
    say(f"unbroken: {seconds:.1f} s, of which {seconds - opened:.1f} s from the opening of the log")
    span = seconds - opened
    rng, done, runs = random.Random(seed), list[Kill](), 0
    weights = log = True
    while len(done) < kills or runs == 0:
        broken, before = folder / f"broken-{runs}", len(done)
        _break(start, broken, (span, kills - before), rng, done)
        runs += 1
        if len(done) == before:
            span /= 2  # the machine is faster than it was: the run was over before its kill
        weights &= _bytes(broken) == _bytes(peace)
        log &= _rows(broken) == _rows(peace)
        say(f"run {runs}: ended after {len(done)} kills in all; weights {_same(weights)}, log {_same(log)}")
    return Verdict(tuple(done), runs, sum(row["kind"] == "step" for row in _rows(peace)), weights, log)


def _break(
    start: Callable[[Path, bool], Process],
    folder: Path,
    plan: tuple[float, int],
    rng: random.Random,
    done: list[Kill],
) -> None:
    """Train in `folder` to the end, killed at most as often as is left to do. What was killed is added to `done`."""
    seconds, left = plan
    for _ in range(left):
        process, before = start(folder, True), _changed(folder)
        while _changed(folder) == before and process.poll() is None:
            time.sleep(0.002)
        # A run that is killed late in an epoch does much of it again: the moments may reach far.
        delay = rng.uniform(0, seconds * min(1.0, 3 / left))
        time.sleep(delay)
        process.kill()
        if process.wait() >= 0:
            return
        rows = read(folder / "log.jsonl")
        last = rows[-1] if rows else {"epoch": 0, "step": 0}
        done.append(Kill(round(delay, 3), last["epoch"], last["step"]))
    if process_failed := start(folder, True).wait():
        raise SystemExit(f"the resumed run ended with status {process_failed}")


def _train(process: Process, folder: Path) -> tuple[float, float]:
    """Seconds until the log was opened, and until the end."""
    started = time.perf_counter()
    while not (folder / "log.jsonl").exists() and process.poll() is None:
        time.sleep(0.002)
    opened = time.perf_counter() - started
    if status := process.wait():
        raise SystemExit(f"the unbroken run ended with status {status}")
    return opened, time.perf_counter() - started


def _changed(folder: Path) -> int:
    log = folder / "log.jsonl"
    return log.stat().st_mtime_ns if log.exists() else 0


def _bytes(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in read(folder / "log.jsonl")]


def _same(equal: bool) -> str:
    return "equal" if equal else "DIFFERENT"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", required=True, help="a data set")
    parser.add_argument("--recipe", default="small-strong-baseline", help="a recipe of `reidkit recipes`")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, help="keep the runs there")
    parser.add_argument("--save-every", default="1", help="epochs between checkpoints")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options, train_options = parser.parse_known_args(words)

    def start(out: Path, resume: bool) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "reidkit", "train", options.recipe, "--data", options.data, "--out", str(out)]
        command += ["--save-every", options.save_every, *train_options, *(["--resume"] if resume else [])]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL if resume else None)

    def say(line: str) -> None:
        print(line, file=sys.stderr if options.json else sys.stdout, flush=True)

    with tempfile.TemporaryDirectory() as spare:
        verdict = compare(start, options.out or Path(spare), options.kills, options.seed, say)
    if options.json:
        print(json.dumps(asdict(verdict), indent=2))
    for number, kill in enumerate(verdict.kills, 1):
        say(f"kill {number}: {kill.after_seconds:.2f} s after the start, at step {kill.step} of epoch {kill.epoch}")
    say(f"{len(verdict.kills)} kills: weights {_same(verdict.same_weights)}, log {_same(verdict.same_log)}")
    return 0 if verdict.same_weights and verdict.same_log else 1


if __name__ == "__main__":
    sys.exit(main())
