"""The tables of the paper as ladders: every row is its parent with one change."""

import pytest

from reidkit import recipe as recipes
from reidkit.recipes import get_recipe
from reidkit.recipes.luo2019.ladder import started
from reidkit.recipes.luo2019.tables import BACKBONE_SCORES, TABLES

LINES = [(table, line) for table in TABLES.values() for line in table.rows]
NAMES = [f"{table.name}-{line.name}" for table, line in LINES]


def leaves(ours, theirs):
    return [text.split(":")[0] for text in recipes.differences(ours, theirs)]


@pytest.mark.parametrize(("table", "line"), LINES, ids=NAMES)
def test_a_row_is_its_parent_with_one_change(table, line):
    """One field of the recipe, or one of the search. 224 x 224 is one size, which two fields name."""
    if not line.parent:
        return
    parent = next(other for other in table.rows if other.name == line.parent)
    changed = leaves(line.recipe, parent.recipe)
    if line.name == "224x224":
        assert changed == ["images.height", "images.width"]
    elif changed:
        assert len(changed) == 1
    else:
        assert line.search != parent.search
        assert line.name in ("ft-cosine", "fi-euclidean", "fi-cosine")


def test_every_measured_row_has_a_parent_but_the_roots():
    roots = {line.name for _, line in LINES if line.recipe and not line.parent and not line.name.endswith("-plugin")}
    assert roots == {"standard-baseline", "without-bnneck", "ours", "ours-rk", "16x4", "256x128", "resnet50"}


def test_recipes_have_one_meaning():
    """A name is one recipe in all tables, so that their runs can be shared, and it can be trained by its name."""
    by_name = {}
    for _, line in LINES:
        if line.recipe:
            assert by_name.setdefault(line.recipe.name, line.recipe) == line.recipe
            assert get_recipe(line.recipe.name) == line.recipe
    assert len({recipes.digest(recipe) for recipe in by_name.values()}) == len(by_name)


def test_rows_and_figures_of_the_paper():
    counts = {name: len(table.rows) for name, table in TABLES.items()}
    assert counts == {"table1": 7, "table2": 7, "table3": 8, "table4": 40, "table5": 10, "table6": 4, "backbones": 9}
    rows = {f"{table.name} {line.name}": line.published for table, line in LINES}
    assert rows["table2 ft-euclidean"] == {"market1501": (0.942, 0.855), "dukemtmc": (0.857, 0.744)}
    assert rows["table3 strong-without-erasing"] == {
        "market1501>dukemtmc": (0.414, 0.257),
        "dukemtmc>market1501": (0.543, 0.255),
    }
    assert rows["table4 ours-rk"] == {"market1501": (0.954, 0.942), "dukemtmc": (0.903, 0.891)}
    assert rows["table4 triNet".lower()] == {"market1501": (0.849, 0.691)}
    assert rows["table5 32x3"] == {"market1501": (0.945, 0.841), "dukemtmc": (0.860, 0.714)}
    assert rows["backbones resnet50-ibn-a"] == {"market1501": (0.950, 0.882), "dukemtmc": (0.901, 0.791)}


def test_rows_that_the_paper_prints_twice_agree():
    """Table 2's first and fifth row are Table 1's, its fourth is in Tables 5 and 6, and Table 4 ends with Table 1."""
    rows = {f"{table.name} {line.name}": line for table, line in LINES}
    for one, other in (
        ("table2 without-bnneck", "table1 last-stride"),
        ("table2 fi-cosine", "table1 bnneck"),
        ("table2 fi-euclidean", "table5 16x4"),
        ("table5 16x4", "table6 256x128"),
        ("table4 ours", "table1 strong-baseline"),
        ("backbones resnet50", "table4 ours"),
    ):
        first, second = rows[one], rows[other]
        assert (first.published, first.recipe, first.search) == (second.published, second.recipe, second.search)


def test_twins():
    """Half the size of every image; the backbone only where it is not what the table is about."""
    sizes = [TABLES["table6"].twin(line.recipe, "short").images for line in TABLES["table6"].rows]
    assert [(size.height, size.width, size.pad) for size in sizes] == [
        (128, 64, 5),
        (112, 112, 5),
        (192, 64, 5),
        (192, 96, 5),
    ]
    strong = TABLES["table1"].rows[-1].recipe
    assert TABLES["table1"].twin(strong, "full") is strong
    assert TABLES["table1"].twin(strong, "small") == started(strong)
    assert TABLES["table1"].twin(strong, "short") == get_recipe("short-strong-baseline")
    narrow = [TABLES["backbones"].twin(line.recipe, "small") for line in TABLES["backbones"].rows if line.recipe]
    assert [recipe.network.backbone for recipe in narrow] == [name for name, _, _ in BACKBONE_SCORES]
    assert {recipe.network.width for recipe in narrow} == {0.25}
