"""The numbers of a table by hand."""

import math

import pytest

from reidkit.experiments.measure import DatasetDigest
from reidkit.experiments.results import Score, collect_results
from tests.experiments.made import MARKET, OTHER, finish, order

KNOWN = {"market1501": MARKET}


def row(sheet, name):
    return next(one for one in sheet.rows if one.name == name)


def test_seeds_by_hand():
    """0.93, 0.94 and 0.95: mean 0.94, deviation 0.01; 0.945 is inside, 0.96 and 0.92 are not."""
    values = (0.93, 0.94, 0.95)
    score = Score(paper=0.945, values=values, parent=0.9)
    assert score.mean == pytest.approx(0.94)
    assert score.deviation == pytest.approx(0.01)
    assert score.difference == pytest.approx(-0.005)
    assert score.change == pytest.approx(0.04)
    assert score.inside is True
    assert Score(paper=0.96, values=values).inside is False
    assert Score(paper=0.92, values=values).inside is False


def test_what_cannot_be_said():
    assert Score(paper=0.9).mean is None
    assert Score(paper=0.9).difference is None
    one = Score(paper=0.9, values=(0.9,))
    assert (one.deviation, one.inside, one.difference) == (None, None, 0.0)
    assert Score(values=(0.9,)).difference is None


def test_beside_the_paper(tmp_path):
    asked = order(tmp_path, seeds=2)
    for seed, rank1 in enumerate((0.94, 0.95)):
        finish(asked, "strong-baseline", seed, rank1, 0.85)
    finish(asked, "bnneck", 0, 0.93, 0.84)
    sheet = collect_results(asked, KNOWN, {})
    assert [column.name for column in sheet.columns] == ["market1501", "dukemtmc"]
    assert sheet.compared == (True, True)
    market, duke = row(sheet, "strong-baseline").cells
    assert market.rank1.paper == 0.945
    assert market.rank1.mean == pytest.approx(0.945)
    assert market.rank1.inside is True
    assert market.map.inside is False  # 0.85 twice, deviation 0, published 0.859
    assert market.map.change == pytest.approx(0.01)
    assert (duke.rank1.paper, duke.rank1.mean, duke.runs) == (0.864, None, ())
    assert len(row(sheet, "bnneck").cells[0].rank1.values) == 1
    assert any("dukemtmc is not measured" in note and "--data dukemtmc=DIR" in note for note in sheet.notes)


def test_a_row_that_is_one_run_with_another_by_a_setting_shows_nothing(tmp_path):
    asked = order(tmp_path, settings=("optim.warmup_epochs=1",), rows=("standard-baseline",))
    finish(asked, "standard-baseline", 0, 0.9, 0.8)
    sheet = collect_results(asked, KNOWN, {})
    assert row(sheet, "standard-baseline").cells[0].rank1.values == (0.9,)
    assert row(sheet, "warmup").cells[0].rank1.values == ()
    assert row(sheet, "warmup").search == "f, euclidean"


def test_no_comparison_where_there_is_none(tmp_path):
    """Another data set, one of that name with other images, a twin, or changed settings."""
    other = {"market1501": DatasetDigest("market1501", "trained", "tested", False)}
    for asked, known in (
        (order(tmp_path, data={"other": tmp_path}), {"other": OTHER}),
        (order(tmp_path), other),
        (order(tmp_path, size="small"), KNOWN),
        (order(tmp_path, settings=("optim.epochs=60",)), KNOWN),
    ):
        sheet = collect_results(asked, known, {})
        assert not sheet.compared[0]
        assert row(sheet, "warmup").cells[0].rank1.paper is None
        assert any("Not comparable" in note for note in sheet.notes)
    assert collect_results(order(tmp_path, interpretation="official-code"), KNOWN, {}).compared[0]


@pytest.mark.parametrize(
    ("table", "size", "settings", "words"),
    [
        ("table1", "small", (), "half the size, 40 epochs; from scratch."),
        ("table1", "short", (), "half the size, 24 epochs."),
        ("table1", "small", ("optim.epochs=2",), "half the size, 2 epochs; from scratch."),
        ("beyond", "short", ("optim.epochs=1",), "images of 128x64, 1 epoch."),
    ],
)
def test_the_note_of_twins_says_how_long_they_are_trained(tmp_path, table, size, settings, words):
    notes = collect_results(order(tmp_path, table, size=size, settings=settings), KNOWN, {}).notes
    place = next(i for i, note in enumerate(notes) if note.endswith(words))
    assert notes[place].count(" epoch") == 1
    assert not settings or notes[place + 1] == f"Changed by --set: {settings[0]}."


