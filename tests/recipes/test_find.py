from __future__ import annotations

import json
from pathlib import Path

import pytest

from reidkit.errors import UsageError
from reidkit.recipes import get_recipe


def test_a_file_or_the_folder_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps({"name": "mine", "batch": {"ids": 3}}))
    assert get_recipe(str(tmp_path / "recipe.json")).batch.ids == 3
    assert get_recipe(str(tmp_path)).name == "mine"


def test_a_name_comes_before_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("strong-baseline").write_text("{}")
    assert get_recipe("strong-baseline").network.neck == "bnneck"


def test_settings_alone_are_no_recipe() -> None:
    with pytest.raises(UsageError, match=r"a dict is no recipe: pass a name"):
        get_recipe({"optim.epochs": 1})  # type: ignore[arg-type]


def test_a_folder_without_a_recipe(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"recipe\.json cannot be read"):
        get_recipe(str(tmp_path))
    with pytest.raises(UsageError, match=r"nosuch\.json cannot be read"):
        get_recipe(str(tmp_path / "nosuch.json"))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("strong", "did you mean strong-baseline?"),
        ("Strong_Baseline", "did you mean strong-baseline?"),
        ("small", "did you mean small-"),
        ("bnnek", "did you mean bnneck?"),
        ("vgg_x1_0", "`reidkit recipes` lists them"),
        ("", "`reidkit recipes` lists them"),
        ("a" * 5000, "`reidkit recipes` lists them"),
    ],
)
def test_a_name_that_is_none_ends_in_one_that_is(name: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        get_recipe(name)
    assert remedy in str(caught.value)
    assert len(str(caught.value)) < 200
