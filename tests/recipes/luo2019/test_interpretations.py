"""Each reading against its description, and what all of them leave alone."""

import pytest

from reidkit import recipe as recipes
from reidkit.errors import UsageError
from reidkit.recipes import get_recipe
from reidkit.recipes.luo2019.interpretations import INTERPRETATIONS, POINTS, interpret, leaf
from reidkit.recipes.luo2019.ladder import ROWS

STRONG = get_recipe("strong-baseline")


def changes(reading, recipe=STRONG):
    return {text.split(":")[0] for text in recipes.differences(interpret(recipe, reading), recipe)}


def test_paper_text():
    assert changes("paper-text") == {"erasing.fill", "erasing.aspect", "identity.init", "center.form"}
    found = interpret(STRONG, "paper-text")
    assert (found.erasing.fill, found.center.form, found.identity.init) == ("image-mean", "paper", "kaiming")


def test_official_code():
    assert changes("official-code") == {"network.stem_relu", "optim.warmup"}


def test_fast_reid():
    found = interpret(STRONG, "fast-reid")
    assert found.center.weight == 0
    assert found.images.resize == "bicubic"
    assert (found.erasing.area, found.erasing.aspect, found.erasing.aspect_draw) == ((0.02, 0.33), (0.3, 3.3), "log")
    assert (found.erasing.fill, found.erasing.probability) == ("imagenet-mean", 0.5)
    assert (found.identity.std, found.identity.smoothing_over, found.identity.smoothing) == (0.01, "others", 0.1)
    assert (found.optim.warmup_epochs, found.optim.warmup_steps, found.optim.drops) == (0, 2000, (49, 99))


def test_fast_reid_of_a_short_run():
    """24 epochs with 2 of warm-up: drops at the same shares of the run, 200 steps for each epoch of the warm-up."""
    found = interpret(get_recipe("short-strong-baseline"), "fast-reid")
    assert (found.optim.drops, found.optim.warmup_steps) == ((9, 19), 400)


def test_the_drops_of_a_very_short_run_still_rise():
    """Of 2 epochs, 50 and 100 of 120 are 1 and 2, less one: at least 1, and the second behind the first."""
    assert interpret(recipes.override(STRONG, ["optim.epochs=2", "optim.drops=[]"]), "fast-reid").optim.drops == (1, 2)


@pytest.mark.parametrize("reading", INTERPRETATIONS)
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_no_rung_loses_or_gains_a_trick(reading, row):
    """fast-reid's has no centre loss; else what is switched on stays on, and what is off stays off."""
    found = interpret(row.recipe, reading)
    assert found.name == row.recipe.name
    assert found.network.neck == row.recipe.network.neck
    assert found.network.last_stride == row.recipe.network.last_stride
    assert found.erasing.probability == row.recipe.erasing.probability
    assert found.identity.smoothing == row.recipe.identity.smoothing
    warmed = bool(found.optim.warmup_epochs or found.optim.warmup_steps)
    assert warmed == bool(row.recipe.optim.warmup_epochs)
    assert interpret(found, reading) == found


def test_points_name_fields_that_exist_and_values_they_take():
    for point in POINTS:
        assert set(point.values) <= set(INTERPRETATIONS)
        assert bool(point.key) != bool(point.where)
        if point.key:
            leaf(STRONG, point.key)


def test_an_unknown_reading():
    with pytest.raises(UsageError, match="no interpretation fastreid; did you mean fast-reid"):
        interpret(STRONG, "fastreid")
    with pytest.raises(UsageError, match="choose paper-text, official-code, fast-reid"):
        interpret(STRONG, "zzz")
