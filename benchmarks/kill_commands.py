"""Kill every command that writes at random moments, run it again, and compare what it left with an undisturbed call's.

    python benchmarks/kill_commands.py --kills 60 --seed 0

A small synthetic set and a model of one epoch are made first. Each command then runs once in peace, which says how long
it takes and what it writes; then it is killed by SIGKILL (no handler runs) at a moment drawn from the seed, run again
as a user would, and its files are compared, byte for byte where they hold no time of day and no rate. What was there
before is never lost, and no partial file stays. Exit status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SMALL = ["images.height=64", "images.width=32", "batch.ids=2", "batch.images=2", "network.width=0.125"]
SETTINGS = [word for each in (*SMALL, "optim.epochs=2") for word in ("--set", each)]
NOT_COMPARED = re.compile(r"\.(?:html|lock)$|run\.json$")
"""Pages and `run.json` are looked for, and not compared: they hold durations. Locks are empty."""
TRIES = 6
"""How often a kill that came too late is tried again, each time a fifth earlier."""
TIMES = re.compile(rb'"(?:images_per_s|memory_mb|seconds|wait_share)": [^,}\n]+')


@dataclass(frozen=True)
class Case:
    """A command by its words; `{out}` is a folder of its own, and `again` what is added where it goes on.

    `once`: what it makes in `{out}` and does not write over; where that is there, it is whole: nothing is called again.
    """

    name: str
    words: str
    again: str = ""
    once: str = ""


CASES = (
    Case("train", "train small-strong-baseline --data people --no-cache --save-every 1 --out {out}/run", "--resume"),
    Case("train, cache", "train small-strong-baseline --data people --cache {out}/cache --out {out}/run", "--resume"),
    Case("evaluate --report", "evaluate run --data people --no-cache --report {out}/r.html"),
    Case("evaluate --per-query", "evaluate run --data people --no-cache --per-query {out}/q.csv"),
    Case("score --per-query", "score q.npz g.npz --per-query {out}/q.csv"),
    Case("calibrate", "calibrate run --data people --no-cache --far 0.1 --out {out}/calibration.json"),
    Case("synth", "synth {out}/set --ids 40 --cameras 3 --height 64 --width 32 --workers 1"),
    Case("shard", "shard people {out}/shards --images-per-shard 10"),
    Case("shard parquet", "shard people {out}/shards --format parquet --images-per-shard 10"),
    Case(
        "paper table1",
        "paper table1 --data market1501=people --small --weights none --rows strong-baseline --no-cache --out {out}/p",
    ),
    Case("paper figure3", "paper figure3 --out {out}"),
    Case("show ranks", "show ranks run --data people --no-cache --out {out}/ranks.png"),
    Case("data --sheet", "data people --sheet {out}/sheet.png"),
    Case("split --as copy", "split ids {out}/split --as copy", once="split"),
    Case("split", "split ids {out}/split", once="split"),
    Case("compare-runs", "compare-runs run run --data people --report {out}/both.html"),
)


def start(case: Case, place: Path, out: Path, *, again: bool = False) -> subprocess.Popen[bytes]:
    words = case.words.format(out=out).split()
    words += SETTINGS if words[0] in ("train", "paper") and "figure" not in words[1] and "--set" not in words else []
    words += case.again.split() if again else []
    return subprocess.Popen(
        [sys.executable, "-m", "reidkit", *words],
        cwd=place,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def listing(folder: Path) -> dict[str, str]:
    """What lies in a folder: names, and digests of what does not depend on the clock or on the folder's name."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")):
        name = str(path.relative_to(folder))
        content = TIMES.sub(b"", path.read_bytes()).replace(os.fsencode(folder), b"OUT")
        same = NOT_COMPARED.search(name) or name.endswith(".images") or path.name == "state.pt"
        found[name] = "" if same else hashlib.sha256(content).hexdigest()
    # The name of a cache, and an index, tell places and times.
    return {re.sub(r"^cache/[0-9a-f]{32}", "cache/x", name): "" if "index" in name else d for name, d in found.items()}


