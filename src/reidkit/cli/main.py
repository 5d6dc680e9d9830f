"""The command line: its commands, and the exit status and last line of each."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

import typer

from reidkit.atomic import NO_ROOM
from reidkit.cli import suggest
from reidkit.cli.adapt import adapt
from reidkit.cli.calibrate import calibrate
from reidkit.cli.command import Command, Commands, is_out_of_memory, out_of_memory, running_option
from reidkit.cli.compare import compare
from reidkit.cli.compare_runs import compare_runs
from reidkit.cli.data import data, shard, split, synth
from reidkit.cli.distil import distil
from reidkit.cli.doctor import doctor
from reidkit.cli.embed import embed
from reidkit.cli.evaluate import evaluate
from reidkit.cli.export import export
from reidkit.cli.gallery import gallery
from reidkit.cli.gallery_audit import audit
from reidkit.cli.gallery_transfer import check, copy
from reidkit.cli.gallery_transfer import export as export_rows
from reidkit.cli.import_weights import import_
from reidkit.cli.options import spread
from reidkit.cli.output import remark
from reidkit.cli.paper import paper
from reidkit.cli.recipes import recipes
from reidkit.cli.reduce import reduce
from reidkit.cli.score import score
from reidkit.cli.serve import serve
from reidkit.cli.show import show
from reidkit.cli.train import train
from reidkit.cli.video import video
from reidkit.cli.video_people import find, join
from reidkit.errors import PeerError, ReidkitError
from reidkit.jit import tell_of_compiling
from reidkit.terminal import harmless
from reidkit.version import __version__
from reidkit.workers import is_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Person re-identification: train and evaluate networks, export them, and search for people.",
    epilog="""
    reidkit synth people
    reidkit train small-strong-baseline --data people
    reidkit help train
    """,
)

EXAMPLES: dict[Callable[..., Any], str] = {
    recipes: "reidkit recipes strong-baseline > mine.json",
    data: "reidkit data Market-1501-v15.09.15 --sheet sheet.png",
    split: "reidkit split mine mine-split --share 0.3",
    shard: "reidkit shard Market-1501-v15.09.15 market-shards",
    synth: """
        reidkit synth people --ids 120 --seed 1
        reidkit synth street --videos 2
        """,
    train: """
        reidkit train small-strong-baseline --data people --out runs/small
        reidkit train strong-baseline --data DIR --weights resnet50.safetensors
        reidkit train small-strong-baseline --data people --set optim.lr=2e-4
        """,
    distil: "reidkit distil runs/large small-strong-baseline --data people --out runs/small",
    adapt: "reidkit adapt runs/small --data crops --set adapt.eps=0.5 --out runs/adapted",
    reduce: "reidkit reduce runs/small --data crops --dim 64",
    import_: """
        reidkit import resnet50_market.pth --out runs/theirs
        reidkit import model_final.pth --from fast-reid-sbs --out runs/sbs
        reidkit import net.pth --set network.last_stride=2 --out runs/theirs
        """,
    evaluate: "reidkit evaluate runs/small --data people --rerank --flip",
    score: "reidkit score query.npz gallery.npz --rerank",
    calibrate: "reidkit calibrate runs/small --data people --far 0.01",
    embed: "reidkit embed runs/small people --out people.npz",
    compare: "reidkit compare runs/small a.jpg b.jpg --picture both.png",
    compare_runs: "reidkit compare-runs runs/a runs/b --data people --report both.html",
    export: """
        reidkit export runs/small --calibration people
        reidkit export runs/small --int8 --calibration people --preset boxmot
        """,
    paper: """
        reidkit paper table1 --small --data market1501=Market-1501-v15.09.15
        reidkit paper differences
        """,
    serve: """
        reidkit serve people.db --model runs/small
        reidkit serve token anna --role search --role audit
        """,
    doctor: "reidkit doctor --quick",
}
"""The commands in their order, and how each is called."""

for _command, _example in EXAMPLES.items():
    app.command(_command.__name__.rstrip("_").replace("_", "-"), cls=Command, epilog=_example)(spread(_command))
app.add_typer(show, name="show")
gallery.command(cls=Command, epilog="reidkit gallery check people.db --against copy.db")(spread(check))
gallery.command(cls=Command, epilog="reidkit gallery copy people.db milvus://host:19530/people")(spread(copy))
gallery.command("export", cls=Command, epilog="reidkit gallery export people.db people.npz --camera door")(
    spread(export_rows)
)
gallery.command(cls=Command, epilog="reidkit gallery audit people.db --verify")(spread(audit))
app.add_typer(gallery, name="gallery")
video.command(cls=Command, epilog="reidkit video join people.db --dry-run")(spread(join))
video.command(
    cls=Command,
    epilog="""
    reidkit video find photo.png --gallery people.db --model runs/small
    reidkit video find a.png --gallery p.db --model M --videos DIR --clips clips
    """,
)(spread(find))
app.add_typer(video, name="video")


@app.command("help", cls=Command, epilog="reidkit help show ranks")
def help_(
    context: typer.Context,
    words: Annotated[list[str] | None, typer.Argument(metavar="COMMAND", help="A command's name.")] = None,
) -> int:
    """Explain a command, as `reidkit COMMAND --help` does."""
    root = context.find_root().command
    return int(root.main([*(words or []), "--help"], prog_name="reidkit", standalone_mode=False) or 0)


def _print_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"reidkit {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[  # its callback does the work
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of no command."""


