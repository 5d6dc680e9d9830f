"""Kill every command that writes at random moments, run it again, and compare what it left with an undisturbed call's.

    python benchmarks/kill_commands.py --kills 3 --seed 0

A small synthetic set, models, features and a gallery are made first. Each command then runs once in peace, which says
how long it takes, how often it changes its files and what it writes. Then it is killed by SIGKILL (no handler runs): at
one of its writes; at a moment drawn from all of its time, the start included; at one drawn mostly from its end; and
again in that order. What lies under a result's name is then the old result or the new one, whole. Run again as a user
would, the command leaves what the undisturbed call left: byte for byte where a file holds no time of day and no rate,
the same rows and features in a gallery and the same arrays in an archive; and nothing else. What was there before is
never lost. Exit status 1 if anything differs.
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
import zipfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from reidkit.gallery.local import LocalGallery
from reidkit.gallery.transfer import pages
from reidkit.model.backbones.resnet import ResNet

SMALL = ["images.height=64", "images.width=32", "batch.ids=2", "batch.images=2", "network.width=0.125"]
SETTINGS = [
    word for each in (*SMALL, "optim.epochs=2", "optim.warmup_epochs=0", "optim.drops=[1]") for word in ("--set", each)
]
TRAINS = ("train", "paper", "distil")
NOT_COMPARED = re.compile(r"\.(?:html|lock|images)$|(?:run|scores|results?)\.json$|state\.pt$")
"""Looked for, and not compared: pages and tables of runs hold durations, locks are empty, caches name their images."""
GROWS = re.compile(r"log\.jsonl$|/cache/|\.parts/|/(?:set|shards|split|p|tracks|clips|marked)/|tfevents|-(?:wal|shm)$")
"""What is no result by itself: it grows, or the folder around it is complete at the end."""
TRIES = 6
"""How often a kill that came too late is tried again, each time a fifth earlier."""
TIMES = re.compile(rb'"(?:images_per_s|memory_mb|seconds|wait_share|created|added)": [^,}\n]+')
MOMENTS = ("write", "all", "end")


@dataclass(frozen=True)
class Case:
    """A command by its words; `{out}` is a folder of its own, and `again` what is added where it goes on.

    `given`: what lies in `{out}` before, as SOURCE:TARGET; a source `old` is a text that the command writes over.
    `once`: what it makes in `{out}` and does not write over; where that is there, it is whole: nothing is called again.
    `alone`: the kill meets the process that was started, and not those that it has started.
    """

    name: str
    words: str
    again: str = ""
    given: str = ""
    once: str = ""
    alone: bool = False

    def command(self, out: Path, *, again: bool = False) -> str:
        """Return the words after `reidkit`, to write into `out`."""
        words = self.words.format(out=out)
        settings = SETTINGS if words.split()[0] in TRAINS and "figure" not in words else []
        return " ".join([words, *settings, *([self.again] if again else [])])


TRAIN = "train small-strong-baseline --data people --out {out}/run"
CASES = (
    Case("train", f"{TRAIN} --no-cache --save-every 1 --save-classifier", "--resume"),
    Case("train --cache", f"{TRAIN} --cache {{out}}/cache", "--resume"),
    Case("train --processes 2", f"{TRAIN} --no-cache --save-every 1 --processes 2", "--resume"),
    Case("train --processes 2, one killed", f"{TRAIN} --no-cache --save-every 1 --processes 2", "--resume", alone=True),
    Case(
        "distil", "distil run small-strong-baseline --data people --no-cache --save-every 1 --out {out}/run", "--resume"
    ),
    Case(
        "adapt",
        "adapt run --data people --no-cache --save-every 1 --out {out}/run --set optim.epochs=2 "
        "--set adapt.steps=3 --set adapt.k1=6 --set adapt.eps=0.2 --set adapt.min_images=2 --set batch.ids=2 "
        "--set batch.images=2",
        "--resume",
    ),
    Case("reduce", "reduce run --data people --no-cache --dim 8 --out {out}/reduced"),
    Case("import", "import theirs.pth --out {out}/imported"),
    Case("evaluate --report", "evaluate run --data people --no-cache --report {out}/r.html", given="old:r.html"),
    Case("evaluate --per-query", "evaluate run --data people --no-cache --per-query {out}/q.csv", given="old:q.csv"),
    Case(
        "evaluate --processes 2",
        "evaluate run --data people --no-cache --processes 2 --per-query {out}/q.csv",
        given="old:q.csv",
    ),
    Case("score --per-query", "score q.npz g.npz --per-query {out}/q.csv", given="old:q.csv"),
    Case("calibrate", "calibrate run --data people --no-cache --far 0.1 --out {out}/c.json", given="old:c.json"),
    Case("embed", "embed run people --no-cache --out {out}/f.npz", given="old:f.npz"),
    Case("embed, Parquet", "embed run people --no-cache --out {out}/f.parquet"),
    Case("embed --processes 2", "embed run people --no-cache --out {out}/f.npz --processes 2"),
    Case("compare --picture", "compare run a.jpg b.jpg --picture {out}/both.png", given="old:both.png"),
    Case("compare-runs", "compare-runs run run --data people --report {out}/both.html"),
    Case("export", "export run --calibration people --out {out}/n.onnx", given="old:n.onnx"),
    Case("export --int8", "export run --int8 --calibration people --out {out}/n.onnx"),
    Case("export --preset deepstream", "export run --preset deepstream --out {out}/n.onnx"),
    Case("export --preset triton", "export run --preset triton --out {out}/models"),
    Case(
        "export --format openvino",
        "export run --format openvino --out {out}/n.xml",
        given="other.xml:n.xml other.bin:n.bin",
    ),
    Case(
        "paper table1",
        "paper table1 --data market1501=people --small --weights none --rows strong-baseline --no-cache --out {out}/p",
    ),
    Case("paper figure3", "paper figure3 --out {out}"),
    Case("data --sheet", "data people --sheet {out}/sheet.png", given="old:sheet.png"),
    Case("split", "split ids {out}/split", once="split"),
    Case("split --as copy", "split ids {out}/split --as copy", once="split"),
    Case("shard", "shard people {out}/shards --images-per-shard 10"),
    Case("shard, Parquet", "shard people {out}/shards --format parquet --images-per-shard 10"),
    Case("synth", "synth {out}/set --ids 40 --cameras 3 --height 64 --width 32 --workers 1"),
    Case("synth, again", "synth {out}/set --ids 20 --cameras 3 --height 64 --width 32 --workers 1", given="people:set"),
    Case("synth --shards", "synth {out}/set --ids 40 --cameras 3 --height 64 --width 32 --workers 1 --shards 50"),
    Case("show ranks", "show ranks run --data people --no-cache --out {out}/ranks.png", given="old:ranks.png"),
    Case("show attention", "show attention run --data people --no-cache --queries 2 --answers 2 --out {out}/a.png"),
    Case("show embedding", "show embedding run --data people --ids 4 --out {out}/e.png"),
    Case("gallery create", "gallery create {out}/g.db --model run", once="g.db"),
    Case("gallery add", "gallery add {out}/g.db people --model run --thumbnails --batch 4"),
    Case("gallery add, features", "gallery add {out}/g.db features.npz", given="empty.db:g.db"),
    Case("gallery add --replace", "gallery add {out}/g.db people --model run --replace --track t", given="g.db:g.db"),
    Case("gallery remove", "gallery remove {out}/g.db --camera 1", given="g.db:g.db"),
    Case("gallery remove --compact", "gallery remove {out}/g.db --camera 1 --compact", given="g.db:g.db"),
    Case("gallery copy", "gallery copy g.db {out}/copy.db"),
    Case("gallery export", "gallery export g.db {out}/f.npz", given="old:f.npz"),
    Case("gallery export, Parquet", "gallery export g.db {out}/f.parquet"),
    Case("gallery search --sheet", "gallery search g.db a.jpg --model run --sheet {out}/hits.png"),
    Case(
        "video track",
        "video track street/camera1.mp4 street/camera2.mp4 --boxes street/det --model run --out {out}/tracks "
        "--gallery {out}/v.db",
        given="empty.db:v.db",
    ),
    Case("video crops", "video crops street/camera1.mp4 street/camera2.mp4 --boxes street/det --out {out}/tracks"),
    Case("video join", "video join {out}/v.db --threshold 0.5", given="v.db:v.db"),
    Case(
        "video find",
        "video find street/photo.png --gallery v.db --model run --videos tracks --overwrite --csv {out}/f.csv "
        "--sheet {out}/f.png --clips {out}/clips --marked {out}/marked",
        given="old:f.csv old:f.png",
    ),
    Case("doctor --clear-cache", "doctor --clear-cache --cache {out}/cache", given="cache:cache"),
)


def start(words: str, place: Path) -> subprocess.Popen[bytes]:
    """Start a command in `place`, in a group of processes of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "reidkit", *words.split()],
        cwd=place,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def listing(folder: Path, *, growing: bool = True) -> dict[str, str]:
    """What lies in a folder: names, and digests of what does not depend on the clock or on the folder's name.

    Without `growing`, only what is a result by itself.
    """
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")):
        name = str(path.relative_to(folder))
        if not growing and GROWS.search(f"/{name}"):
            continue
        same = NOT_COMPARED.search(f"/{name}")
        found[name] = "" if same else hashlib.sha256(contents(path, folder)).hexdigest()
    # The name of a cache, and an index, tell places and times.
    return {re.sub(r"^cache/[0-9a-f]{32}", "cache/x", name): "" if "index" in name else d for name, d in found.items()}


