"""What a run reports: `log.jsonl`, callbacks, and a stop where a loss is not finite."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from reidkit import strict_json
from reidkit.atomic import atomic_write
from reidkit.errors import RunError, UsageError
from reidkit.extras import install

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from reidkit.train.checkpoint import Progress


LOGGER = logging.getLogger("reidkit.train")
"""Takes the messages of a run: what it starts with, warnings, and that it stops."""

Row = dict[str, Any]

TIMINGS = ("images_per_s", "memory_mb", "seconds", "wait_share")
"""The keys of a row that differ when the same command is run again; every other one is the same."""

LONGEST_ROW = 2**16
"""Bytes of a line; a row has some hundreds."""

READ_EVERY = 10
"""Steps between two reads of the losses: a read makes an accelerator wait, and a stop on NaN may be that late."""


@contextmanager
def log_lines(say: Callable[[str], None], option: Callable[[str], str] = lambda _: "") -> Iterator[None]:
    """Pass the messages of reidkit to `say`, a line each, with "warning: " before the warnings.

    `option` maps the argument that a message is about to the option that sets it, which is added in brackets; "" adds
    nothing.
    """
    logger, handler = logging.getLogger("reidkit"), _Lines(say, option)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _Lines(logging.Handler):
    def __init__(self, say: Callable[[str], None], option: Callable[[str], str]) -> None:
        super().__init__()
        self._say, self._option = say, option

    def emit(self, record: logging.LogRecord) -> None:
        named = self._option(getattr(record, "argument", ""))
        before = "warning: " if record.levelno >= logging.WARNING else ""
        self._say(f"{before}{record.getMessage()}{f' ({named})' if named else ''}")


class Callback:
    """Follows a run: override what you need, and pass an object of it to `train(..., callbacks=[...])`.

    In a run of several processes the callbacks of the first one are called.
    """

    def on_step(self, row: Row) -> None:
        """Take the row of a step: epoch, step, lr, loss and its terms. Called in order, up to `READ_EVERY` steps late.

        The losses stay on the device until then, so that a GPU need not wait for each of them.
        """

    def on_epoch(self, row: Row) -> None:
        """Take the row of an epoch: the means of the losses, images per second."""

    def on_scores(self, row: Row) -> None:
        """Take the scores of the network after an epoch: rank1, map and the others, as fractions."""

    def on_clusters(self, row: Row) -> None:
        """Take how many clusters and outliers the images of an adaptation make up in an epoch, before its steps."""

    def on_progress(self, what: str, done: int, total: int) -> None:
        """Take how much of some work is done, `done` of `total`: reading images, embedding the query or the gallery."""

    def on_position(self, progress: Progress, batches: int) -> None:
        """Take where the run is, right after each step, in an epoch of so many `batches`."""


class Log:
    """Rows of `log.jsonl`: kind `step` with every loss term, `epoch` with their means, `scores`, and `clusters`.

    The terms of a step stay on the device until they are read, all at once, every few steps. Of several processes one
    writes and calls the callbacks; the others keep their logs for the sums and the stop.
    """

    def __init__(self, path: Path, callbacks: Sequence[Callback] = (), *, writes: bool = True) -> None:
        self.path = path
        self._callbacks = tuple(callbacks)
        self._writes = writes
        self._pending: list[tuple[Row, dict[str, Tensor]]] = []
        self._sums: dict[str, float] = {}
        self._images = self._images_before = 0
        self._steps = 0
        self._waited = 0.0
        self._read_at = self._epoch_at = time.perf_counter()

    def rewind(self, progress: Progress) -> None:
        """Drop what was written after `progress`, which comes again, and an incomplete last line.

        A damaged line before the last one is dropped as well, with a warning: its step or epoch is not trained again.
        The end of an epoch and its scores come again where `progress` is still in that epoch, after its last batch too.

        Raises:
            RunError: the log cannot be read or written.
        """
        if not self._writes:
            return
        with _disk_errors(self.path):
            rows = read(self.path, tell=LOGGER.warning)
            kept = [row for row in rows if _before(row, progress)]
            with atomic_write(self.path) as file:
                file.write("".join(json.dumps(row) + "\n" for row in kept).encode())

    def start_epoch(self, progress: Progress, waited: float) -> None:
        """Begin to count. In the middle of an epoch the means go on where it was stopped.

        `waited` are the seconds that the run has waited for data until now.
        """
        if progress.batch == 0:
            self._sums, self._images, self._steps = {}, 0, 0
        self._waited = waited
        self._images_before = self._images
        self._read_at = self._epoch_at = time.perf_counter()

    def step(self, progress: Progress, lr: float, images: int, terms: Mapping[str, Tensor]) -> None:
        """Take in the terms of one step of `images` images."""
        row = {"kind": "step", "epoch": progress.epoch, "step": progress.step, "lr": lr, "images": images}
        self._pending.append((row, {name: term.detach() for name, term in terms.items()}))
        if len(self._pending) >= READ_EVERY:
            self.flush()

    def flush(self) -> None:
        """Read the pending terms and write their rows.

        Raises:
            RunError: a term is NaN or infinite, the rows up to that step are written; or the log cannot be written.
        """
        if not self._pending:
            return
        import torch

        names = list(self._pending[0][1])
        values = torch.stack([torch.stack(list(terms.values())) for _, terms in self._pending]).tolist()
        now = time.perf_counter()
        rate = sum(row["images"] for row, _ in self._pending) / max(now - self._read_at, 1e-9)
        self._read_at = now
        rows = [
            self._step_row(row, dict(zip(names, v, strict=True)))
            for (row, _), v in zip(self._pending, values, strict=True)
        ]
        self._pending = []
        for row in rows:
            self._write(row | {"images_per_s": round(rate, 1), "memory_mb": _memory_mb()})
            _refuse_nan(row, names, self.path)

    def position(self, progress: Progress, batches: int) -> None:
        """Tell the callbacks where the run is."""
        for callback in self._callbacks:
            callback.on_position(progress, batches)

    def end_epoch(self, progress: Progress, lr: float, waited: float) -> None:
        """Write the row of an epoch: the means of its terms, its rate, and the share of time spent waiting for data."""
        self.flush()
        seconds = max(time.perf_counter() - self._epoch_at, 1e-9)
        rate = (self._images - self._images_before) / seconds
        means = {name: value / max(self._steps, 1) for name, value in self._sums.items()}
        row: Row = {"kind": "epoch", "epoch": progress.epoch, "step": progress.step, "lr": lr, **means}
        row |= {"images": self._images, "seconds": round(seconds, 3), "images_per_s": round(rate, 1)}
        self._write(row | {"wait_share": round((waited - self._waited) / seconds, 5), "memory_mb": _memory_mb()})

    def scores(self, progress: Progress, scores: Mapping[str, Any]) -> None:
        """Write the scores of the network as it is at `progress`."""
        self._write({"kind": "scores", "epoch": progress.epoch, "step": progress.step, **scores})
        self._read_at = time.perf_counter()

    def clusters(self, progress: Progress, clusters: int, outliers: int, images: int) -> None:
        """Write how many clusters and outliers so many images make up, at the start of an epoch of an adaptation."""
        counts = {"clusters": clusters, "outliers": outliers, "images": images}
        self._write({"kind": "clusters", "epoch": progress.epoch, "step": progress.step, **counts})

    def collect(self) -> None:
        """Read what is pending and see all rows on the disk: a checkpoint must not be ahead of its log.

        Raises:
            RunError: as `flush`.
        """
        self.flush()
        if self._writes:
            with _disk_errors(self.path), self.path.open("ab") as file:
                os.fsync(file.fileno())

    def state_dict(self) -> dict[str, Any]:
        """Return the sums of the epoch so far, so that a resumed one ends with the same means."""
        return {"sums": dict(self._sums), "images": self._images, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with saved sums."""
        self._sums = {str(name): float(value) for name, value in state["sums"].items()}
        self._images, self._steps = int(state["images"]), int(state["steps"])

    def _step_row(self, row: Row, terms: dict[str, float]) -> Row:
        values = {"loss": sum(terms.values()), **terms}
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._images += row["images"]
        self._steps += 1
        return row | values

    def _write(self, row: Row) -> None:
        if not self._writes:
            return
        # JSON has no NaN, and what reads the log may insist on it.
        plain = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
        with _disk_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain, allow_nan=False) + "\n")
        for callback in self._callbacks:
            getattr(callback, f"on_{row['kind']}")(row)