def finish(process: subprocess.Popen[bytes], what: str) -> None:
    _, err = process.communicate()
    if process.returncode:
        raise SystemExit(f"{what} ended with status {process.returncode}: {err.decode(errors='replace')[-500:]}")


def kill(case: Case, place: Path, out: Path, after: float) -> bool:
    """Kill a command and all it has started; whether it was still running."""
    process = start(case, place, out)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return process.returncode < 0


def prepare(place: Path) -> None:
    for words in (
        "synth people --ids 8 --cameras 3 --images-per-camera 2 --height 64 --width 32 --workers 1",
        f"train small-strong-baseline --data people --no-cache --out run {' '.join(SETTINGS)}",
    ):
        finish(start(Case("", words), place, place), words)
    for image in (place / "people" / "bounding_box_train").iterdir():
        folder = place / "ids" / image.name[:4]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, folder)
    vectors = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    for name, camera in (("q", 0), ("g", 1)):
        np.savez(place / f"{name}.npz", vectors=vectors, pids=np.arange(40) % 10, camids=np.full(40, camera))


def undisturbed(case: Case, place: Path) -> tuple[dict[str, str], float]:
    """What a command leaves that nobody kills, and its seconds."""
    out = place / "peace"
    out.mkdir()
    begun = time.perf_counter()
    finish(start(case, place, out), case.name)
    seconds = time.perf_counter() - begun
    found = listing(out)
    shutil.rmtree(out)
    return found, seconds


def killed_at(case: Case, place: Path, out: Path, after: float) -> float:
    """Start a command in an empty `out` and kill it; the moment, or 0 where it always ended before.

    One that comes too late is tried again, earlier, so that as many commands are killed as are asked for.
    """
    for _ in range(TRIES):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        if kill(case, place, out, after):
            return after
        after *= 0.8
    return 0.0


def run_again(case: Case, place: Path, out: Path, *, killed: bool) -> dict[str, str]:
    """Call a killed command again, as a user would, and list what is there."""
    if not case.once or not (out / case.once).exists():
        finish(start(case, place, out, again=killed or bool(case.again)), case.name)
    return listing(out)


def kill_each(cases: list[Case], kills: int, rng: random.Random, place: Path) -> dict[str, dict[str, float]]:
    """Kill the commands in turn, `kills` times in all; one row for each of them."""
    prepare(place)
    rows: dict[str, dict[str, float]] = {}
    expected: dict[str, tuple[dict[str, str], float]] = {}
    for number in range(kills):
        case = cases[number % len(cases)]
        if case.name not in expected:
            expected[case.name] = undisturbed(case, place)
            rows[case.name] = {
                "seconds": round(expected[case.name][1], 1), "kills": 0, "ended before": 0, "equal": 0
            }  # fmt: skip
        wanted, seconds = expected[case.name]
        out = place / "killed"
        # What is written is written late: most moments lie in the second half.
        after = killed_at(case, place, out, seconds * rng.triangular(0.1, 1.05, 0.95))
        found = run_again(case, place, out, killed=after > 0)
        row = rows[case.name]
        row["kills" if after else "ended before"] += 1
        row["equal"] += found == wanted
        different = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
        how = f"killed at {after:.2f} s" if after else "ended before every kill"
        said = f"DIFFERENT: {different[:5]}" if different else "equal"
        print(f"{number + 1}: {case.name}, {how}, again: {said}", file=sys.stderr, flush=True)
        shutil.rmtree(out, ignore_errors=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", default="", help="commands whose names match this regular expression")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cases = [case for case in CASES if re.search(options.only, case.name)]
    with tempfile.TemporaryDirectory(prefix="reidkit-kill-") as spare:
        rows = kill_each(cases, options.kills, random.Random(options.seed), Path(spare))
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        print(f"{'command':28}{'seconds':>9}{'kills':>7}{'ended before':>14}{'equal':>7}")
        for name, row in rows.items():
            print(f"{name:28}{row['seconds']:>9}{row['kills']:>7}{row['ended before']:>14}{row['equal']:>7}")
    wrong = sum(row["kills"] + row["ended before"] - row["equal"] for row in rows.values())
    print(f"{options.kills} calls, {wrong:.0f} different", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
