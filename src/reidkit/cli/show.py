"""Output: JSON on stdout for machines, tables for people, progress and remarks on stderr."""

from __future__ import annotations

import json
import math
import shlex
import sys
from contextlib import contextmanager, suppress
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on stdout, and nothing else. What is no number is null, as JSON has no NaN."""
    sys.stdout.write(json.dumps(_plain(value), indent=2, allow_nan=False) + "\n")


def print_line(line: str = "") -> None:
    """One line on stdout."""
    sys.stdout.write(line + "\n")


def remark(line: str) -> None:
    """One line on stderr. Nobody may be listening any more: that is no reason to end a long run."""
    with suppress(OSError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they must be: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        cells = (
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        print_line("  ".join(cells).rstrip())


def command() -> str:
    """The command as it was called, fit for a shell."""
    return shlex.join(["reidkit", *sys.argv[1:]])


def shown_command() -> str:
    """The command for a page that others read, to do the same again from the start.

    Where on this machine a folder lies is left out, and so is --resume, which would go on with what is there.
    """
    return shlex.join(["reidkit", *(_without_place(word) for word in sys.argv[1:] if word != "--resume")])


def percent(value: float | None) -> str:
    """A fraction as per cent with one decimal; a dash for none."""
    return "-" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class Tell(Protocol):
    """How work in progress is told of: what it is, how much is done, and of how much.

    Rate and time left are measured; who knows them better than that gives them.
    """

    def __call__(self, what: str, done: int, total: int, rate: str = "", left: str = "") -> None:
        """Show it, or say nothing."""


@contextmanager
def progress(shown: bool = True) -> Iterator[Tell]:
    """What draws bars with rate and time left on a terminal, and nothing on a pipe."""
    if not (shown and sys.stderr.isatty()):
        yield _tell_nobody
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int, rate: str = "", left: str = "") -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, rate="", left="")
            task = next(task for task in bars.tasks if task.id == tasks[what])
            if not rate and task.speed:
                rate = f"{task.speed:.3g}/s" if task.speed < 10 else f"{task.speed:.0f}/s"
                left = f"{duration(task.time_remaining)} left" if task.time_remaining is not None else ""
            bars.update(task.id, completed=done, total=total, rate=rate, left=left)
            if done >= total:
                bars.remove_task(tasks.pop(what))

        yield tell


def _tell_nobody(what: str, done: int, total: int, rate: str = "", left: str = "") -> None:
    """Draw nothing."""


def _without_place(word: str) -> str:
    path = PurePath(word)
    name, separator, value = word.partition("=")
    if separator and not path.is_absolute():  # --out=PLACE, and --data NAME=PLACE
        return f"{name}={_without_place(value)}"
    return f".../{path.name}" if path.is_absolute() else word


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
