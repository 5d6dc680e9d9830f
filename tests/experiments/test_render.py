"""A small table in every form."""

import csv
import io
import re
from dataclasses import replace

import pytest

from reidkit.experiments import render
from reidkit.experiments.plan import Column
from reidkit.experiments.results import Cell, ResultRow, ResultTable, Score
from tests.experiments.made import line

STRONG = line("table1", "strong-baseline")


def sheet(title="+center loss", failed="", compared=True):
    cell = Cell(
        rank1=Score(paper=0.945, values=(0.93, 0.95), parent=0.9),
        map=Score(paper=0.859, values=(0.84, 0.84), parent=0.85),
        failed=failed,
    )
    ours = ResultRow(name="ours", title=title, recipe=STRONG.recipe, search="f_i, cosine", cells=(cell, Cell()))
    plain = ResultRow(
        name="pcb",
        title="PCB",
        recipe=None,
        search="as published",
        cells=(Cell(rank1=Score(paper=0.938), map=Score(paper=0.816)), Cell()),
    )
    groups = (Column("market1501", "market1501", "market1501"), Column("mine", "mine", "mine"))
    return ResultTable(
        name="table1",
        title="Table 1",
        columns=groups,
        compared=(compared, False),
        rows=(plain, ours),
        notes=("A note & more.",),
        command="reidkit paper table1",
    )


def test_the_head_of_the_page_names_data_models_and_changes():
    made = replace(sheet(), settings=("optim.epochs=60", "erasing.fill=<i>"))
    head = render.page(made).partition("<body>")[2].partition("<table>")[0]
    words = " ".join(re.sub(r"<[^>]+>", " ", head).split())
    assert "Data sets market1501, mine Models resnet50, images of 256x128" in words
    assert words.endswith("Changed by --set optim.epochs=60 , erasing.fill=&lt;i&gt;")
    assert "Changed by <code>--set</code></dt><dd>nothing" in render.page(sheet())


def test_text():
    head, plain, ours = (re.split(r" {2,}", line) for line in render.text(sheet()).splitlines()[2:5])
    parts = ("paper", "measured", "difference", "inside", "over parent")
    assert head == ["row", "search", *(f"market1501 {part}" for part in parts), "mine measured"]
    assert plain == ["PCB", "as published", "93.8 / 81.6", "-", "-", "-", "-", "-"]
    assert ours == [
        "+center loss",
        "f_i, cosine",
        "94.5 / 85.9",
        "94.0±1.4 / 84.0±0.0",
        "-0.5 / -1.9",
        "yes / no",
        "+4.0 / -1.0",
        "-",
    ]


def test_columns_in_which_nothing_stands_are_left_out():
    head, _ = render.grid(sheet(compared=False))
    assert "market1501 paper" not in head
    assert head[-1] == "mine measured"


def test_markdown():
    lines = render.markdown(sheet(title="a|b")).splitlines()
    assert lines[3].count("|") == 9
    assert "| a\\|b | f_i, cosine | 94.5 / 85.9 |" in lines[5]
    assert "- A note & more." in lines


def test_foreign_words_in_every_form():
    """A reason for a failure names files: it forges no line, closes no cell and is no link, no HTML and no command."""
    evil = "a\x1b[31m|b\n| c | d |\n<script>[x](http://y)\\input{z}\u202e"
    made = sheet(title=evil, failed=evil)
    assert all(letter == "\n" or letter.isprintable() for letter in render.page(made))
    for form in (render.text, render.markdown, render.latex):
        written = form(made)
        assert all(letter == "\n" or letter.isprintable() for letter in written), form
        assert len(written.split("\n")) == len(form(sheet(title="a", failed="a")).split("\n")), form
    text = render.markdown(made)
    assert "\n| c" not in text
    assert not re.search(r"(?<!\\)[<\[]", text)
    assert "\\input" not in render.latex(made)
    assert "<script>[" not in render.page(made)


def test_latex():
    text = render.latex(sheet(title="50 % & _more_"))
    assert r"50 \% \& \_more\_ & $f_i$, cosine & 94.5 / 85.9 & 94.0$\pm$1.4 / 84.0$\pm$0.0" in text
    assert r"\begin{tabular}{llrrrrrr}" in text
    for word in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(word) == 1
    assert not re.search(r"(?<!\\)[%#]", text)


def test_comma_separated():
    rows = list(csv.DictReader(io.StringIO(render.comma_separated(sheet(title='a, "b"')))))
    assert len(rows) == 8
    ours = next(row for row in rows if (row["row"], row["data"], row["score"]) == ("ours", "market1501", "rank1"))
    assert ours["title"] == 'a, "b"'
    assert float(ours["mean"]) == pytest.approx(0.94)
    assert (ours["paper"], ours["seeds"], ours["inside"]) == ("0.945", "2", "True")
    assert next(row for row in rows if row["row"] == "pcb")["mean"] == ""


def test_failures_are_told():
    for text in (render.text(sheet(failed="no number")), render.markdown(sheet(failed="no number"))):
        assert "+center loss on market1501: no number" in text
        assert "84.0±0.0 failed" in text


def test_page_stands_alone_and_trusts_nobody():
    text = render.page(sheet(title="<script>alert(1)</script>", failed="<b>"))
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "&lt;b&gt;" in text
    assert not re.search(r'(src|href)="', text)
    assert text.count("<tr>") == 3


def test_page_draws_the_ladder_and_the_losses(tmp_path):
    """Score rows make a ladder, told by its ends and its best; a run has a curve of its loss if it has a log."""
    folder = tmp_path / "warmup-0123456789-mine-seed2"
    folder.mkdir()
    (folder / "log.jsonl").write_text(
        "".join(f'{{"kind": "epoch", "epoch": {e}, "step": {e}, "loss": {5 / e}, "lr": 1}}\n' for e in (1, 2, 3))
    )
    cells = [
        Cell(rank1=Score(values=(v,)), map=Score(values=(v,)), runs=(r,))
        for v, r in ((0.5, folder), (0.6, tmp_path / "none"), (0.55, tmp_path / "none"))
    ]
    rows = tuple(
        ResultRow(name=f"r{i}", title=f"row {i}", recipe=STRONG.recipe, search="f", cells=(cell,))
        for i, cell in enumerate(cells)
    )
    made = ResultTable(name="t", title="T", columns=(Column("mine", "mine", "mine"),), compared=(False,), rows=rows)
    text = render.page(made)
    assert text.count("<svg") == 3  # rank-1, mAP, one loss
    assert "seed 2 ends at 1.667" in text
    assert "1 row 0: 50.0 %, 2 row 1: 60.0 %, 3 row 2: 55.0 %" in text
