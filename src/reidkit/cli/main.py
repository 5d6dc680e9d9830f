"""The commands together, and how each of them fails."""

from __future__ import annotations

import os
import sys
from typing import cast

import typer

from reidkit.cli.data import data, synth
from reidkit.cli.judge import evaluate, score
from reidkit.cli.recipes import doctor, recipes
from reidkit.cli.train import train
from reidkit.types import ReidkitError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Train and judge person re-identification models.",
    epilog="First steps: reidkit synth people, then reidkit train small-strong-baseline --data people.",
)
for _command in (recipes, data, synth, train, evaluate, score, doctor):
    app.command()(_command)

# Typer carries its own copy of click in some releases and uses the real one in others; BadParameter is public, and
# click's general error is among its bases in both.
_CLICK_ERROR = cast("type[Exception]", typer.BadParameter.__mro__[2])


def main() -> None:
    """Run the command line; expected failures end in one line on stderr that says the remedy."""
    status, line = _run()
    if line:
        sys.stderr.write(f"reidkit: {' '.join(line.split())}\n")
    # A pipe that was closed early (`reidkit recipes | head`) would raise again when the interpreter flushes at exit.
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def _run() -> tuple[int, str]:
    """The exit status, and the line to end with."""
    try:
        status = app(standalone_mode=False)
    except ReidkitError as error:
        return error.status, str(error)
    except _CLICK_ERROR as error:
        return 2, _wrong_call(error)
    except (KeyboardInterrupt, typer.Abort):
        return 130, "stopped"
    except BrokenPipeError:
        return 1, ""
    except MemoryError:
        return 1, "out of memory: try a smaller --set batch.ids, or smaller images"
    return int(status or 0), ""


def _wrong_call(error: Exception) -> str:
    """What was wrong with the call, and where its options are explained."""
    text = str(getattr(error, "format_message", error.__str__)()).strip().rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{text} (see `{context.command_path} --help`)" if context and "\n" not in text else text
