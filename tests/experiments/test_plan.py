"""Which runs a table needs, and which of them it shares."""

import pytest

from reidkit.errors import UsageError, WeightsError
from reidkit.experiments.plan import Experiment, columns, plan_runs
from reidkit.recipe import digest
from reidkit.recipes import TABLES, by_name
from reidkit.recipes.luo2019.tables import BACKBONE_SCORES
from reidkit.recipes.paper_table import Search
from tests.experiments.made import finish, order


def names(trainings):
    return [one.recipe.name for one in trainings]


def test_a_ladder_is_a_run_for_each_rung(tmp_path):
    assert names(plan_runs(order(tmp_path)))[:3] == ["standard-baseline", "warmup", "erasing"]
    assert len(plan_runs(order(tmp_path, seeds=3))) == 21


def test_rows_that_share_a_training(tmp_path):
    """Table 2 has seven rows and three trainings; Table 4 has two rows of one training, and thirteen other methods."""
    found = plan_runs(order(tmp_path, "table2"))
    assert names(found) == ["last-stride", "bnneck", "l2-neck"]
    assert len(found[1].searches["market1501"]) == 4
    assert found[1].titles == ("f_t, Euclidean", "f_t, cosine", "f_i, Euclidean", "f_i, cosine")
    ours, *methods = plan_runs(order(tmp_path, "table4"))
    assert len(methods) == 13
    assert ours.searches == {"market1501": (Search(), Search(rerank=True))}


def test_tables_share_their_runs(tmp_path):
    """What Tables 5 and 6 call their standard is Table 1's rung with BNNeck; Table 4's is the last one."""
    of_table1 = {one.recipe.name: one.folder for one in plan_runs(order(tmp_path))}
    assert plan_runs(order(tmp_path, "table5", rows=("16x4",)))[0].folder == of_table1["bnneck"]
    assert plan_runs(order(tmp_path, "table6", rows=("256x128",)))[0].folder == of_table1["bnneck"]
    assert plan_runs(order(tmp_path, "table4"))[0].folder == of_table1["strong-baseline"]


def test_a_run_of_another_name_serves(tmp_path):
    """fast-reid's strong baseline has no centre loss, so that its rung with BNNeck is the same recipe."""
    asked = order(tmp_path, interpretation="fast-reid")
    assert len(plan_runs(asked)) == 6  # one training for both, before anything is there, too
    folder = finish(asked, "bnneck", 0, 0.9, 0.8)
    assert [one.folder for one in plan_runs(asked)].count(folder) == 1
    assert len(plan_runs(asked)) == 6
    assert plan_runs(asked)[-1].titles == ("+BNNeck", "+center loss")


def test_a_name_is_that_of_one_recipe(tmp_path):
    """`reidkit train` must make the row of a table whose name it is given, and not another one beside it."""
    named = {name: {digest(recipe)} for name, recipe in by_name().items()}
    for table in TABLES.values():
        for size in ("full", *table.twins):
            experiment = Experiment(table=table, data={}, out=tmp_path, size=size)
            for recipe in filter(None, map(experiment.recipe, table.rows)):
                named.setdefault(recipe.name, set()).add(digest(recipe))
    assert {name for name, digests in named.items() if len(digests) > 1} == set()


def test_across_two_data_sets(tmp_path):
    """A training for each rung and each data set, searched on the other one; the one of Table 1 if it is there."""
    both = {"market1501": tmp_path / "m", "dukemtmc": tmp_path / "d"}
    found = plan_runs(order(tmp_path, "table3", data=both))
    assert len(found) == 16
    assert {(one.data, *one.searches) for one in found} == {("market1501", "dukemtmc"), ("dukemtmc", "market1501")}
    assert found[0].folder == plan_runs(order(tmp_path))[0].folder


def test_columns():
    table1, table3 = TABLES["table1"], TABLES["table3"]
    assert [column.name for column in columns(table1, {})] == ["market1501", "dukemtmc"]
    assert [column.name for column in columns(table1, {"dukemtmc": 0})] == ["market1501", "dukemtmc"]
    assert [column.name for column in columns(table1, {"mine": 0})] == ["mine"]
    assert [column.name for column in columns(table3, {"market1501": 0})] == [
        "market1501>dukemtmc",
        "dukemtmc>market1501",
    ]
    assert [(column.train, column.test) for column in columns(table3, {"b": 0, "a": 0})] == [("b", "a"), ("a", "b")]
    with pytest.raises(UsageError, match="a second one, NAME=DIR"):
        columns(table3, {"mine": 0})
    with pytest.raises(UsageError, match="not 3"):
        columns(table3, {"a": 0, "b": 0, "c": 0})


def test_weights_make_another_run(tmp_path):
    plain = plan_runs(order(tmp_path))[0]
    (tmp_path / "r50").write_bytes(b"weights")
    (tmp_path / "other").write_bytes(b"others")
    begun = {plan_runs(order(tmp_path, weights={"": tmp_path / name}))[0].folder.name for name in ("r50", "other")}
    assert len({*begun, plain.folder.name}) == 3
    by_name = plan_runs(order(tmp_path, "backbones", weights={"resnet50": tmp_path / "r50"}))
    assert [(one.recipe.network.backbone, one.weights is not None) for one in by_name] == [
        (name, name == "resnet50") for name, _, _ in BACKBONE_SCORES
    ]
    with pytest.raises(WeightsError, match=r"gone cannot be read \(No such file"):
        plan_runs(order(tmp_path, weights={"": tmp_path / "gone"}))


def test_settings_of_what_rows_differ_in_are_refused(tmp_path):
    """Else two rows stand side by side as two measurements, and are one run."""
    said = r"8x3 and 16x3 of table5 differ only in what is set by batch.ids=4: leave that out, or name one of them"
    with pytest.raises(UsageError, match=said):
        plan_runs(order(tmp_path, "table5", settings=("batch.ids=4",)))
    said = r"standard-baseline and warmup of table1 differ only in what is set by optim.warmup_epochs=1: leave"
    with pytest.raises(UsageError, match=said):
        plan_runs(order(tmp_path, settings=("optim.lr=1e-4", "optim.warmup_epochs=1")))
    assert len(plan_runs(order(tmp_path, "table5", settings=("batch.ids=4",), rows=("8x3", "16x4")))) == 2
    assert len(plan_runs(order(tmp_path, settings=("optim.warmup_epochs=1",), rows=("warmup", "erasing")))) == 2
    fast_reid = order(tmp_path, interpretation="fast-reid", settings=("optim.lr=1e-4",))
    assert len(plan_runs(fast_reid)) == 6  # two rows that are one run without the setting, too


def test_readings_and_settings_make_other_runs_and_other_files(tmp_path):
    asked = [
        order(tmp_path),
        order(tmp_path, interpretation="official-code"),
        order(tmp_path, size="small"),
        order(tmp_path, settings=("optim.epochs=2", "optim.drops=[1]")),
    ]
    assert len({plan_runs(one)[-1].folder for one in asked}) == 4
    assert len({one.name for one in asked}) == 4
    assert [one.name for one in asked[:3]] == ["table1", "table1-official-code", "table1-small"]


def test_rows_that_are_not_there(tmp_path):
    with pytest.raises(UsageError, match="no row ersing; did you mean erasing"):
        plan_runs(order(tmp_path, rows=("ersing",)))
    with pytest.raises(UsageError, match=r"pcb is only shown as published: name .* here, ours, .*pcb-plugin"):
        plan_runs(order(tmp_path, "table4", rows=("pcb",)))


def test_no_data_no_runs(tmp_path):
    assert plan_runs(order(tmp_path, data={})) == []
