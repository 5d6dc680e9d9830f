from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from reidkit import terminal
from reidkit.cli import output
from reidkit.cli.train import Console
from reidkit.errors import DataError, UsageError
from reidkit.recipe import Batch, Optim, Recipe
from reidkit.train.checkpoint import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": (1, None)}, "e": "\udcff"})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1.5, None], "c": {"d": [1, None]}, "e": "\udcff"}


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("", "n"), [("long", "1"), ("x", "100")])
    assert capsys.readouterr().out == "        n\nlong    1\nx     100\n"


def test_a_table_that_is_too_wide_takes_more_lines_and_loses_nothing() -> None:
    """Names stay whole; a head breaks between its words."""
    name = "small-wide-standard-baseline"
    head, row = ("recipe", *["some long words"] * 7), (name, *(f"{i}23.456789" for i in range(1, 8)))
    lines = terminal.table_lines(head, [row], width=80)
    assert max(map(len, lines)) <= 80
    assert name in "\n".join(lines)
    letters = "".join("".join(lines).split())
    assert sorted(letters) == sorted(
        "recipe" + "somelongwords" * 7 + name + "".join(f"{i}23.456789" for i in range(1, 8))
    )


@pytest.mark.parametrize(
    ("rows", "room", "widths"),
    [
        ([["ab", "c"], ["", "def"]], 80, [2, 3]),
        ([["ab cd", "efg hi"]], 11, [5, 3 + 1]),
        ([["ab cd", "efg hi"]], 8, [2 + 1, 3]),
        ([["abcd", "efghij"]], 6, [2, 2]),
        ([["", ""]], 80, [1, 1]),
        ([["x" * 70, "ab cd"]], 40, [36, 2]),  # a path breaks before the words of the other columns do
        ([["x" * 70, *["y" * 6] * 7]], 68, [12, *[6] * 7]),  # down to 12 columns
        ([["x" * 70, "y" * 4, "z" * 9, "w" * 20]], 40, [12, 4, 9, 9]),  # then the widest of the others, down to 8
        ([["x" * 70, *["y" * 9] * 4]], 40, [16, 4, 4, 4, 4]),  # and then nobody can read it
    ],
)
def test_widths(rows: list[list[str]], room: int, widths: list[int]) -> None:
    """Two spaces are between two columns."""
    assert terminal._widths(rows, room) == widths


def test_a_table_breaks_names_before_words() -> None:
    head = ("", "rank-1", "rank-5", "rank-10", "rank-20", "mAP", "mAP (trapezoid)", "mINP")
    lines = terminal.table_lines(head, [("re-ranked (k-reciprocal)", *["100.0"] * 7)], width=80)
    assert max(map(len, lines)) <= 80
    assert {"(trapezoid)", "(k-reciprocal)", "rank-10"} <= {word for line in lines for word in line.split()}


def test_a_name_of_any_length_is_folded_on_a_terminal_and_one_line_on_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output.print_table(("", "n"), [("x" * 200, "1")])
    assert capsys.readouterr().out.splitlines()[1] == "x" * 200 + "  1"
    shown = Terminal()
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setenv("COLUMNS", "100")
    output.print_table(("", "n"), [("x" * 200, "1")])
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) == 100
    assert "".join(lines).count("x") == 200


def test_markup_in_a_table_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("", "n"), [("[bold]a[/bold]", "1"), ("東京", "2")])
    assert capsys.readouterr().out == "                n\n[bold]a[/bold]  1\n東京            2\n"


