r"""What a terminal obeys is never printed: \x1b]0;...\x07 sets its title, U+202E turns a name around."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reidkit.cli import output
from reidkit.errors import DataError, UsageError
from reidkit.terminal import counted, harmless, harmless_lines, visible
from reidkit.train.run_folder import default_folder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Nursery

EVIL = "\x1b]0;pwned\x07\r\nreidkit: all is well\x9b31m\u202egnp.\u2028\x7f\udcff"
SHOWN = r"\x1b]0;pwned\x07\r\nreidkit: all is well\x9b31m\u202egnp.\u2028\x7f\udcff"


def test_by_hand() -> None:
    assert harmless("plain name (1).jpg") == "plain name (1).jpg"
    assert harmless("人 naïve ترجمة 🙂") == "人 naïve ترجمة 🙂"
    assert harmless(EVIL) == SHOWN
    assert harmless(SHOWN) == SHOWN
    assert harmless_lines("a\tb\nc") == "a\\tb\nc"
    assert visible(EVIL) == SHOWN.replace(r"\r\n", "\\r\n")
    assert visible(3) == 3


@given(st.text(st.characters(exclude_categories=[])))
def test_the_result_can_be_printed_in_one_line_and_stays_as_it_is(text: str) -> None:
    found = harmless(text)
    assert found.isprintable()
    assert harmless(found) == found


def test_what_is_printed_and_raised(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_line(EVIL)
    output.print_table(("name",), [(EVIL,), ("a",)])
    output.print_json({EVIL: EVIL})
    output.remark(EVIL)
    out, err = capsys.readouterr()
    assert err == f"{SHOWN}\n"
    first, head, row, last, *text = out.splitlines()
    assert (first, head, row, last) == (SHOWN, "name", SHOWN, "a")
    assert json.loads("\n".join(text)) == {EVIL: EVIL}
    assert all(line.isprintable() for line in text)
    assert str(DataError(f"{EVIL} is not there")) == f"{SHOWN} is not there"


def test_names_of_files_tables_and_metadata(nursery: Nursery, tmp_path: Path) -> None:
    """No line and no byte of the output is theirs, wherever the name comes from."""
    evil = EVIL.replace("\udcff", "")
    shown = SHOWN.replace("\\udcff", "")
    for person in ("a", "b"):
        (tmp_path / "set" / person).mkdir(parents=True)
        (tmp_path / "set" / person / f"{evil}_c1.jpg").write_text("x")
    (tmp_path / "t.csv").write_text(f'path,pid,camid,split\nt.csv,1,"{evil}",train\n', newline="")
    weights = {"__metadata__": {"format": "reidkit/1", "recipe": json.dumps({evil: 1})}}
    header = json.dumps(weights | {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    (tmp_path / "r.json").write_text(json.dumps({"name": evil, evil: 1}))
    (tmp_path / f"{evil}.npz").write_text("x")
    for words in (
        ("data", tmp_path / "set"),
        ("data", tmp_path / "t.csv"),
        ("evaluate", tmp_path / "m.safetensors", "--data", tmp_path / "set"),
        ("train", tmp_path / "r.json", "--data", tmp_path / "set"),
        ("score", tmp_path / f"{evil}.npz", tmp_path / f"{evil}.npz"),
        ("data", tmp_path / evil),
    ):
        result = nursery.run(*words)
        assert result.status in (1, 2)
        assert "Traceback" not in result.err
        assert all(letter == "\n" or letter.isprintable() for letter in result.out + result.err), words
        assert not any(line.startswith("reidkit: all") for line in result.err.splitlines())
    broken = nursery.run("data", tmp_path / "set").err
    assert f"{shown}_c1.jpg: is not an image" in broken


@pytest.mark.parametrize(
    "name", ["../../escape", "/absolute/x", "a\0b", "a\\b", "C:x", ".hidden", "..", "x" * 201, "\u202ea", "a\nb"]
)
def test_a_recipe_does_not_choose_where_its_run_lies(name: str) -> None:
    from reidkit.recipe import Recipe

    with pytest.raises(
        UsageError, match=r"cannot be a folder's: name a folder as out, or set another name|name must be one line"
    ):
        default_folder(Recipe(name=name), 0)


@pytest.mark.parametrize("name", ["strong-baseline", "mine (2)", "人", "a.b+c=d"])
def test_other_names_of_recipes_do(name: str) -> None:
    from reidkit.recipe import Recipe

    assert os.fspath(default_folder(Recipe(name=name), 3)) == f"runs/{name}-seed3"


def test_one_of_a_thing_has_no_s() -> None:
    assert [counted(n, "id") for n in (0, 1, 2)] == ["0 ids", "1 id", "2 ids"]
    assert [counted(n, "query", "queries") for n in (1, 2)] == ["1 query", "2 queries"]