def contents(path: Path, folder: Path) -> bytes:
    """Return what a file holds: of a gallery its rows and features, of an archive its arrays, else its bytes."""
    if path.suffix == ".npz" and zipfile.is_zipfile(path):
        with np.load(path) as arrays:
            return b"".join(
                f"{name} {arrays[name].dtype} {arrays[name].shape}".encode() + arrays[name].tobytes() for name in arrays
            )
    if path.suffix == ".db":
        return rows_of(path)
    return TIMES.sub(b"", path.read_bytes()).replace(os.fsencode(folder), b"OUT")


def is_whole(path: Path) -> bool:
    """Whether a gallery holds nothing but what was written to it."""
    with LocalGallery(path) as gallery:
        return not gallery.check().problems


def rows_of(path: Path) -> bytes:
    """Return the rows and features of a gallery as text, by key; or what is wrong with it."""
    with LocalGallery(path) as gallery:
        if problems := gallery.check().problems:
            return repr(problems).encode()
        rows = sorted((row for some in pages(gallery) for row in some), key=lambda row: row.key)
        vectors = gallery.vectors([row.key for row in rows]) if rows else np.zeros(0)
        told = [replace(row, id=0, added=None) for row in rows]
        return f"{gallery.model} {gallery.dim} {told}".encode() + vectors.tobytes()


