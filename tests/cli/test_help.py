from __future__ import annotations

import inspect
import re
import shlex
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import typer

from reidkit.cli import help as cli_help
from reidkit.cli import main as cli
from reidkit.errors import ReidkitError, UsageError
from reidkit.train.checkpoint import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT: Any = typer.main.get_command(cli.app)


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its words, groups of commands too."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, (*path, name))


COMMANDS = dict(walk(ROOT))
LEAVES = {path: command for path, command in COMMANDS.items() if not hasattr(command, "commands")}


def answer(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    """Status, stdout and stderr of `reidkit WORDS`, on a pipe."""
    monkeypatch.setattr("sys.argv", ["reidkit", *words])
    monkeypatch.delenv("COLUMNS", raising=False)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code, *capsys.readouterr()


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_help_has_an_example_and_fits_80_columns(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, err = answer(capsys, monkeypatch, *path, "--help")
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out
    assert "\nExample" in out
    assert answer(capsys, monkeypatch, *path, "-h")[1] == out
    assert answer(capsys, monkeypatch, "help", *path)[1] == out


@pytest.mark.parametrize(("command", "several"), [("train", ["--data", "--set"]), ("compare", [])])
def test_what_may_be_given_several_times_says_so(
    command: str, several: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = answer(capsys, monkeypatch, command, "--help")[1]
    entries = re.split(r"\n  (?=-)", out)
    assert [entry.split()[0] for entry in entries if "[repeatable]" in " ".join(entry.split())] == several


@pytest.mark.parametrize("command", ["adapt", "export", "show attention"])
def test_what_needs_the_network_itself_names_no_exported_file(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = " ".join(answer(capsys, monkeypatch, *command.split(), "--help")[1].split())
    assert "MODEL <path> A run's folder, or a .safetensors. [required]" in out


def test_the_list_of_commands_is_by_topic_and_has_each_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = [name for names in cli_help.TOPICS.values() for name in names.split()]
    assert sorted(named) == sorted(ROOT.commands)
    out = answer(capsys, monkeypatch, "--help")[1]
    assert re.findall(r"^(\w[\w ]*):$", out, re.MULTILINE)[2:] == list(cli_help.TOPICS)
    assert re.findall(r"^  ([a-z][a-z-]*) {2,}[A-Z]", out, re.MULTILINE) == named


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_arguments_are_words_in_capitals_said_once(path: tuple[str, ...]) -> None:
    usage = " ".join(LEAVES[path].get_usage(typer.Context(LEAVES[path], info_name="x")).split())
    words = usage.removeprefix("Usage: x [OPTIONS]").split()
    assert all(re.fullmatch(r"(\{[A-Z]+\}|\[[A-Z]+\])(\.\.\.)?", word) for word in words), usage


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_option_is_in_a_group(path: tuple[str, ...]) -> None:
    command = LEAVES[path]
    assert isinstance(command, cli_help.Command)
    for param in command.params:
        if param.param_type_name == "option":
            assert cli_help.group_of(path[-1], param.name or "") in cli_help.GROUPS


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_example_can_be_called(path: tuple[str, ...]) -> None:
    """Read by the command it belongs to, without running it."""
    for line in inspect.cleandoc(COMMANDS[path].epilog).splitlines():
        first, *words = shlex.split(line.partition(" >")[0], comments=True)
        assert first == "reidkit"
        command = ROOT
        taken: list[str] = []
        while hasattr(command, "commands"):
            taken.append(words.pop(0))
            command = command.commands[taken[-1]]
        assert tuple(taken[: len(path)]) == path
        command.make_context("reidkit", words)


def test_groups_in_order(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = answer(capsys, monkeypatch, "evaluate", "--help")[1].splitlines()
    heads = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert heads == ["Example:", "Arguments:", "Data:", "Inference:", "Scores:", "Machine:", "Output:"]


def test_no_group_has_what_no_command_has() -> None:
    """A name that an option lost would stand in the table for ever."""
    known = {param.name for command in LEAVES.values() for param in command.params} | {"help"}
    # Some options are under way: they are shown in their group from their first day on.
    coming = {"people", "part", "evaluate_every", "allow_training_ids"}
    assert {name for names in cli_help.GROUPS.values() for name in names.split()} <= known | coming


def test_the_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from reidkit import __version__

    assert answer(capsys, monkeypatch, "--version") == (0, f"reidkit {__version__}\n", "")


def test_show_without_a_picture(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    status, out, err = answer(capsys, monkeypatch, "show")
    assert (status, err) == (0, "")
    assert out == answer(capsys, monkeypatch, "show", "--help")[1]


@pytest.mark.parametrize(
    ("parameters", "remedy"),
    [
        (["settings", "batch"], "a smaller --set batch.ids"),
        (["model", "batch"], "a smaller --batch"),
        (["query", "gallery"], "close other programs"),
    ],
)
def test_out_of_memory_names_what_the_command_has(parameters: list[str], remedy: str) -> None:
    assert remedy in cli_help.out_of_memory(parameters)


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
    assert set(cli_help.GOES_ON) <= {" ".join(("reidkit", *path)) for path in COMMANDS}


def test_ctrl_c_that_a_library_turns_into_an_error_of_its_own() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ReidkitError, match=r"^stopped$") as caught:
        run(turning_ctrl_c_into(TypeError("expected a message argument")))
    assert caught.value.status == 130
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("before", [cli_help.Command, cli_help.Commands])
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
    app = typer.Typer(cls=cli_help.Commands, rich_markup_mode=None)
    app.command(name, cls=cli_help.Command)(function)
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
