"""The start of small twins: made once, shared by rows and seeds, and not where weights were given."""

from dataclasses import replace

import pytest

from reidkit import recipe as recipes
from reidkit.errors import UsageError
from reidkit.experiments import measure as starts
from reidkit.experiments.measure import RunOptions, with_starts
from reidkit.experiments.plan import plan_runs
from reidkit.recipes.luo2019.ladder import STRONG, start, started
from reidkit.recipes.luo2019.tables import BACKBONE_SCORES, TABLES, TWINS
from tests.commands import SIZE, settings
from tests.experiments.made import order

OPTIONS = RunOptions(command="reidkit paper table1 --small", device="cpu")
TINY = tuple(settings(SIZE))


@pytest.fixture
def tiny(monkeypatch):
    """Table 1 with twins that start from one epoch on the eight people that can be drawn in a second."""
    monkeypatch.setattr(starts, "IDS", 40)
    monkeypatch.setattr(starts, "CAMERAS", 2)
    short = [*TINY, "optim.epochs=1", "optim.drops=[]", "optim.warmup_epochs=0"]
    twin = replace(TWINS["small"], start=lambda network: recipes.override(start(network), short))
    return replace(TABLES["table1"], twins={"small": twin})


def test_a_start_is_made_once_and_all_rows_begin_with_it(tmp_path, noise, tiny, monkeypatch):
    said = []
    asked = replace(order(tmp_path, size="small", data={"noise": noise}, seeds=2), table=tiny)
    first = with_starts(asked, replace(OPTIONS, say=said.append))
    (file,) = set(first.weights.values())
    assert file.parent.parent == tmp_path / "start"
    assert file.is_file()
    assert "making synthetic people" in said[0]
    runs = plan_runs(first)
    assert len(runs) == 14
    assert {run.weights for run in runs} == {file}

    monkeypatch.setattr(starts, "measure", None)
    monkeypatch.setattr(starts, "synthesize", None)
    assert with_starts(asked, OPTIONS) == first


def test_each_backbone_has_a_start(tmp_path, noise, monkeypatch):
    trained = []
    monkeypatch.setattr(starts, "_trained", lambda recipe, *_: trained.append(recipe.network.backbone) or tmp_path)
    given = {"resnet34": tmp_path / "mine.safetensors"}
    asked = order(tmp_path, "backbones", size="small", data={"noise": noise}, weights=given)
    assert set(with_starts(asked, OPTIONS).weights) == {name for name, _, _ in BACKBONE_SCORES}
    assert trained == [name for name, _, _ in BACKBONE_SCORES if name != "resnet34"]


@pytest.mark.parametrize(
    "changes",
    [{"size": "full"}, {"size": "short"}, {"data": {}}, {"weights": {"": None}}, {"weights": {"resnet18": None}}],
)
def test_no_start_where_none_is_wanted(tmp_path, noise, monkeypatch, changes):
    monkeypatch.setattr(starts, "_trained", None)
    asked = order(tmp_path, **{"size": "small", "data": {"noise": noise}, **changes})
    assert with_starts(asked, OPTIONS) == asked
    assert all(run.weights is None for run in plan_runs(asked))


def test_a_wrong_row_is_said_before_anything_is_trained(tmp_path, noise, monkeypatch):
    monkeypatch.setattr(starts, "_trained", None)
    with pytest.raises(UsageError, match="did you mean warmup"):
        with_starts(order(tmp_path, size="small", data={"noise": noise}, rows=("warmpu",)), OPTIONS)


def test_a_start_has_the_shapes_of_the_twins_that_begin_with_it():
    twin, begun = started(STRONG), start(started(STRONG).network)
    assert (begun.network.backbone, begun.network.width) == (twin.network.backbone, twin.network.width)
    assert twin.optim.lr == STRONG.optim.lr
    assert begun.optim.epochs < twin.optim.epochs
