"""Figure 1: published points as they are printed, and measured ones as they are given."""

import json

import pytest

from reidkit.errors import DataError, UsageError
from reidkit.experiments.luo2019 import methods


def test_points_as_printed():
    """Table 4 has 20 rows on Market-1501, 5 of them without DukeMTMC-reID; Table 1 gives both baselines on both."""
    points = methods.published()
    by_name = {(point.name, point.dataset): point for point in points}
    assert len(points) == len(by_name) == 20 + 15 + 4
    ours = by_name["strong baseline", "market1501"]
    assert (ours.rank1, ours.map, ours.source) == (0.945, 0.859, "Table 1")
    awtl = by_name["AWTL", "dukemtmc"]
    assert (awtl.rank1, awtl.map, awtl.kind, awtl.source) == (0.798, 0.634, "global", "Table 4")
    assert {point.kind for point in points} == {*methods.KINDS, "standard", "ours"}


@pytest.mark.parametrize(
    ("text", "name", "dataset", "scores"),
    [
        ("ours=94.1,85.7", "ours", "market1501", (0.941, 0.857)),
        ("dukemtmc:a=b, c=86,76.5", "a=b, c", "dukemtmc", (0.86, 0.765)),
        ("$x_{=100,0", "$x_{", "market1501", (1.0, 0.0)),
    ],
)
def test_measured_points(text, name, dataset, scores):
    point = methods.measured(text)
    assert (point.name, point.dataset) == (name, dataset)
    assert (point.rank1, point.map) == pytest.approx(scores)


def test_a_run_gives_its_last_scores(tmp_path):
    rows = [{"kind": "scores", "epoch": n, "step": n, "rank1": n / 10, "map": n / 20} for n in (1, 4, 3)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))
    point = methods.measured(f"dukemtmc:{tmp_path}")
    assert (point.name, point.dataset, point.rank1, point.map) == (tmp_path.name, "dukemtmc", 0.4, 0.2)
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(DataError, match="no scores"):
        methods.measured(str(tmp_path))


@pytest.mark.parametrize("text", ["", "nothing", "a=1", "a=101,5", "nowhere:a=1,2", "a=nan,1"])
def test_what_is_no_point_is_said(text):
    with pytest.raises(UsageError, match="measured"):
        methods.measured(text)


def test_every_point_is_drawn_once_with_its_name():
    own = methods.measured("ours=94,85")
    figure = methods.figure([own])
    for axes, dataset in zip(figure.axes, methods.SETS, strict=True):
        points = [point for point in (*methods.published(), own) if point.dataset == dataset]
        drawn = {(round(x, 6), round(y, 6)) for each in axes.collections for x, y in each.get_offsets().tolist()}
        assert drawn == {(round(100 * point.map, 6), round(100 * point.rank1, 6)) for point in points}
        assert {point.name for point in points} <= {text.get_text() for text in axes.texts}