def test_rows_of_others_stand_only_beside_what_compares(tmp_path):
    assert len(collect_results(order(tmp_path, "table4"), KNOWN, {}).rows) == 40
    assert [one.name for one in collect_results(order(tmp_path, "table4", size="small"), KNOWN, {}).rows][:2] == [
        "ours",
        "ours-rk",
    ]
    pcb = row(collect_results(order(tmp_path, "table4"), KNOWN, {}), "pcb")
    assert (pcb.search, pcb.recipe, pcb.cells[0].rank1.paper) == ("as published", None, 0.938)


def test_a_parent_may_stand_below_its_child(tmp_path):
    """In Table 5 the row 8x3 changes 8x4, the next one, and in that of the backbones ResNet-18 changes ResNet-50."""
    asked = order(tmp_path, "table5")
    finish(asked, "8x3", 0, 0.9, 0.7)
    finish(asked, "8x4", 0, 0.92, 0.8)
    changes = [row(collect_results(asked, KNOWN, {}), name).cells[0].map.change for name in ("8x3", "8x4")]
    assert changes == [pytest.approx(-0.1), None]


def test_rows_that_are_not_asked_for_show_what_is_there(tmp_path):
    """One call trains two rows with two seeds, a later one another row: nothing is lost, and nothing is missing."""
    first = order(tmp_path, seeds=2)
    for seed in (0, 1):
        finish(first, "warmup", seed, 0.9, 0.8)
    later = order(tmp_path, rows=("erasing",))
    sheet = collect_results(later, KNOWN, {})
    assert len(row(sheet, "warmup").cells[0].runs) == 2
    assert len(row(sheet, "erasing").cells[0].runs) == 1
    assert row(sheet, "smoothing").cells[0].runs == ()


def test_one_training_many_searches(tmp_path):
    asked = order(tmp_path, "table2")
    folder = finish(asked, "ft-cosine", 0, 0.5, 0.4)
    assert finish(asked, "fi-euclidean", 0, 0.6, 0.5) == folder
    sheet = collect_results(asked, KNOWN, {})
    assert row(sheet, "ft-cosine").cells[0].rank1.values == (0.5,)
    assert row(sheet, "fi-euclidean").cells[0].rank1.values == (0.6,)
    assert row(sheet, "fi-cosine").cells[0].rank1.values == ()
    assert [one.search for one in sheet.rows][:3] == ["f, euclidean", "f_t, euclidean", "f_t, cosine"]


def test_scores_of_other_images_do_not_count(tmp_path):
    asked = order(tmp_path)
    for before in (
        DatasetDigest("market1501", "trained", "before", True),
        DatasetDigest("market1501", "before", "tested", True),
    ):
        finish(asked, "warmup", 0, 0.9, 0.8, before)
        assert row(collect_results(asked, KNOWN, {}), "warmup").cells[0].rank1.values == ()


def test_damaged_scores_are_no_scores(tmp_path):
    asked = order(tmp_path)
    folder = finish(asked, "warmup", 0, 0.9, 0.8)
    (folder / "scores.json").write_text('{"scores": {"market')
    assert row(collect_results(asked, KNOWN, {}), "warmup").cells[0].rank1.values == ()


def test_failures_stand_in_their_cells(tmp_path):
    asked = order(tmp_path)
    folder = finish(asked, "warmup", 0, 0.9, 0.8)
    cell = row(collect_results(asked, KNOWN, {folder: "the loss is no number"}), "warmup").cells[0]
    assert cell.failed == "the loss is no number"
    found = collect_results(asked, KNOWN, {folder: "the loss is no number"}).as_json()["rows"][1]["results"][
        "market1501"
    ]
    assert found["failed"] == "the loss is no number"
    assert found["rank1"]["mean"] == 0.9
    assert not math.isnan(found["map"]["difference"])