# Typer carries its own copy of click in some releases and uses the real one in others; BadParameter is public, and
# click's general error is among its bases in both.
_CLICK_ERROR = cast("type[Exception]", typer.BadParameter.__mro__[2])


def main() -> None:
    """Run the command line; expected failures end in one line on stderr that says the remedy."""
    _open_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be text
    # Pictures go into files alone. A notebook names a backend of its own here, which need not be installed beside us.
    os.environ["MPLBACKEND"] = "agg"
    if sys.stderr.isatty() and not is_child():
        tell_of_compiling(lambda: remark("compiling loops for this machine; they are kept for the next time"))
    with _warnings_shown():
        status, line = _run()
        if status in {1, 2} and line and _is_nowhere():
            line = f"the folder that this was called in is gone: change to one that is there ({line})"
    if (refused := _flush(sys.stdout)) and status == 0:
        status, line = 1, _refusal(refused)
    if line:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"reidkit: {harmless(' '.join(line.split()))}\n")
    _flush(sys.stderr)
    sys.exit(status)


def _is_nowhere() -> bool:
    """Whether the current folder was removed, where torch and others fail, and relative paths lead nowhere."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


class _Warnings(logging.Handler):
    """Prints warnings on stderr where nothing else takes them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one, unless a command passes the messages of a run on, or the service writes its log."""
        others = (*logging.getLogger("reidkit").handlers, *logging.getLogger().handlers)
        if all(other is self or isinstance(other, logging.NullHandler) for other in others):
            option = running_option(getattr(record, "argument", ""))
            remark(f"warning: {record.getMessage()}{option and f' ({option})'}")


@contextlib.contextmanager
def _warnings_shown() -> Iterator[None]:
    """While entered, print the warnings of the library, which is silent by itself; one process does it for all."""
    handler = _Warnings(logging.WARNING)
    if not is_child():
        logging.getLogger("reidkit").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("reidkit").removeHandler(handler)


def _open_streams() -> None:
    """Open standard streams that were closed (`>&-`), so that the next file opened does not take their number.

    What is written to a closed stderr is lost; what is written to a closed stdout is refused as on a full disk.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, mode)  # the lowest number that is free: this one
            os.set_inheritable(opened, True)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False, encoding="utf-8")
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False, encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False, encoding="utf-8")


def _flush(stream: TextIO) -> OSError | None:
    """Write what is buffered, and return the error where that is refused.

    The stream is then redirected to the null device: the interpreter would try again when it exits, and complain.
    """
    try:
        stream.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error
    return None


def _refusal(error: OSError) -> str:
    """Return the line for an error of the system; none for a pipe that was closed early (`reidkit recipes | head`)."""
    if isinstance(error, BrokenPipeError):
        return ""
    if error.errno == errno.EBADF:
        return "standard output is closed: leave out `>&-`, or write it to /dev/null"
    if error.errno in NO_ROOM:
        return f"the system refused: {error}: make room, also where temporary files lie (TMPDIR names another folder)"
    return f"the system refused: {error}"


def _run() -> tuple[int, str]:
    """Run the command; the exit status, and the line to end with."""
    try:
        status = app(sys.argv[1:] or ["--help"], prog_name="reidkit", standalone_mode=False)
    except ReidkitError as error:
        told_by_parent = isinstance(error, PeerError) and is_child()  # the parent knows better why the others ended
        options = "".join(f" ({option})" for option in getattr(error, "__notes__", ()))
        return error.status, "" if told_by_parent else f"{error}{options}"
    except _CLICK_ERROR as error:
        return 2, _wrong_call(error)
    except (KeyboardInterrupt, typer.Abort):
        return 130, "stopped"
    except OSError as error:
        return 1, _refusal(error)
    except (MemoryError, RuntimeError) as error:  # outside of any command
        if not is_out_of_memory(error):
            raise
        return 1, out_of_memory(())
    return int(status or 0), ""


def _wrong_call(error: Exception) -> str:
    """Return what was wrong with the call, and where its options are explained."""
    context = getattr(error, "ctx", None)
    option = getattr(error, "option_name", "")
    if context and option and type(error).__name__ == "NoSuchOption":
        known, arguments = _options(context.find_root().command), _arguments(context.command)
        return suggest.no_option(option, sys.argv[1:], context.command_path, known, arguments)
    text = str(getattr(error, "format_message", error.__str__)()).strip().rstrip(".").replace(": Value error, ", ": ")
    return f"{text} (see `{context.command_path} --help`)" if context and "\n" not in text else text


def _arguments(command: Any) -> list[str]:
    """Return the arguments of a command, in their order; those that may be left out in brackets."""
    found = [param for param in command.params if param.param_type_name == "argument"]
    names = [(param.metavar or param.name.upper(), param.required) for param in found]
    return [name if required else f"[{name}]" for name, required in names]


def _options(group: Any, path: str = "reidkit") -> dict[str, list[str]]:
    """Return the options of every command, by its path."""
    found = {path: [word for param in group.params for word in (*param.opts, *param.secondary_opts) if word[0] == "-"]}
    for name, command in getattr(group, "commands", {}).items():
        found |= _options(command, f"{path} {name}")
    return found
