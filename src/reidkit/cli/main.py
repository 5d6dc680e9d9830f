"""The commands together, and how each of them fails."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TextIO, cast

import typer

from reidkit.cli.calibrate import calibrate
from reidkit.cli.data import data, synth
from reidkit.cli.doctor import doctor
from reidkit.cli.judge import evaluate, score
from reidkit.cli.paper import paper
from reidkit.cli.processes import is_child
from reidkit.cli.recipes import recipes
from reidkit.cli.shard import shard
from reidkit.cli.show_model import show
from reidkit.cli.train import train
from reidkit.types import PeerError, ReidkitError

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Train and judge person re-identification models.",
    epilog="First steps: reidkit synth people, then reidkit train small-strong-baseline --data people.",
)
for _command in (recipes, data, shard, synth, train, evaluate, score, calibrate, paper, doctor):
    app.command()(_command)
app.add_typer(show, name="show")

# Typer carries its own copy of click in some releases and uses the real one in others; BadParameter is public, and
# click's general error is among its bases in both.
_CLICK_ERROR = cast("type[Exception]", typer.BadParameter.__mro__[2])


def main() -> None:
    """Run the command line; expected failures end in one line on stderr that says the remedy."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be text
    status, line = _run()
    if (refused := _flush(sys.stdout)) and status == 0:
        status, line = 1, _refusal(refused)
    if line:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"reidkit: {' '.join(line.split())}\n")
    _flush(sys.stderr)
    sys.exit(status)


def _flush(stream: TextIO) -> OSError | None:
    """Write what is left; the error where that is refused.

    If not, the stream is led to nowhere: the interpreter would try again when it exits, and complain.
    """
    try:
        stream.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error
    return None


def _refusal(error: OSError) -> str:
    """A pipe that was closed early (`reidkit recipes | head`) is nobody's mistake, and nothing to talk about."""
    return "" if isinstance(error, BrokenPipeError) else f"the system refused: {error}"


def _run() -> tuple[int, str]:
    """The exit status, and the line to end with."""
    try:
        status = app(sys.argv[1:] or ["--help"], prog_name="reidkit", standalone_mode=False)
    except ReidkitError as error:
        told_by_parent = isinstance(error, PeerError) and is_child()  # who knows more of the others' end
        return error.status, "" if told_by_parent else str(error)
    except _CLICK_ERROR as error:
        return 2, _wrong_call(error)
    except (KeyboardInterrupt, typer.Abort):
        return 130, "stopped"
    except OSError as error:
        return 1, _refusal(error)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return 1, "out of memory: train with a smaller --set batch.ids, evaluate with a smaller --batch"
    return int(status or 0), ""


def _is_out_of_memory(error: Exception) -> bool:
    """Whether Python, torch's GPU or torch's CPU allocator has run out; only the last has no class of its own."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return "allocate memory" in str(error)


def _wrong_call(error: Exception) -> str:
    """What was wrong with the call, and where its options are explained."""
    text = str(getattr(error, "format_message", error.__str__)()).strip().rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{text} (see `{context.command_path} --help`)" if context and "\n" not in text else text
