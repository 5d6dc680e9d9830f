"""Commands as users run them, each in a process of its own, forked from one that has imported torch already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator, Mapping

SIZE = {
    "network.backbone": "resnet18",
    "network.width": 0.125,
    "images.height": 32,
    "images.width": 32,
    "images.pad": 2,
    "batch.ids": 4,
    "batch.images": 2,
    "optim.epochs": 3,
    "optim.drops": [2],
    "optim.warmup_epochs": 1,
}
"""Settings that make a run of 3 epochs and 12 steps on `tests.noise`, in about a second."""


@dataclass(frozen=True)
class Result:
    """What a command left behind. `status` is negative where a signal ended it."""

    status: int
    out: str
    err: str

    def line(self) -> str:
        """The one line of an expected failure; what comes before it is progress."""
        assert "Traceback" not in self.err, self.err
        *before, last = self.err.splitlines()
        assert last.startswith("reidkit: "), self.err
        assert not [line for line in before if line.startswith("reidkit: ")], self.err
        return last.removeprefix("reidkit: ")

    def json(self) -> dict[str, Any]:
        assert self.status == 0, self.err
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


@dataclass(frozen=True)
class Command:
    """A command under way."""

    pid: int
    streams: tuple[Path, Path]
    collect: Callable[[int], int]
    has_ended: Callable[[int], bool]

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def ended(self) -> bool:
        return self.has_ended(self.pid)

    def wait(self) -> Result:
        status = self.collect(self.pid)
        out, err = (path.read_text(errors="surrogateescape") for path in self.streams)
        return Result(status, out, err)


class Nursery:
    """The other end of `tests.nursery`."""

    def __init__(self, folder: Path) -> None:
        """Streams of the commands go to files in `folder`, which is also where they run."""
        self.folder = folder
        self.count = 0
        self.pictures = True
        single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
            env={**os.environ, **single, "XDG_CACHE_HOME": str(folder / "cache")},
        )

    def start(
        self, *words: object, before: str = "", folder: Path | None = None, out: str = "", stdin: str = os.devnull
    ) -> Command:
        """Start `reidkit WORDS...` in `folder`; `before` (module:function) runs in its process first."""
        self.count += 1
        streams = self.folder / f"{self.count}.out", self.folder / f"{self.count}.err"
        request = {"start": [str(word) for word in words], "before": before, "folder": str(folder or self.folder)}
        files = {"stdin": stdin, "out": out or str(streams[0]), "err": str(streams[1])}
        pid = self._ask(request | files | {"pictures": self.pictures})
        return Command(pid, streams if not out else (Path(os.devnull), streams[1]), self._collect, self._has_ended)

    def run(
        self, *words: object, before: str = "", folder: Path | None = None, out: str = "", stdin: str = os.devnull
    ) -> Result:
        """Run `reidkit WORDS...` to its end."""
        return self.start(*words, before=before, folder=folder, out=out, stdin=stdin).wait()

    @contextmanager
    def without_pictures(self) -> Iterator[None]:
        """Leave the figures out of reports, for tests of all else: most of the time of a tiny training goes there."""
        self.pictures = False
        try:
            yield
        finally:
            self.pictures = True

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _collect(self, pid: int) -> int:
        return self._ask({"wait": pid})

    def _has_ended(self, pid: int) -> bool:
        return bool(self._ask({"poll": pid}))

    def _ask(self, request: dict[str, Any]) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


def training(data: Path, out: Path, **changed: object) -> list[str]:
    """The words of a tiny `reidkit train`; `changed` settings have `__` for the dot."""
    values = SIZE | {key.replace("__", "."): value for key, value in changed.items()}
    sets = [word for setting in settings(values) for word in ("--set", setting)]
    return ["train", "strong-baseline", "--data", str(data), "--out", str(out), "--no-cache", *sets]


def settings(values: Mapping[str, object]) -> list[str]:
    """What `--set` takes."""
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]


def until(reached: Callable[[], bool], seconds: float = 180.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)