def read(path: Path, tell: Callable[[str], None] = lambda _: None) -> list[Row]:
    """Return the rows of a `log.jsonl`; a line torn by a kill, or that is no row, is left out. No file is no rows.

    `tell` takes a sentence about lines that are left out, apart from a torn last one.
    """
    if not path.is_file():
        return []
    rows: list[Row] = []
    damaged: list[int] = []
    number = 1
    with path.open("rb") as file:
        while line := file.readline(LONGEST_ROW):
            ended, row = line.endswith(b"\n"), _row(line)
            if row is not None:
                rows.append(row)
            elif number not in damaged[-1:] and (ended or file.peek(1)):  # a torn line is the last, and has no end
                damaged.append(number)
            number += ended  # a line may be longer than what is read at once
    if damaged:
        first = (
            f"line {damaged[0]} is" if len(damaged) == 1 else f"{len(damaged)} lines, the first one {damaged[0]}, are"
        )
        tell(f"{path}: {first} damaged and left out; the curves of the report lack what stood there, the run does not")
    return rows


def _row(line: bytes) -> Row | None:
    """The row of a line: numbers and words by their names, with its kind, epoch and step; None where it is none."""
    try:
        row = strict_json.parse(line)
    except strict_json.JsonError:
        return None
    if not isinstance(row, dict) or not isinstance(row.get("kind"), str):
        return None
    counts = all(type(row.get(key)) is int for key in ("epoch", "step"))
    return row if counts and all(v is None or isinstance(v, str | int | float) for v in row.values()) else None


