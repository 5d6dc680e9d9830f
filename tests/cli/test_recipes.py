from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

from reidkit.cli.recipes import recipes
from reidkit.recipes import ROWS


def test_the_list_fits_80_columns_and_leaves_nothing_out(capsys: pytest.CaptureFixture[str]) -> None:
    recipes()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if line.startswith("  ") and line.split()[0] != "recipe"] == [
        row.name for row in ROWS
    ]
    strong = next(line for line in lines if line.startswith("  strong-baseline "))
    assert strong.split() == ["strong-baseline", "+center", "loss", "94.5", "85.9", "86.4", "76.4"]
    assert "resnet50, 256x128, 120 epochs:" in lines
