from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

from reidkit.cli.recipes import recipes
from reidkit.recipes import ROWS


def test_the_list_fits_80_columns_and_leaves_nothing_out(capsys: pytest.CaptureFixture[str]) -> None:
    recipes()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line for line in lines if line.startswith("  ") and not line.startswith("    ")]
    assert [line.split()[0] for line in rows if line.split()[0] != "recipe"] == [row.name for row in ROWS]
    strong = next(line for line in lines if line.startswith("  strong-baseline "))
    assert strong.split() == ["strong-baseline", "+center", "loss", "94.5", "85.9", "86.4", "76.4"]
    assert "resnet50, 256x128, 120 epochs:" in lines


def test_notes_say_which_part_of_msmt17_was_trained_on(capsys: pytest.CaptureFixture[str]) -> None:
    recipes()
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("    vit-base: MSMT17 81.8 / 61.8. TransReID's baseline; MSMT17 on train and val.")
    assert lines[at - 1].split()[0] == "vit-base"
    recipes(as_json=True)
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)["recipes"]}
    assert listed["agw"]["published"]["msmt17"] == {"rank1": 0.683, "map": 0.493}
    assert {name: row["note"] for name, row in listed.items()} == {row.name: row.note for row in ROWS}
