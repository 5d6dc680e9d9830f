"""Another paper than the first, defined here and nowhere else: two rows on a data set of its own."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest

from reidkit import recipe as recipes
from reidkit.errors import UsageError
from reidkit.experiments.grid import make_table
from reidkit.experiments.measure import DatasetDigest, RunOptions
from reidkit.experiments.plan import Experiment, columns
from reidkit.experiments.results import collect_results
from reidkit.recipe import Recipe
from reidkit.recipes import TABLES, get_recipe
from reidkit.recipes.paper_table import Row, Table, Twin
from tests.commands import SIZE, settings

PLAIN = recipes.override(Recipe(name="plain"), settings(SIZE))
SMOOTHED = replace(PLAIN, name="smoothed", identity=replace(PLAIN.identity, smoothing=0.1))


def half(recipe):
    return replace(recipe, name=f"half-{recipe.name}", network=replace(recipe.network, width=recipe.network.width / 2))


TABLE = Table(
    name="smith2021",
    title="Smith 2021, Table 1: label smoothing",
    rows=(
        Row(name="plain", title="Plain", recipe=PLAIN, published={"noise": (0.5, 0.4)}),
        Row(name="smoothed", title="+LS", recipe=SMOOTHED, parent="plain", published={"noise": (0.6, 0.5)}),
        Row(name="others", title="Others", published={"noise": (0.4, 0.3)}),
    ),
    notes=("Made up.",),
    datasets=("noise", "snow"),
    twins={"half": Twin(make=half, words="Networks of half the width")},
)
OPTIONS = RunOptions(command="reidkit paper smith2021", device="cpu")


def test_its_table_is_trained_and_written_in_every_format(tmp_path, noise):
    table = make_table(Experiment(table=TABLE, data={"noise": noise}, out=tmp_path), OPTIONS)
    assert table.failures == {}
    assert [row.name for row in table.rows] == ["plain", "smoothed"]  # nobody published scores of these images
    plain, smoothed = (row.cells[0] for row in table.rows)
    assert smoothed.map.change == pytest.approx(smoothed.map.mean - plain.map.mean)
    assert "snow is not measured: give --data snow=DIR." in table.notes
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        f"smith2021.{ending}" for ending in ("txt", "json", "csv", "md", "tex", "html")
    }
    assert json.loads((tmp_path / "smith2021.json").read_text()) == table.as_json()
    with (tmp_path / "smith2021.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * 2 * 2  # rows, data sets, scores
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_published_scores_stand_beside_its_own_data_set(tmp_path):
    digests = {"noise": DatasetDigest("noise", "trained", "tested", official=True)}
    table = collect_results(Experiment(table=TABLE, data={"noise": tmp_path}, out=tmp_path), digests, {})
    assert [row.cells[0].rank1.paper for row in table.rows] == [0.5, 0.6, 0.4]


def test_its_twins_and_its_columns(tmp_path):
    half_size = Experiment(table=TABLE, data={"noise": tmp_path}, out=tmp_path, size="half")
    assert half_size.recipe(TABLE.rows[0]) == half(PLAIN)
    assert half_size.name == "smith2021-half"
    assert "Networks of half the width, 3 epochs." in collect_results(half_size, {}, {}).notes
    with pytest.raises(UsageError, match="smith2021 has no small twins: choose full, half"):
        replace(half_size, size="small").recipe(TABLE.rows[0])
    with pytest.raises(UsageError, match="no interpretations"):
        replace(half_size, interpretation="paper-text").recipe(TABLE.rows[0])
    across = replace(TABLE, cross=True)
    assert [column.name for column in columns(across, {"snow": tmp_path})] == ["noise>snow", "snow>noise"]


def test_its_recipes_are_found_once_its_tables_are_listed(monkeypatch):
    with pytest.raises(UsageError, match="no recipe smoothed"):
        get_recipe("smoothed")
    monkeypatch.setitem(TABLES, TABLE.name, TABLE)
    assert get_recipe("smoothed") == SMOOTHED