def finish(process: subprocess.Popen[bytes], what: str) -> None:
    _, err = process.communicate()
    if process.returncode:
        raise SystemExit(f"{what} ended with status {process.returncode}: {err.decode(errors='replace')[-500:]}")


def prepare(place: Path) -> None:
    """Make what the commands start from: images, models, features, a gallery, a cache, another project's weights."""
    place.mkdir(parents=True, exist_ok=True)
    _call(place, "synth street --videos 2 --ids 4 --seconds 4")
    size = "--ids 8 --cameras 3 --images-per-camera 2 --height 64 --width 32 --workers 1"
    run = f"small-strong-baseline --data people --no-cache {' '.join(SETTINGS)} --out"
    _call(place, f"synth people {size}", f"train {run} run", f"train {run} other --seed 1")
    for image in (place / "people" / "bounding_box_train").iterdir():
        folder = place / "ids" / image.name[:4]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, folder)
    first, second = sorted((place / "ids" / "0001").iterdir())[:2]
    shutil.copy(first, place / "a.jpg")
    shutil.copy(second, place / "b.jpg")
    vectors = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    for name, camera in (("q", 0), ("g", 1)):
        np.savez(place / f"{name}.npz", vectors=vectors, pids=np.arange(40) % 10, camids=np.full(40, camera))
    (place / "old").write_text("what an earlier call has left\n")
    torch.save(theirs(), place / "theirs.pth")
    _call(
        place,
        "export other --format openvino --out other.xml",
        "gallery create empty.db --model run",
        "gallery add g.db people --model run --thumbnails",
        "gallery export g.db features.npz",
        "gallery create v.db --model run",
        "video track street/camera1.mp4 street/camera2.mp4 --boxes street/det --model run --out tracks --gallery v.db",
        "evaluate run --data people --cache cache",
    )


