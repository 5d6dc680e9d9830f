"""Kill writers of a gallery under load, and look for every row that they acknowledged.

python -m benchmarks.gallery_kill [--kills 20]

Two processes add batches, replace rows and remove some, each naming what is on the disk on its standard output; both
are killed at a random moment. A reader that stays open searches after each kill. At the end the file is checked.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from reidkit.gallery.local import LocalGallery

DIM, SIZE = 512, 50

WRITER = f"""
import json, sys
import numpy as np
from reidkit.gallery.local import LocalGallery
from reidkit.gallery.row import Row
path, name = sys.argv[1:]
with LocalGallery(path) as gallery:
    for batch in range(1_000_000):
        keys = [f"{{name}}/{{batch}}/{{n}}" for n in range({SIZE})]
        gallery.add_vectors(np.full(({SIZE}, {DIM}), batch + 1.0), [Row(key, pid=batch) for key in keys])
        print(json.dumps(["added", keys, batch]), flush=True)
        if batch % 3 == 0:
            some = keys[:10]
            gallery.add_vectors(np.full((10, {DIM}), -1.0), [Row(key, pid=0) for key in some], on_conflict="replace")
            print(json.dumps(["replaced", some, 0]), flush=True)
        if batch % 3 == 1:
            print(json.dumps(["removing", keys[:5], 0]), flush=True)
            gallery.remove(keys[:5])
            print(json.dumps(["removed", keys[:5], 0]), flush=True)
"""


def kill_some(path: Path, round_: int) -> list[list[Any]]:
    """Run two writers, kill them, and return what they acknowledged."""
    words = [sys.executable, "-c", WRITER, str(path)]
    writers = [
        subprocess.Popen([*words, f"{round_}-{n}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for n in range(2)
    ]
    said: list[list[Any]] = [json.loads(writer.stdout.readline()) for writer in writers]  # type: ignore[union-attr]
    time.sleep(random.uniform(0, 1.5))
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
    for writer in writers:
        said += [json.loads(line) for line in writer.communicate()[0].splitlines() if line.endswith("]")]
    return said


def main() -> None:
    """Kill, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    kills = parser.parse_args().kills
    expected: dict[str, int] = {}
    open_: set[str] = set()  # whose removal had begun
    gone: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.db"
        LocalGallery.create(path, dim=DIM).close()
        with LocalGallery(path) as reader:
            for round_ in range(kills):
                for what, keys, pid in kill_some(path, round_):
                    if what in ("added", "replaced"):
                        expected |= dict.fromkeys(keys, pid)
                    elif what == "removing":
                        open_ |= set(keys)
                    else:
                        gone |= set(keys)
                hits = reader.search_vectors(np.ones((1, DIM)), top=1)[0]
                there = {row.key: row.pid for row in reader}
                if hits.searched != len(there):
                    sys.exit(f"the reader has {hits.searched} rows, and the file {len(there)}")
                missing = [key for key in expected if key not in there and key not in open_]
                back = [key for key in gone if key in there]
                # What was being replaced when the kill came may be new already, and says so in pid 0.
                wrong = [key for key, pid in expected.items() if key in there and there[key] not in (pid, 0)]
                counts = {"missing": len(missing), "back": len(back), "wrong": len(wrong)}
                print(f"kill {round_ + 1}: {len(there)} rows, {counts}")
                if any(counts.values()):
                    sys.exit("a row that was acknowledged is not as it was")
            found = reader.check()
            print(f"{len(expected)} rows acknowledged; check: {found.rows} rows, {len(found.problems)} problems")
            if found.problems:
                sys.exit(found.problems[0])


if __name__ == "__main__":
    main()