def _before(row: Row, progress: Progress) -> bool:
    """Return whether a run at `progress` has this row behind it. One that has taken no step begins with nothing."""
    if progress.step == 0:
        return False
    if row["kind"] == "clusters":  # written before the first step of its epoch, and with that step in the state
        return bool(row["step"] < progress.step)
    return bool(row["step"] <= progress.step if row["kind"] == "step" else row["epoch"] < progress.epoch)


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Convert an OSError to a RunError."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror}): make room and run again with resume=True", argument="resume"
        ) from None


def _refuse_nan(row: Row, names: list[str], log: Path) -> None:
    if all(math.isfinite(row[name]) for name in names):
        return
    from reidkit.train.checkpoint import last_good  # which needs torch

    last = last_good(log.with_name("state.pt"))
    terms = ", ".join(f"{name} {row[name]}" for name in names)
    raise RunError(
        f"the loss is not finite at step {row['step']} of epoch {row['epoch']} ({terms}); {last}: "
        "try a lower optim.lr or a longer optim.warmup_epochs",
        argument="optim.lr",
    )


def _memory_mb() -> int | None:
    """Return the peak so far: of the accelerator where there is one in use, else of the process; None on Windows."""
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() >> 20
    try:
        import resource
    except ImportError:  # Windows
        return None
    # In kB; macOS says bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (20 if sys.platform == "darwin" else 10)


class TensorBoard(Callback):
    """Write TensorBoard events: every number of a row becomes a curve named `kind/key` over the steps.

    Nothing is written before the first row, by when the folder is known to be the run's. Of what an earlier part of the
    run wrote, TensorBoard then hides the steps that come again.

    Raises:
        UsageError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError(
                f"TensorBoard needs the package tensorboard: {install('tensorboard')}", argument="tensorboard"
            ) from None
        self._open = lambda step: SummaryWriter(str(folder), purge_step=step)
        self._folder = folder
        self._writer: Any = None

    def on_step(self, row: Row) -> None:
        """Write the row."""
        self._write(row)

    def on_epoch(self, row: Row) -> None:
        """Write the row, and what is pending to the disk."""
        self._write(row)

    def on_scores(self, row: Row) -> None:
        """Write the row, and what is pending to the disk."""
        self._write(row)

    def on_clusters(self, row: Row) -> None:
        """Write the row, and what is pending to the disk."""
        self._write(row)

    def _write(self, row: Row) -> None:
        """Write one row.

        Raises:
            RunError: the folder cannot be written.
        """
        try:
            self._writer = self._writer or self._open(row["step"])
            for key, value in row.items():
                if isinstance(value, int | float) and key not in ("epoch", "step"):
                    self._writer.add_scalar(f"{row['kind']}/{key}", value, row["step"])
            if row["kind"] != "step":
                self._writer.flush()
        except OSError as error:
            raise RunError(
                f"{self._folder} cannot be written ({error}): make room, or do without TensorBoard",
                argument="tensorboard",
            ) from None