def theirs() -> dict[str, torch.Tensor]:
    """Return weights under the names of the strong baseline's own program."""
    network = ResNet("resnet18", width=0.125, last_stride=1)
    neck = {f"bottleneck.{name}": value for name, value in torch.nn.BatchNorm1d(network.channels).state_dict().items()}
    return {f"base.{name}": value for name, value in network.state_dict().items()} | neck


def _call(place: Path, *commands: str) -> None:
    for words in commands:
        finish(start(words, place), words)


@dataclass
class Peace:
    """What an undisturbed call left, in how many seconds, with how many changes of its files."""

    found: dict[str, str]
    seconds: float
    changes: int


def undisturbed(case: Case, place: Path) -> Peace:
    """Call a command that nobody kills."""
    out = fresh(case, place, "peace")
    begun, watch = time.perf_counter(), Watch(out)
    process = start(case.command(out), place)
    while process.poll() is None:
        watch.look()
        time.sleep(0.001)
    finish(process, case.name)
    seconds = time.perf_counter() - begun
    found = listing(out)
    shutil.rmtree(out)
    return Peace(found, seconds, watch.changes)


def fresh(case: Case, place: Path, name: str) -> Path:
    """Return a folder that holds what a command finds there, and a file of the user's."""
    out = place / name
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    (out / "mine.txt").write_text("the user's\n")
    for pair in case.given.split():
        source, target = pair.split(":")
        (shutil.copytree if (place / source).is_dir() else shutil.copy)(place / source, out / target)
    return out


@dataclass
class Watch:
    """Counts how often files come, go or grow in a folder."""

    folder: Path
    changes: int = 0
    before: frozenset[tuple[str, int, int]] = field(default_factory=frozenset)

    def look(self) -> int:
        """Return how many looks have found something else than the look before."""
        now = frozenset(self._files(str(self.folder)))
        self.changes += now != self.before
        self.before = now
        return self.changes

    def _files(self, folder: str) -> list[tuple[str, int, int]]:
        found = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    facts = entry.stat(follow_symlinks=False)
                    found.append((entry.path, facts.st_size, facts.st_mtime_ns))
                    found += self._files(entry.path) if entry.is_dir(follow_symlinks=False) else []
        except FileNotFoundError:  # it went while it was looked at
            pass
        return found


def kill(case: Case, place: Path, out: Path, moment: tuple[float, int]) -> bool:
    """Kill a command after so many seconds, or at so many changes of its files; whether it was still running."""
    seconds, changes = moment
    process = start(case.command(out), place)
    until, watch = time.perf_counter() + seconds, Watch(out)
    watch.look()
    while process.poll() is None and time.perf_counter() < until and not 0 < changes < watch.changes:
        watch.look() if changes else None
        time.sleep(0.0005)
    ended = process.poll() is not None
    if not ended:
        (os.kill if case.alone else os.killpg)(process.pid, signal.SIGKILL)
    process.communicate()
    return process.returncode < 0


