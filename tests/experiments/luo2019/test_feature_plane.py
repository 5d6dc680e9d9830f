"""Figure 6 with networks of no size: what is drawn is what the runs hold, and a second call trains nothing."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from reidkit.encoder import load_model
from reidkit.errors import DataError
from reidkit.experiments.luo2019 import feature_plane
from reidkit.experiments.luo2019.feature_plane import (
    PANELS,
    START,
    Plan,
    Plane,
    boundaries,
    draw,
    findings,
    list_images,
    train,
    trained,
)

SIZE = ("network.width=0.125", "images.height=32", "images.width=32", "batch.ids=3", "batch.images=2")
SETTINGS = (*SIZE, "optim.epochs=1", "optim.drops=[]", "optim.warmup_epochs=0")


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return Plan(out=tmp_path_factory.mktemp("figure6"), ids=3, settings=SETTINGS, device="cpu")


@pytest.fixture(scope="module")
def planes(plan):
    listing = list_images(plan)
    train(START, listing, plan)
    return {title: trained(recipe, listing, plan) for title, recipe in (PANELS[0], PANELS[1], PANELS[3])}


def test_panels_differ_as_the_paper_says():
    by_title = dict(PANELS)
    assert [(r.identity.weight, r.triplet.weight, r.network.neck) for r in by_title.values()] == [
        (1.0, 0.0, "none"),
        (0.0, 1.0, "none"),
        (1.0, 1.0, "none"),
        (1.0, 1.0, "bnneck"),
    ]
    assert {recipe.network.embedding for recipe in by_title.values()} == {2}
    first = PANELS[0][1]
    alike = {
        replace(r, name="", identity=first.identity, triplet=first.triplet, network=first.network, optim=first.optim)
        for r in by_title.values()
    }
    assert len(alike) == 1
    assert {title for title, r in by_title.items() if r.optim != first.optim} == {"ID + triplet loss + BNNeck"}
    assert [r.identity.init for r in by_title.values()] == ["normal", "normal", "normal", "kaiming"]


def test_all_four_begin_with_one_backbone(plan, planes):
    """The starting network has no plane, and its weights are named in every run of the others."""
    assert START.network.embedding == 0
    start = load_model(plan.out / START.name).fingerprint
    for _, recipe in (PANELS[0], PANELS[1], PANELS[3]):
        assert json.loads((plan.out / recipe.name / "run.json").read_text())["weights"] == start


def test_findings_by_hand():
    """Two ids on one ray each, of two lengths: every angle is right, but the nearest point of (1, 0) is (0, 1)."""
    points = np.array([[1.0, 0.0], [9.0, 0.0], [0.0, 1.0], [0.0, 9.0]])
    classifier = (np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0.0, 5.0]))
    plane = Plane(points, points, np.array([0, 0, 1, 1]), classifier)
    right, scores = findings(plane)
    assert right == "75 % on the right side of all lines"
    # From (1, 0): (0, 1) is nearer than (9, 0), so 1/2. From (9, 0): (1, 0) is first, so 1. The same on the other ray.
    assert scores == "mAP: euclidean 75.0, cosine 100.0"


def test_planes_come_from_the_runs(plan, planes):
    import torch

    _, triplet, neck = planes.values()
    assert triplet.classifier is None
    np.testing.assert_array_equal(triplet.f_t, triplet.f_i)
    assert neck.f_t.shape == neck.f_i.shape == (3 * 4 * 8, 2)
    assert not np.array_equal(neck.f_t, neck.f_i)
    assert np.bincount(neck.pids).tolist() == [32, 32, 32]
    state = torch.load(plan.out / "figure6-bnneck" / "state.pt", weights_only=True)
    np.testing.assert_array_equal(neck.classifier[0], state["objective"]["identity.classifier.weight"].double().numpy())
    assert not neck.classifier[1].any()


def test_dashed_lines_are_the_classifiers_hyperplanes(planes):
    _, first, second = draw(planes, "eight ids").axes
    assert [line for line in first.get_lines() if line.get_linestyle() == "--"] == []
    dashed = [line for line in second.get_lines() if line.get_linestyle() == "--"]
    neck = planes["ID + triplet loss + BNNeck"]
    window = (*second.get_xlim(), *second.get_ylim())
    expected = boundaries(*neck.classifier, window)
    assert len(dashed) == len(expected) > 0
    for line, segment in zip(dashed, expected, strict=True):
        np.testing.assert_allclose(line.get_xydata(), segment.ends)
    drawn = np.concatenate([each.get_offsets() for each in second.collections])
    np.testing.assert_allclose(drawn[np.lexsort(drawn.T)], neck.f_i[np.lexsort(neck.f_i.T)])


def test_a_second_call_trains_nothing(plan, planes):
    def steps():
        return (plan.out / "figure6-bnneck" / "log.jsonl").read_text()

    before = steps()
    again = trained(PANELS[3][1], list_images(plan), plan)
    assert steps() == before
    assert json.loads(before.splitlines()[0])["epoch"] == 1
    np.testing.assert_array_equal(again.f_i, planes["ID + triplet loss + BNNeck"].f_i)


def test_too_few_ids_and_odd_paths(tmp_path):
    own = tmp_path / 'own, "quoted" set'
    for pid in (1, 2):
        folder = own / "train" / str(pid)
        folder.mkdir(parents=True)
        (folder / "c1 a,b.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="has 2 ids"):
        list_images(Plan(out=tmp_path / "out", data=own, ids=3))
    listing = list_images(Plan(out=tmp_path / "out", data=own, ids=2))
    with listing.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [str(own / "train" / str(pid) / "c1 a,b.jpg") for pid in (1, 2)]
    assert feature_plane.load_dataset(listing).train[0].path == own / "train" / "1" / "c1 a,b.jpg"
