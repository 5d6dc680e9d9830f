"""Kill a service while clients write to it and search in it, and look at what it acknowledged.

    python -m benchmarks.kill_service MODEL --kills 20

Clients put rows with features, one by one and in batches, and search. At a random moment the process is killed by
SIGKILL, so that no handler runs. Then the gallery and the audit log are opened anew: every row that was acknowledged is
there, once, with its feature; every one of them, and every search that was answered, has its entry in the log, whose
chain of hashes is whole; and the service starts again on what was left. Exit status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.encoder import load_model
from reidkit.gallery import open_gallery
from reidkit.serve.audit import AuditLog, verify

if TYPE_CHECKING:
    from reidkit.encoder import Encoder

WRITERS = 3


@dataclass
class Seen:
    """What clients were told: the number from which each row's feature is drawn, and the numbers of searches."""

    rows: dict[str, int] = field(default_factory=dict)
    searches: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def main() -> None:
    """Kill a service so often, and exit with 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng, faults = random.Random(given.seed), []
    with tempfile.TemporaryDirectory() as folder:
        seen = Seen()
        for number in range(given.kills):
            found = kill_once(Path(folder) / "people.db", Path(given.model), seen, rng.uniform(0.3, 3.0))
            faults += found
            print(f"kill {number + 1}: {len(seen.rows)} rows, {len(seen.searches)} searches; {found or 'all there'}")
    sys.exit(bool(faults))


def kill_once(gallery: Path, path: Path, seen: Seen, seconds: float) -> list[str]:
    """Start a service, write for some seconds since its first answers, kill it, and return what is wrong then."""
    model = load_model(path)
    words = ["serve", str(gallery), "--model", str(path), "--port", "0", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "reidkit", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        if process.stdout is None:
            raise RuntimeError("a pipe was asked for")
        text = ""
        while "}" not in text:
            if not (line := process.stdout.readline()):
                return ["the service did not start"]
            text += line
        address = str(json.loads(text)["address"])
        _wait(address)
        stop, before = threading.Event(), (len(seen.rows), len(seen.searches))
        threads = [
            threading.Thread(target=_write, args=(address, model, seen, stop, which)) for which in range(WRITERS)
        ]
        threads.append(threading.Thread(target=_search, args=(address, model, seen, stop)))
        for thread in threads:
            thread.start()
        _answered(seen, before)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        stop.set()
        for thread in threads:
            thread.join(30)
    finally:
        process.kill()
        process.communicate()  # which also closes the pipe
    return examine(gallery, model, seen)


def examine(gallery: Path, model: Encoder, seen: Seen) -> list[str]:
    """Return what was acknowledged and is not there, or there twice, or not in the log."""
    faults = []
    with open_gallery(gallery, model) as opened:
        twice = [key for key, count in Counter(opened.keys()).items() if count > 1]
        missing = sorted(set(seen.rows) - set(opened.keys()))
        faults += [f"{len(missing)} acknowledged rows are missing, as {missing[0]}"] if missing else []
        faults += [f"{len(twice)} keys are there twice"] if twice else []
        keys = [key for key in seen.rows if key not in missing]
        if keys:
            expected = np.stack([feature(seen.rows[key], model.dim) for key in keys])
            wrong = int((opened.vectors(keys) != expected).any(axis=1).sum())
            faults += [f"{wrong} rows have another feature"] if wrong else []
        faults += list(opened.check().problems)
    log = Path(f"{gallery}-audit")
    faults += list(verify(log).faults)
    written: Counter[str] = Counter()
    searches: set[str] = set()
    with closing(AuditLog(log)) as opened_log:
        after = 0
        while entries := opened_log.read(after=after):
            after = entries[-1]["id"]
            for entry in entries:
                written.update(entry.get("keys", ()) if entry["action"] == "write" else ())
                searches.add(entry.get("request", ""))
    unlogged = [key for key in seen.rows if not written[key]]
    faults += [f"{len(unlogged)} rows are not in the log"] if unlogged else []
    silent = set(seen.searches) - searches
    faults += [f"{len(silent)} searches are not in the log"] if silent else []
    return faults


def feature(number: int, dim: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return the feature [D] of the row with this number."""
    return np.random.default_rng(number).normal(size=dim).astype(np.float32)


def _write(address: str, model: Encoder, seen: Seen, stop: threading.Event, which: int) -> None:
    rng = random.Random(f"{which} {len(seen.rows)}")
    while not stop.is_set():
        numbers = [rng.randrange(1 << 40) for _ in range(1 if which == 0 else 16)]
        rows = [
            {
                "key": f"{which}/{number}",
                "vector": encoded(feature(number, model.dim)),
                "model": model.fingerprint,
                "camera": "door",
            }
            for number in numbers
        ]
        answer = _call(address, "POST", "v1/rows", {"rows": rows})
        if answer and answer["added"] + answer["unchanged"] == len(rows):
            with seen.lock:
                seen.rows |= {f"{which}/{number}": number for number in numbers}


def _search(address: str, model: Encoder, seen: Seen, stop: threading.Event) -> None:
    while not stop.is_set():
        query = [{"vector": encoded(feature(1, model.dim))}]
        if answer := _call(address, "POST", "v1/search", {"query": query, "limit": 3}):
            with seen.lock:
                seen.searches.append(answer["search_id"])


def encoded(vector: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> str:
    """Return a feature as the service takes it."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _call(address: str, method: str, path: str, body: object = None) -> dict[str, Any] | None:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
            return found
    except (OSError, ValueError, http.client.HTTPException):  # the service is gone, in the middle of an answer perhaps
        return None


def _wait(address: str) -> None:
    until = time.monotonic() + 300
    while not _call(address, "GET", "health/ready"):
        if time.monotonic() > until:
            raise TimeoutError("the service did not become ready")
        time.sleep(0.1)


def _answered(seen: Seen, before: tuple[int, int]) -> None:
    """Wait until a row more and a search more were acknowledged: a busy machine may take seconds for these."""
    until = time.monotonic() + 300
    while len(seen.rows) == before[0] or len(seen.searches) == before[1]:
        if time.monotonic() > until:
            raise TimeoutError("the service does not answer its clients")
        time.sleep(0.01)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
