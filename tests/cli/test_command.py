"""What cuts a command short: Ctrl-C, no memory, and errors, which are none of these."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import typer

from reidkit.cli import command as cli_command
from reidkit.errors import ReidkitError, UsageError
from reidkit.train.checkpoint import StoppedError
from tests.cli.test_help import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("parameters", "remedy"),
    [
        (["settings", "batch"], "a smaller --set batch.ids"),
        (["model", "batch"], "a smaller --batch"),
        (["query", "gallery"], "close other programs"),
    ],
)
def test_out_of_memory_names_what_the_command_has(parameters: list[str], remedy: str) -> None:
    assert remedy in cli_command.out_of_memory(parameters)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "stopped"),
        (MemoryError(), 1, "out of memory: run it with a smaller --batch"),
    ],
)
def test_what_cuts_a_command_short(error: BaseException, status: int, line: str) -> None:
    def fail(batch: int = 0) -> None:
        raise error

    with pytest.raises(ReidkitError, match=line) as caught:
        run(fail)
    assert caught.value.status == status


def test_a_command_that_goes_on_says_so() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(ReidkitError, match=r"^stopped; the same command goes on with the shards that are whole$"):
        run(stop, "shard")
    assert set(cli_command.GOES_ON) <= {" ".join(("reidkit", *path)) for path in COMMANDS}


def test_ctrl_c_that_a_library_turns_into_an_error_of_its_own() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ReidkitError, match=r"^stopped$") as caught:
        run(turning_ctrl_c_into(TypeError("expected a message argument")))
    assert caught.value.status == 130
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("before", [cli_command.Command, cli_command.Commands])
def test_ctrl_c_before_the_command_begins(before: type, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(before, "parse_args", interrupted)
    with pytest.raises(ReidkitError, match=r"^stopped$") as caught:
        run(lambda: None)
    assert caught.value.status == 130


def test_ctrl_c_while_an_object_is_cleared_away() -> None:
    """Python drops what is raised there, and the command went on."""

    class Cleared:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def clear() -> None:
        Cleared()
        for _ in range(2000):
            time.sleep(0.01)
        raise AssertionError("nobody was heard")

    before = sys.unraisablehook
    with pytest.raises(ReidkitError, match=r"^stopped$"):
        run(clear)
    assert sys.unraisablehook is before


def test_what_a_command_says_of_its_stop_is_kept() -> None:
    with pytest.raises(ReidkitError, match="go on with: x"):
        run(turning_ctrl_c_into(StoppedError("stopped; go on with: x")))


def test_ctrl_c_of_which_the_library_makes_a_sentence_about_something_else() -> None:
    """As "torch cannot express this network in ONNX", or a package that is "not installed"."""
    with pytest.raises(ReidkitError, match=r"^stopped$") as caught:
        run(turning_ctrl_c_into(UsageError("an export needs onnx: pip install onnx")))
    assert caught.value.status == 130


def test_ctrl_c_during_the_imports() -> None:
    """The command line's own modules take a moment."""
    code = """
import signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "reidkit.cli.data":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from reidkit.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "reidkit: stopped\n")


def test_a_bug_in_a_command_is_not_hidden() -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        run(fail)


def run(function: Callable[..., None], name: str = "fail") -> None:
    app = typer.Typer(cls=cli_command.Commands, rich_markup_mode=None)
    app.command(name, cls=cli_command.Command)(function)
    app.callback()(lambda: None)
    app([name], prog_name="reidkit", standalone_mode=False)


def turning_ctrl_c_into(error: Exception) -> Callable[[], None]:
    """A command that is interrupted while a library works, which raises an error of its own then."""

    def command() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise error from None

    return command
