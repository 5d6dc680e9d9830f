"""How the time of an epoch grows: with images, with ids, with processes.

Each figure is that of the second epoch of `reidkit train` on synthetic images of 64x32 pixels, out of its own log, so
that neither drawing nor decoding counts; CPU seconds are those of the whole command, start and end included.

Run: `python benchmarks/growth.py [--ids 50 100 200 400] [--processes 1 2] [--json]`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from reidkit.synth import synthesize
from reidkit.train.log import read

SETTINGS = ("images.height=64", "images.width=32", "optim.epochs=2", "optim.drops=[1]", "optim.warmup_epochs=1")


def epoch(data: Path, out: Path, processes: int) -> dict[str, Any]:
    """The second epoch of a run in `out`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = ["train", "small-strong-baseline", "--data", str(data), "--out", str(out), "--cache", str(out / "cache")]
    words += [word for setting in SETTINGS for word in ("--set", setting)]
    subprocess.run(
        [sys.executable, "-m", "reidkit", *words, "--processes", str(processes)], check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    row = [row for row in read(out / "log.jsonl") if row["kind"] == "epoch"][1]
    people = json.loads((out / "run.json").read_text())["people"]
    return {
        "people": people,
        "images": row["images"],
        "processes": processes,
        "seconds": row["seconds"],
        "us_per_image": round(1e6 * row["seconds"] / row["images"]),
        "cpu_seconds_in_all": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "memory_mb": row["memory_mb"],
    }


def measure(ids: list[int], per_camera: list[int], processes: list[int]) -> list[dict[str, Any]]:
    """Ids at equal images of each; images at equal ids; processes at the largest set."""
    rows = []
    sets = [(count, per_camera[0]) for count in ids] + [(ids[0], count) for count in per_camera[1:]]
    with tempfile.TemporaryDirectory() as folder:
        for count, images in sets:
            data = Path(folder) / f"people-{count}-{images}"
            synthesize(data, 2 * count, 4, 0, height=64, width=32, images_per_camera=images)
            shared = processes if (count, images) == (ids[-1], per_camera[0]) else processes[:1]
            rows += [epoch(data, Path(folder) / f"run-{count}-{images}-{number}", number) for number in shared]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ids", type=int, nargs="+", default=[50, 100, 200, 400], help="ids to train with")
    parser.add_argument("--images", type=int, nargs="+", default=[4, 8, 16], help="images of a person by a camera")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = measure(options.ids, options.images, options.processes)
    if options.json:
        print(json.dumps({"rows": rows}))
        return
    for row in rows:
        print(
            f"{row['people']:>5} people  {row['images']:>6} images  {row['processes']} processes  "
            f"{row['seconds']:7.2f} s an epoch  {row['us_per_image']:>5} us an image  "
            f"{row['cpu_seconds_in_all']:6.1f} CPU s in all  {row['memory_mb']} MB"
        )


if __name__ == "__main__":
    main()
