"""Two results by hand; the command is tested in `tests/cli/test_compare_runs.py`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from reidkit.errors import DataError, UsageError
from reidkit.train import compare_runs

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "query,path,pid,camid,ap,inp,first_match\n"


def table(path: Path, *rows: str) -> Path:
    path.write_text(HEAD + "\n".join(rows) + "\n")
    return path


def test_three_queries_by_hand(tmp_path: Path) -> None:
    a = table(tmp_path / "a.csv", "0,x/1.jpg,7,1,1,1,1", "1,x/2.jpg,8,1,0.5,0.5,2", "2,x/3.jpg,9,1,,,")
    b = table(tmp_path / "b.csv", "0,y/1.jpg,7,1,0.25,0.5,3", "1,y/2.jpg,8,1,0.5,0.5,2", "2,y/3.jpg,9,1,,,")
    found = compare_runs(a, b)
    assert found.test is not None
    assert (found.test.queries, found.test.ids) == (2, 2)
    assert found.test.differences["map"].difference == pytest.approx(0.375 - 0.75)
    assert found.test.differences["rank1"].difference == -0.5
    assert found.most_different() == [0]
    assert (found.a.name, found.changed) == (str(a), ())


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    a = table(tmp_path / "a.csv", "0,1.jpg,7,1,1,1,1")
    with pytest.raises(DataError, match="are results of different queries"):
        compare_runs(a, table(tmp_path / "b.csv", "0,2.jpg,7,1,1,1,1"))
    with pytest.raises(DataError, match="is not there"):
        compare_runs(a, tmp_path / "c.csv")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").write_text("")
    with pytest.raises(UsageError, match=r"a\.csv is a result of queries and .*run is none: make the other one too"):
        compare_runs(a, tmp_path / "run")
    with pytest.raises(UsageError, match="there is nothing to compare") as error:
        compare_runs(tmp_path / "run", tmp_path / "run")
    assert error.value.argument == "data"


def test_runs_of_one_recipe_say_what_else_they_differ_in(tmp_path: Path) -> None:
    """A student and a plain run have one recipe; so have two seeds, and two training sets."""
    row = '{"kind": "epoch", "epoch": 1, "step": 2, "loss": 1.0}\n'
    facts = {"seed": 0, "precision": "float32", "people": 3, "training_set": "a" * 64, "weights": "none"}
    student = {**facts, "seed": 1, "training_set": "b" * 64 + " streamed", "teacher": "0123456789abcdef"}
    student["terms"] = [["similarity", 1.0, "f_i", ""]]
    for name, value in (("plain", facts), ("student", student)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.jsonl").write_text(row)
        (tmp_path / name / "run.json").write_text(json.dumps(value))
    found = compare_runs(tmp_path / "plain", tmp_path / "student")
    assert found.given == (
        "seed: 0, not 1",
        f"training images: {'a' * 16}, not {'b' * 16} streamed",
        "terms: none, not similarity",
        "teacher: none, not 0123456789abcdef",
    )
    assert compare_runs(tmp_path / "plain", tmp_path / "plain").given == ()