def test_prose_is_broken_and_commands_stay_whole(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/data/" + "x" * 90
    output.print_text(f"{'word ' * 30}{path} a-b")
    output.print_text("")
    output.print_text("one\nend")
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if path not in line) <= 80
    assert lines[-4:] == [path, "a-b", "", "one\\nend"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.9449, "94.5"), (1.0, "100.0"), (0.0, "0.0"), (None, "-"), (float("nan"), "-")]
)
def test_percent(value: float | None, text: str) -> None:
    assert terminal.percent(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5369, "89 min"), (5400, "1 h 30 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert terminal.duration(seconds) == text


def test_the_command_is_fit_for_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/reidkit", "train", "x", "--data", "/home/me/my data"])
    assert output.command() == "reidkit train x --data '/home/me/my data'"


def test_the_command_on_a_page_does_not_say_where_folders_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["paper", "x", "--data", "a=/home/me/my data", "--out=/tmp/run", "--weights", "../w.pth", "--set", "a=b"]
    words += ["--report", "/home/a=b"]
    monkeypatch.setattr(sys, "argv", ["reidkit", *words])
    shown = "reidkit paper x --data 'a=.../my data' --out=.../run --weights ../w.pth --set a=b --report .../a=b"
    assert output.shown_command() == shown


def test_the_command_on_a_page_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["train", "x", "--resume", "--data", "d", "--set", "optim.drops=[20, 27]"]
    monkeypatch.setattr(sys, "argv", ["reidkit", *words])
    assert output.shown_command() == "reidkit train x --data d --set 'optim.drops=[20, 27]'"


def test_a_remark_nobody_hears_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    output.remark("hello")


def test_no_bar_on_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with output.progress() as tell:
        tell("reading", 1, 2)
    assert stream.getvalue() == ""


def test_a_bar_on_a_terminal_goes_when_its_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with output.progress() as tell:
        for done in range(5):
            tell("reading", done, 4)
        tell("reading", 1, 4)
    assert "reading" in stream.getvalue()


def row(kind: str, epoch: int, step: int, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "epoch": epoch, "step": step, "lr": 0.1, "images": 5, "images_per_s": 5.0, **more}


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_bar_of_training(capsys: pytest.CaptureFixture[str]) -> None:
    """Two epochs of three batches of 8 images, a step each 2 s, and 4 s of evaluation between them.

    The first step, which takes 60 s, counts for nothing: after the second one, 4 steps of 2 s are left. At the first
    step of epoch 2, three steps have taken 2 + 2 + 4 + 2 = 10 s, and two are left: 10/3 x 2 = 7 s.
    """
    calls: list[tuple[object, ...]] = []
    tell: Any = lambda *call: calls.append(call)  # noqa: E731
    clock = Clock()
    lines = Console(Recipe(batch=Batch(ids=4, images=2), optim=Optim(epochs=2)), tell, clock)
    for place, now in (((1, 1, 1), 60), ((1, 2, 2), 62), ((1, 3, 3), 64), ((2, 1, 4), 70), ((2, 2, 5), 72)):
        clock.now = now
        lines.on_position(Progress(*place), 3)
        if place[1] == 3:
            lines.on_epoch(row("epoch", 1, 3, seconds=6.0, loss=3.0))
    assert calls == [
        ("epoch 1/2", 1, 3, "", ""),
        ("epoch 1/2", 2, 3, "4 images/s", "8 s left"),
        ("epoch 1/2", 3, 3, "4 images/s", "6 s left"),
        ("epoch 2/2", 1, 3, "", "7 s left"),
        ("epoch 2/2", 2, 3, "4 images/s", "3 s left"),
    ]
    lines.on_scores(row("scores", 2, 6, rank1=0.5, map=0.25))
    lines.on_epoch(row("epoch", 2, 6, seconds=6.0, loss=2.0))
    assert capsys.readouterr().err.splitlines() == [
        "epoch 1/2  loss 3.000  lr 0.1  5.0 images/s, 6 s left",
        "epoch 2/2  rank-1 50.0  mAP 25.0",
        "epoch 2/2  loss 2.000  lr 0.1  5.0 images/s",
    ]


def test_the_bar_of_a_run_that_goes_on_in_the_middle_of_an_epoch() -> None:
    calls: list[tuple[object, ...]] = []
    tell: Any = lambda *call: calls.append(call)  # noqa: E731
    lines = Console(Recipe(optim=Optim(epochs=2)), tell, Clock())
    lines.on_position(Progress(2, 41, 141), 100)
    assert calls == [("epoch 2/2", 41, 100, "", "")]


def test_what_is_told_of_rate_and_time_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with output.progress() as tell:
        tell("epoch 1/2", 1, 4, "812 images/s", "3 min left")
    assert "812 images/s" in stream.getvalue()
    assert "3 min left" in stream.getvalue()


def test_a_result_is_not_written_over_what_is_read(tmp_path: Path) -> None:
    """Nor over the weights of a run folder that is read, by whatever path; its other files may be replaced."""
    run = tmp_path / "run"
    run.mkdir()
    weights, page = run / "model.safetensors", run / "evaluation.html"
    weights.write_bytes(b"weights")
    page.write_text("of yesterday")
    (tmp_path / "link.csv").symlink_to(weights)
    for written, *read in ((weights, run), (weights, weights), (run / ".." / "run" / page.name, page)):
        with pytest.raises(UsageError, match=r"is what this command reads: name another file \(--report\)"):
            output.check_output("--report", written, None, *read)
    with pytest.raises(UsageError, match=r"link\.csv"):
        output.check_output("--report", tmp_path / "link.csv", tmp_path / "gone", run)
    for other in (page, tmp_path / "new.html", Path(os.devnull), None):
        output.check_output("--report", other, run, tmp_path / "gone", tmp_path)


def test_a_result_that_cannot_be_written_is_refused_before_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for wrong in (tmp_path, tmp_path / "file" / "page.html", tmp_path / "file" / "new" / "page.html"):
        with pytest.raises(DataError, match=r"cannot be written .*: name a file in a folder"):
            output.check_output("--report", wrong)
    output.check_output("--report", tmp_path / "new" / "folder" / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