def killed_at(case: Case, place: Path, peace: Peace, kind: str, rng: random.Random) -> tuple[Path, str]:
    """Start a command and kill it; its folder, and the moment in words, or "" where it always ended before.

    One that comes too late is tried again, earlier, so that as many commands are killed as are asked for.
    """
    share = rng.uniform(0.02, 1) if kind == "all" else rng.triangular(0.1, 1.05, 0.95)
    change = rng.randint(1, max(1, peace.changes))
    for _ in range(TRIES):
        out = fresh(case, place, "killed")
        after = (600.0, change) if kind == "write" else (peace.seconds * share, 0)
        if kill(case, place, out, after):
            return out, f"at change {change} of {peace.changes}" if kind == "write" else f"at {after[0]:.2f} s"
        share *= 0.8
        change = max(1, change - 1)
    return out, ""


def half_results(case: Case, place: Path, out: Path, peace: Peace) -> list[str]:
    """Return what lies under the name of a result and is neither the old one nor the new one.

    A gallery may hold some of the rows, each of them whole.
    """
    before = listing(fresh(case, place, "before"))
    allowed = {name: {peace.found.get(name), before.get(name)} for name in {*peace.found, *before}}
    found = listing(out, growing=False)
    wrong = [
        name
        for name, digest in found.items()
        if name in allowed and digest not in allowed[name] and not (name.endswith(".db") and is_whole(out / name))
    ]
    lost = [name for name in before if name in peace.found and name not in found and not GROWS.search(f"/{name}")]
    return [f"half {name}" for name in wrong] + [f"lost {name}" for name in lost]


def run_again(case: Case, place: Path, out: Path, *, killed: bool) -> dict[str, str]:
    """Call a killed command again, as a user would, and list what is there."""
    if not case.once or not (out / case.once).exists():
        finish(start(case.command(out, again=killed or bool(case.again)), place), case.name)
    return listing(out)


@dataclass
class Tally:
    """Of one command: seconds undisturbed, kills, calls that ended before any, and faults."""

    seconds: float
    kills: int = 0
    ended_before: int = 0
    equal: int = 0


def kill_each(cases: list[Case], kills: int, seed: int, place: Path) -> dict[str, Tally]:
    """Kill each of the commands so often; one row for each of them."""
    if not (place / "cache").exists():  # the last that is made
        prepare(place)
    rows: dict[str, Tally] = {}
    for case in cases:
        peace, rng = undisturbed(case, place), random.Random(f"{seed} {case.name}")
        row = rows[case.name] = Tally(round(peace.seconds, 1))
        for number in range(kills):
            out, how = killed_at(case, place, peace, MOMENTS[number % len(MOMENTS)], rng)
            faults = half_results(case, place, out, peace)
            found = run_again(case, place, out, killed=bool(how))
            faults += [name for name in {*found, *peace.found} if found.get(name) != peace.found.get(name)]
            row.kills += bool(how)
            row.ended_before += not how
            row.equal += not faults
            said = f"DIFFERENT: {sorted(faults)[:5]}" if faults else "equal"
            print(f"{case.name}, killed {how or 'never: it ended before'}, again: {said}", file=sys.stderr, flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=3, help="of each command")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", default="", help="commands whose names match this regular expression")
    parser.add_argument("--place", type=Path, help="keep there what the commands start from, for the next call")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cases = [case for case in CASES if re.search(options.only, case.name)]
    with tempfile.TemporaryDirectory(prefix="reidkit-kill-") as spare:
        rows = kill_each(cases, options.kills, options.seed, options.place or Path(spare))
    if options.json:
        print(json.dumps({name: asdict(row) for name, row in rows.items()}, indent=2))
    else:
        print(f"{'command':32}{'seconds':>9}{'kills':>7}{'ended before':>14}{'equal':>7}")
        for name, row in rows.items():
            print(f"{name:32}{row.seconds:>9}{row.kills:>7}{row.ended_before:>14}{row.equal:>7}")
    kills = sum(row.kills for row in rows.values())
    wrong = sum(row.kills + row.ended_before - row.equal for row in rows.values())
    print(f"{kills} kills of {len(rows)} commands, {wrong} different", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
