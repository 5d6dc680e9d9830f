from __future__ import annotations

import inspect
import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import typer

from reidkit.cli import command as cli_command
from reidkit.cli import help as cli_help
from reidkit.cli import main as cli

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    assert isinstance(command, cli_command.Command)
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
