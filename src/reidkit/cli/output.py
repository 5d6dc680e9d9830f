"""Output: JSON or tables on stdout; progress and remarks on stderr."""

from __future__ import annotations

import json
import math
import shlex
import shutil
import sys
import textwrap
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Protocol

from reidkit.atomic import refuse_unwritable
from reidkit.errors import UsageError
from reidkit.terminal import duration, harmless, table_lines
from reidkit.workers import is_child

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from reidkit.distributed import Group
    from reidkit.types import Dataset


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout. NaN and infinity become null, as JSON has neither."""
    sys.stdout.write(_json(value) + "\n")


def print_json_list(name: str, values: Iterable[Mapping[str, Any]]) -> None:
    """Print a JSON object that holds one list, as `print_json` does, and each value of it as soon as it is there."""
    begun = f'{{\n  "{name}": ['
    before = begun + "\n"
    for value in values:
        sys.stdout.write(before + textwrap.indent(_json(value), "    "))
        before = ",\n"
    sys.stdout.write("\n  ]\n}\n" if before == ",\n" else begun + "]\n}\n")


def print_line(line: str = "") -> None:
    """Print one line on stdout; foreign text in it cannot make a second one."""
    sys.stdout.write(harmless(line) + "\n")


def remark(line: str) -> None:
    """Print one line on stderr, as `print_line` does; a closed stderr is ignored, as it must not end a long run."""
    with suppress(OSError):
        sys.stderr.write(harmless(line) + "\n")
        sys.stderr.flush()


@contextmanager
def join() -> Iterator[Group]:
    """Yield the group of processes that this one was started in; while it waits for the others, stderr says so.

    Processes that `run_as` has started wait in silence: it ends all of them if one does not start.
    """
    from reidkit.distributed import joined
    from reidkit.train.log import log_lines

    with ExitStack() as stack:
        with nullcontext() if is_child() else log_lines(remark):
            group = stack.enter_context(joined())
        yield group


def tell_passed_over(dataset: Dataset) -> None:
    """Print on stderr the notes of a data set, and which files were skipped that may matter."""
    from reidkit.data.formats.scan import worth_saying

    for line in worth_saying(dataset):
        remark(line)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """Print a table as `table_lines` sets it, as wide as the terminal; on a pipe each row is one line."""
    for line in table_lines(head, rows, left=left, width=columns() if sys.stdout.isatty() else None):
        print_line(line)


def print_text(text: str, *, indent: str = "") -> None:
    """Print a paragraph on stdout, in lines that fit the terminal; paths and commands stay whole."""
    lines = textwrap.wrap(
        harmless(text),
        columns(),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    for line in lines or [""]:
        print_line(line)


def check_output(option: str, written: Path | None, *read: Path | None) -> None:
    """Refuse a result's file that cannot be written, before there is a result, or that the command reads.

    Raises:
        DataError: it cannot be written.
        UsageError: the file of `option` is one of those that are read, or the weights in a folder that is read.
    """
    if written is None:
        return
    refuse_unwritable(written)
    if not written.is_file():
        return
    for path in read:
        file = path / "model.safetensors" if path and path.is_dir() else path
        if file and file.is_file() and written.samefile(file):
            raise UsageError(f"{written} is what this command reads: name another file ({option})")


def columns() -> int:
    """Return how many columns output may have: those of the terminal, at least 80, and 80 on a pipe."""
    return max(80, shutil.get_terminal_size().columns) if sys.stdout.isatty() else 80


def command() -> str:
    """Return the command as it was called, quoted for a shell."""
    return shlex.join(["reidkit", *sys.argv[1:]])


def shown_command() -> str:
    """Return the command for a page that others read, which does the same again from the start.

    Where on this machine a folder lies is left out, and so is --resume, which would go on with what is there.
    """
    return shlex.join(["reidkit", *(_without_place(word) for word in sys.argv[1:] if word != "--resume")])


class Tell(Protocol):
    """Show progress: what is being done, how much is done, and of how much.

    Rate and time left are measured, unless the caller gives them.
    """

    def __call__(self, what: str, done: int, total: int, rate: str = "", left: str = "") -> None:
        """Show it, or say nothing."""


@contextmanager
def progress(shown: bool = True) -> Iterator[Tell]:
    """Yield a function that draws progress bars with rate and time left on a terminal, and nothing on a pipe."""
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


def _json(value: Mapping[str, Any]) -> str:
    text = json.dumps(_plain(value), indent=2, allow_nan=False)  # in ASCII, but for the last of the control characters
    return text.replace("\x7f", "\\u007f")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
