from __future__ import annotations

import dataclasses
import json
from itertools import pairwise

import pytest

from reidkit import recipe as recipes
from reidkit.errors import UsageError
from reidkit.recipe import Recipe
from reidkit.recipes import get_recipe
from reidkit.recipes.luo2019.ladder import ROWS, SMALL, TABLE1

SECTIONS = [field.name for field in dataclasses.fields(Recipe) if field.name != "name"]
SWITCHES = {
    "warmup": lambda r: r.optim.warmup_epochs > 0,
    "erasing": lambda r: r.erasing.probability,
    "smoothing": lambda r: r.identity.smoothing,
    "stride": lambda r: r.network.last_stride,
    "neck": lambda r: r.network.neck,
    "center": lambda r: r.center.weight,
}


def changed_leaves(child: Recipe, parent: Recipe) -> list[str]:
    return [line.partition(":")[0] for line in recipes.differences(child, parent)]


@pytest.mark.parametrize(("parent", "child"), list(pairwise(TABLE1)), ids=[row.title for row in TABLE1[1:]])
def test_a_rung_is_its_parent_with_one_change(parent, child):
    assert len(changed_leaves(child.recipe, parent.recipe)) == 1


def test_the_ladder_of_the_paper():
    """Table 1: warm-up of 10 epochs, erasing at 0.5, smoothing 0.1, stride 1, BNNeck, centre loss at 0.0005."""
    rungs = [recipes.differences(child.recipe, parent.recipe)[0] for parent, child in pairwise(TABLE1)]
    assert rungs == [
        "optim.warmup_epochs: 10, not 0",
        "erasing.probability: 0.5, not 0.0",
        "identity.smoothing: 0.1, not 0.0",
        "network.last_stride: 1, not 2",
        "network.neck: bnneck, not none",
        "center.weight: 0.0005, not 0.0",
    ]


def test_published_scores_rise_and_are_fractions():
    for scores in ([row.published[data] for row in TABLE1] for data in ("market1501", "dukemtmc")):
        known = [score for score in scores if score]
        assert len(known) == len(TABLE1)
        assert known == sorted(known)
        assert all(0.5 < value < 1 for score in known for value in score)


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("row", range(len(TABLE1)), ids=[row.title for row in TABLE1])
def test_every_twin_switches_what_its_rung_does(switch, row):
    title, rung = TABLE1[row].title, TABLE1[row].recipe
    twins = [each.recipe for each in ROWS if each.title == title and each.recipe != rung]
    assert len(twins) >= 2
    for twin in twins:
        assert SWITCHES[switch](twin) == SWITCHES[switch](rung), twin.name


def test_small_twins_are_a_ladder_too():
    for parent, child in pairwise(SMALL):
        assert len(changed_leaves(child.recipe, parent.recipe)) == 1


def test_names_are_unique_and_found():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert all(get_recipe(row.recipe.name) is row.recipe for row in ROWS)


def test_every_recipe_passes_its_own_check():
    for row in ROWS:
        assert recipes.from_json(recipes.to_json(row.recipe)) == row.recipe


def test_drops_lie_within_the_epochs():
    for row in ROWS:
        assert max(row.recipe.optim.drops) < row.recipe.optim.epochs
        assert row.recipe.optim.warmup_epochs < min(row.recipe.optim.drops)


def test_a_misspelt_name_is_met_with_the_nearest():
    with pytest.raises(UsageError, match=r"there is no recipe strong-basline; did you mean strong-baseline\?"):
        get_recipe("strong-basline")
    with pytest.raises(UsageError, match="`reidkit recipes` lists them"):
        get_recipe("qqqqq")


def test_a_file_without_its_suffix_is_met_with_the_file(tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(recipes.to_json(get_recipe("warmup"))))
    with pytest.raises(UsageError, match=r"there is no recipe .*mine; did you mean the file .*mine\.json\?"):
        get_recipe(tmp_path / "mine")
    assert get_recipe(tmp_path / "mine.json") == get_recipe("warmup")
