from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from reidkit.cli import show
from reidkit.cli.train import _Lines
from reidkit.recipe import Optim, Recipe

if TYPE_CHECKING:
    from collections.abc import Callable


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    show.print_json({"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": (1, None)}, "e": "\udcff"})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1.5, None], "c": {"d": [1, None]}, "e": "\udcff"}


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    show.print_table(("", "n"), [("long", "1"), ("x", "100")])
    assert capsys.readouterr().out == "        n\nlong    1\nx     100\n"


@pytest.mark.parametrize(
    ("value", "text"), [(0.9449, "94.5"), (1.0, "100.0"), (0.0, "0.0"), (None, "-"), (float("nan"), "-")]
)
def test_percent(value: float | None, text: str) -> None:
    assert show.percent(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5369, "89 min"), (5400, "1 h 30 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert show.duration(seconds) == text


def test_the_command_is_fit_for_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/reidkit", "train", "x", "--data", "/home/me/my data"])
    assert show.command() == "reidkit train x --data '/home/me/my data'"


def test_the_command_on_a_page_does_not_say_where_folders_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["paper", "x", "--data", "a=/home/me/my data", "--out=/tmp/run", "--weights", "../w.pth", "--set", "a=b"]
    words += ["--report", "/home/a=b"]
    monkeypatch.setattr(sys, "argv", ["reidkit", *words])
    shown = "reidkit paper x --data 'a=.../my data' --out=.../run --weights ../w.pth --set a=b --report .../a=b"
    assert show.shown_command() == shown


def test_the_command_on_a_page_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["train", "x", "--resume", "--data", "d", "--set", "optim.drops=[20, 27]"]
    monkeypatch.setattr(sys, "argv", ["reidkit", *words])
    assert show.shown_command() == "reidkit train x --data d --set 'optim.drops=[20, 27]'"


def test_a_remark_nobody_hears_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    show.remark("hello")


def test_no_bar_on_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with show.progress() as tell:
        tell("reading", 1, 2)
    assert stream.getvalue() == ""


def test_a_bar_on_a_terminal_goes_when_its_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with show.progress() as tell:
        for done in range(5):
            tell("reading", done, 4)
        tell("reading", 1, 4)
    assert "reading" in stream.getvalue()


def row(kind: str, epoch: int, step: int, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "epoch": epoch, "step": step, "lr": 0.1, "images": 5, "images_per_s": 5.0, **more}


def told(rows: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    calls: list[tuple[str, int, int]] = []
    tell: Callable[[str, int, int], None] = lambda *call: calls.append(call)  # noqa: E731
    lines = _Lines(Recipe(optim=Optim(epochs=2)), tell)
    for each in rows:
        lines(each)
    return calls


def test_every_bar_of_an_epoch_ends(capsys: pytest.CaptureFixture[str]) -> None:
    """A bar that never reaches its end stays on the screen: after 120 epochs there would be 120."""
    rows = [row("step", 1, 1), row("step", 1, 2), row("epoch", 1, 2, seconds=1.0, loss=3.0)]
    rows += [row("step", 2, 3), row("step", 2, 4), row("epoch", 2, 4, seconds=1.0, loss=3.0)]
    calls = told(rows)
    assert [name for name, done, total in calls if done >= total] == ["epoch 1/2", "epoch 2/2"]
    assert ("epoch 2/2", 1, 2) in calls
    err = capsys.readouterr().err
    assert err == "epoch 1/2  loss 3.000  lr 0.1  5.0 images/s, 1 s left\nepoch 2/2  loss 3.000  lr 0.1  5.0 images/s\n"
