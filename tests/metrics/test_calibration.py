from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reidkit.errors import DataError, UsageError
from reidkit.metrics.calibration import calibrate, held_out
from reidkit.metrics.calibration_file import (
    Calibration,
    Settings,
    calibration_path,
    load_calibration,
    save_calibration,
    to_json,
)
from reidkit.metrics.probability import (
    Counts,
    Isotonic,
    Logistic,
    assess,
    at_prior,
    fit,
    fit_isotonic,
    fit_logistic,
    pool_adjacent_violators,
    sigmoid,
)

from .definition import crowd, embeddings

if TYPE_CHECKING:
    from reidkit.types import Embeddings


def counts(similarity, genuine, impostor) -> Counts:
    return Counts(np.array(similarity, float), np.array(genuine, float), np.array(impostor, float))


def test_violators_are_pooled_by_hand():
    """3 and 1 are in the wrong order: their mean is 2. With 5, weight 3, before 1: (5 * 3 + 1) / 4 = 4."""
    assert pool_adjacent_violators(np.array([0.0, 3, 1, 4]), np.ones(4)).tolist() == [0, 2, 2, 4]
    assert pool_adjacent_violators(np.array([5.0, 1]), np.array([3.0, 1])).tolist() == [4, 4]
    assert pool_adjacent_violators(np.array([3.0, 2, 1]), np.ones(3)).tolist() == [2, 2, 2]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=25))
@settings(max_examples=80, deadline=None)
def test_pooling_against_the_minimax_formula(pairs):
    """The fit at i is the largest over j <= i of the smallest over k >= i of the mean from j to k (Barlow 1972)."""
    values, weights = (np.array(column, float) for column in zip(*pairs, strict=True))

    def mean(j: int, k: int) -> float:
        return float(np.average(values[j : k + 1], weights=weights[j : k + 1]))

    count = len(values)
    expected = [max(min(mean(j, k) for k in range(i, count)) for j in range(i + 1)) for i in range(count)]
    assert pool_adjacent_violators(values, weights) == pytest.approx(expected)


def test_isotonic_by_hand():
    """At the prior 1/2 each of 4 genuine pairs weighs 1/8 and each of 8 impostor pairs 1/16.

    Shares of genuine weight: 0, (1/8) / (1/8 + 4/16) = 1/3, then 2/8 against 0: 1. Half a pair bounds both ends.
    """
    found = fit_isotonic(counts([0.1, 0.4, 0.8, 0.9], [0, 1, 1, 2], [4, 4, 0, 0]))
    assert found.similarity == (0.1, 0.4, 0.8, 0.9)
    assert found.probability == pytest.approx((1 / 9, 1 / 3, 16 / 17, 16 / 17))
    assert found([0.0, 0.25, 1.0]) == pytest.approx([1 / 9, (1 / 9 + 1 / 3) / 2, 16 / 17])


def test_isotonic_puts_together_what_falls():
    """More similar, but fewer genuine: both bins have what is true of them together, (2/3) / (2/3 + 1/2) = 4/7."""
    found = fit_isotonic(counts([0.2, 0.5, 0.6], [1, 2, 0], [2, 1, 1]))
    assert found.similarity == (0.2, 0.5, 0.6)
    assert found.probability == pytest.approx(((1 / 3) / (1 / 3 + 1 / 2), 4 / 7, 4 / 7))


def test_a_bin_order_or_an_empty_bin_changes_nothing():
    rising = counts([0.1, 0.4, 0.8], [1, 3, 9], [9, 3, 1])
    falling = counts([0.8, 0.6, 0.4, 0.1], [9, 0, 3, 1], [1, 0, 3, 9])
    assert fit_isotonic(rising) == fit_isotonic(falling)
    one, other = fit_logistic(rising), fit_logistic(falling)
    assert (one.slope, one.offset) == pytest.approx((other.slope, other.offset))


def _bins(seed: int, size: int = 40) -> Counts:
    rng = np.random.default_rng(seed)
    similarity = np.sort(rng.uniform(-1, 1, size))
    genuine = rng.binomial(50, sigmoid(6 * similarity - 2))
    impostor = rng.binomial(900, sigmoid(1 - 6 * similarity))
    return counts(similarity, genuine, impostor)


@pytest.mark.parametrize("prior", [0.01, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_logistic_has_no_slope_left(seed: int, prior: float):
    """At the best curve the cross entropy, computed here pair by pair kind, changes in no direction."""
    bins = _bins(seed)
    found = fit_logistic(bins, prior)
    positives, negatives = bins.genuine.sum(), bins.impostor.sum()
    aims = (positives + 1) / (positives + 2), 1 / (negatives + 2)

    def entropy(slope: float, offset: float) -> float:
        chance = 1 / (1 + np.exp(-(slope * bins.similarity + offset)))
        losses = [-(aim * np.log(chance) + (1 - aim) * np.log(1 - chance)) for aim in aims]
        return float(
            prior * (bins.genuine @ losses[0]) / positives + (1 - prior) * (bins.impostor @ losses[1]) / negatives
        )

    best, step = entropy(found.slope, found.offset), 1e-4
    gradient = [
        (entropy(found.slope + step, found.offset) - entropy(found.slope - step, found.offset)) / (2 * step),
        (entropy(found.slope, found.offset + step) - entropy(found.slope, found.offset - step)) / (2 * step),
    ]
    assert gradient == pytest.approx([0, 0], abs=1e-8)
    for slope, offset in ((0.3, 0), (-0.3, 0), (0, 0.3), (0, -0.3)):
        assert entropy(found.slope + slope, found.offset + offset) > best


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_logistic_finds_what_made_the_pairs_at_any_scale(scale: float):
    """With likelihoods that a logistic curve describes, and many pairs, it is that curve."""
    similarity = np.linspace(-1, 1, 201)
    together = np.exp(-np.square(similarity) * 2)
    bins = counts(
        similarity * scale, 1e8 * together * sigmoid(5 * similarity), 1e8 * together * sigmoid(-5 * similarity)
    )
    found = fit_logistic(bins)
    assert (found.slope * scale, found.offset) == pytest.approx((5, 0), abs=1e-4)


def test_logistic_where_a_threshold_parts_all():
    """Without Platt's aims the slope would be infinite."""
    found = fit_logistic(counts([-0.9, 0.9], [0, 10], [30, 0]))
    assert found([-0.9, 0.9]) == pytest.approx([1 / 32, 11 / 12])


def test_logistic_where_similarity_says_nothing():
    found = fit_logistic(counts([0.5], [100000], [100000]), prior=0.2)
    assert found([0.5, 0.7]) == pytest.approx([0.2, 0.2], abs=1e-3)


def test_the_prior_changes_the_odds():
    assert at_prior([0.5, 0.8, 0.0, 1.0], 0.5, 0.1) == pytest.approx([0.1, 0.4 / 1.3, 0, 1])
    bins = _bins(0)
    for method in ("isotonic", "logistic"):
        even, rare = fit(bins, method, 0.5), fit(bins, method, 0.02)
        if method == "isotonic":
            assert rare(bins.similarity) == pytest.approx(at_prior(even(bins.similarity), 0.5, 0.02))
        assert (rare([0.0, 0.5]) < even([0.0, 0.5])).all()


def test_quality_by_hand():
    """Two bins at 1/4 and 3/4: the first holds 1/5 of the genuine and 4/5 of the impostor weight."""
    flat = Isotonic((0.0, 1.0), (0.25, 0.75))
    quality = assess(flat, counts([0.0, 1.0], [1, 4], [8, 2]))
    assert quality.brier == pytest.approx(0.5 * (0.2 * 9 / 16 + 0.8 / 16) * 2)
    assert quality.ece == pytest.approx(0.5 * abs(0.25 - 0.2) * 2)


def test_a_perfect_fit_has_no_calibration_error():
    bins = counts([0.1, 0.5, 0.9], [10, 50, 90], [90, 50, 10])
    assert assess(fit_isotonic(bins), bins).ece == pytest.approx(0)
    assert assess(Logistic(0.0, 0.0), bins).brier == pytest.approx(0.25)


@pytest.mark.parametrize("prior", [0, 1, -0.5, math.nan])
def test_a_prior_that_is_none_is_refused(prior: float):
    with pytest.raises(UsageError, match="give one between 0 and 1"):
        fit(_bins(0), "isotonic", prior)
    with pytest.raises(UsageError, match="give one between 0 and 1"):
        Settings(prior=prior)


def test_what_cannot_be_fitted_is_said():
    with pytest.raises(DataError, match="none of one kind"):
        fit_logistic(counts([0.5], [3], [0]))
    with pytest.raises(UsageError, match="choose isotonic or logistic"):
        fit(_bins(0), "spline")
    with pytest.raises(UsageError, match="give one between 0 and 1"):
        Settings(far=0)


def people(count: int = 40, seed: int = 0, noise: float = 0.9) -> tuple[Embeddings, Embeddings]:
    """People seen by three cameras, of whom the third adds a direction of its own to all its images."""
    rng = np.random.default_rng(seed)
    centres, shift = rng.standard_normal((count, 32)), 1.5 * rng.standard_normal(32)

    def some(images: int) -> Embeddings:
        pids, camids = rng.integers(0, count, images), rng.integers(0, 3, images)
        vectors = centres[pids] + noise * rng.standard_normal((images, 32)) + (camids == 2)[:, None] * shift
        return embeddings(vectors, pids.tolist(), camids.tolist(), model="f00d")

    return some(300), some(900)


@pytest.fixture(scope="module", params=["isotonic", "logistic"])
def calibration(request) -> Calibration:
    return calibrate(*people(), far=1e-2, method=request.param, data="made-up", flip=True)


def test_calibration_says_what_it_is_of(calibration):
    assert (calibration.model, calibration.data, calibration.feature, calibration.flip) == (
        "f00d",
        "made-up",
        "after",
        True,
    )
    assert (calibration.queries, calibration.gallery, calibration.people) == (300, 900, 40)
    assert calibration.chosen.far == 1e-2
    assert calibration.chosen.threshold == calibration.rates[2].threshold
    assert calibration.chosen.false_accepts <= 1e-2 * calibration.impostors
    for rate in (calibration.chosen, *calibration.rates[1:]):
        assert rate.interval.low <= rate.tpr <= rate.interval.high
    assert calibration.far_interval.low < 1e-2 < calibration.far_interval.high
    assert calibration.eer_interval.low < calibration.eer < calibration.eer_interval.high
    assert len(calibration.curve) <= 100
    assert calibration.curve[-1][2] == 1


def test_probabilities_are_true_of_people_held_out(calibration):
    checked = calibration.held_out
    assert checked.people == 20
    assert checked.quality.brier < 0.08
    assert checked.quality.ece < 0.1
    low, high = calibration.same_person([-0.2, 0.9])
    assert low < 0.05
    assert high > 0.95


def test_held_out_people_share_no_pair(monkeypatch):
    """What the other half is given changes nothing of what is learnt: here it is noise, and the probabilities fail."""
    query, gallery = people()
    good = held_out(query, gallery, Settings())
    order = np.random.default_rng(0).permutation(40)
    second = np.array_split(order, 2)[1]
    for side in (query, gallery):
        rows = np.isin(side.pids, second)
        side.vectors[rows] = np.random.default_rng(1).standard_normal((rows.sum(), 32))
    bad = held_out(query, gallery, Settings())
    assert (good.genuine, good.impostors, good.people) == (bad.genuine, bad.impostors, bad.people)
    assert good.quality.ece < 0.1
    assert bad.quality.ece > 0.3


def test_camera_pairs_have_thresholds_of_their_own(calibration):
    found = {(pair.query_camid, pair.gallery_camid): pair for pair in calibration.camera_pairs}
    assert set(found) == {(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)}
    # Against the camera that shifts everything all similarities are lower.
    assert max(found[pair].threshold for pair in ((0, 2), (2, 1))) < found[0, 1].threshold
    assert calibration.threshold(0, 1) == found[0, 1].threshold
    assert calibration.threshold(0, 9) == calibration.threshold() == calibration.chosen.threshold
    assert calibration.same_person(0.4, 0, 2) > calibration.same_person(0.4, 0, 1)
    for pair in found.values():
        assert 0 < pair.far <= 1e-2
        assert pair.impostors >= 1000


def test_camera_pairs_keep_their_rate():
    query, gallery = people()
    made = calibrate(query, gallery, far=1e-2, data="x")
    unit = [side.vectors / np.linalg.norm(side.vectors, axis=1, keepdims=True) for side in (query, gallery)]
    similarity = unit[0].astype(float) @ unit[1].astype(float).T
    same = query.pids[:, None] == gallery.pids
    assert len(made.camera_pairs) == 6
    for pair in made.camera_pairs:
        cell = (query.camids[:, None] == pair.query_camid) & (gallery.camids == pair.gallery_camid)
        accepted = similarity >= pair.threshold
        assert (accepted[cell & ~same]).mean() == pytest.approx(pair.far, abs=1 / pair.impostors)
        assert (accepted[cell & same]).mean() == pytest.approx(pair.tpr, abs=1 / pair.genuine)
        best = np.sort(similarity[cell & ~same])[::-1][int(1e-2 * pair.impostors)]
        assert (similarity[cell & same] > best).mean() - pair.tpr < 0.02


def test_a_camera_pair_keeps_its_rate_where_impostors_are_at_the_end_of_a_bin():
    """Features of disjoint coordinates: every impostor pair has the cosine 0, which no bin must let through."""
    one = embeddings(np.eye(64), range(64), [0] * 64)
    made = calibrate(one, replace(one, camids=np.ones(64, np.int64)), far=0.05)
    (pair,) = made.camera_pairs
    assert (pair.tpr, pair.far) == (1, 0)
    assert not (np.zeros(1, np.float32) >= pair.threshold)[0]


def test_few_pairs_are_said(calibration):
    (warning,) = calibration.warnings
    assert warning.startswith("the open-set rate at 0.01 rests on 153 queries whose id is not in the gallery")
    query, gallery = embeddings([[1, 0], [0, 1]], [1, 2], [0, 0]), embeddings([[1, 0.1], [0.1, 1]], [1, 2], [1, 1])
    made = calibrate(query, gallery, data="two")
    assert made.held_out is None
    assert made.camera_pairs == ()
    assert "at a FAR of 0.001 only 0.002 of the 2 impostor pairs would be accepted" in made.warnings[0]
    assert "give images of more ids, as no FAR below 0.1 can be measured on fewer than 100 pairs" in made.warnings[0]
    assert "only 2 ids have a genuine pair" in made.warnings[1]
    alone = calibrate(query, replace(gallery, pids=np.array([1, 3])), data="one")
    assert alone.open_set is None
    assert any("open-set rates need two ids" in warning for warning in alone.warnings)


@pytest.mark.parametrize(("people", "advised"), [(13, 0.07), (33, 0.01), (40, 0.007)])
def test_the_far_that_is_advised_can_be_asked_for(people: int, advised: float) -> None:
    """13 people make 156 impostor pairs: 10 of them are 0.064, and rounded down, to 0.06, would be too few again."""
    rng = np.random.default_rng(0)
    query, gallery = (
        embeddings(rng.standard_normal((people, 4)), range(people), [camera] * people) for camera in (0, 1)
    )
    said = calibrate(query, gallery, far=1e-4, data="x").warnings[0]
    assert f"choose a FAR of {advised:g} or more" in said
    assert not any("impostor pairs" in line for line in calibrate(query, gallery, far=advised, data="x").warnings)


def test_calibration_survives_its_file(calibration, tmp_path):
    path = calibration_path(tmp_path)
    assert path == calibration_path(tmp_path / "model.safetensors") == tmp_path / "calibration.json"
    save_calibration(path, calibration)
    assert load_calibration(tmp_path, "f00d") == load_calibration(path, "f00d") == calibration
    assert [entry.name for entry in tmp_path.iterdir()] == ["calibration.json"]
    assert json.loads(path.read_text()) == to_json(calibration)


@pytest.mark.parametrize(
    ("data", "shift"), [("market1501", 1), ("cuhk03-labeled", 1), ("folder", 0), ("webdataset", 0)]
)
def test_a_file_that_counts_cameras_from_0_is_not_misread(calibration, tmp_path, data, shift):
    """Camera c1 of Market-1501 was camid 0 in format 1, and is 1 now; own images had their own numbers already."""
    path = tmp_path / "calibration.json"
    old = to_json(calibration) | {"format": "reidkit/calibration/1", "data": data}
    path.write_text(json.dumps(old))
    read = load_calibration(path, "f00d")
    assert read.format == "reidkit/calibration/2"
    assert read.threshold(0 + shift, 1 + shift) == calibration.threshold(0, 1)
    assert {(pair.query_camid, pair.gallery_camid) for pair in read.camera_pairs} == {
        (pair.query_camid + shift, pair.gallery_camid + shift) for pair in calibration.camera_pairs
    }


def test_another_models_calibration_is_refused(calibration, tmp_path):
    save_calibration(tmp_path / "calibration.json", calibration)
    with pytest.raises(DataError, match="is of the model f00d and not of beef"):
        load_calibration(tmp_path, "beef")


def test_damaged_files_are_refused(calibration, tmp_path):
    whole = to_json(calibration)
    with pytest.raises(DataError, match="is not there: make it with `reidkit calibrate`"):
        load_calibration(tmp_path, "f00d")
    path = tmp_path / "calibration.json"
    hostile = {
        "": "line 1",
        "[]": "the whole",
        json.dumps(whole)[:-20]: "line 1",
        json.dumps({**whole, "more": 1}): "more",
        json.dumps({**whole, "eer": "low"}): "eer",
        json.dumps({**whole, "format": "reidkit/calibration/9"}): "format",
        json.dumps({**whole, "settings": {**whole["settings"], "far": 7}}): "settings: a false accept rate of 7",
        json.dumps({**whole, "probability": {"slope": 1.0}}): "probability",
    }
    for text, sentence in hostile.items():
        path.write_text(text)
        with pytest.raises(DataError, match=rf"is no calibration \({sentence}"):
            load_calibration(tmp_path, "f00d")
    path.write_bytes(b"\xff\x00")
    with pytest.raises(DataError, match="is no calibration"):
        load_calibration(tmp_path, "f00d")


def test_a_failed_write_leaves_the_old_file(calibration, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "calibration.json"
    save_calibration(path, calibration)
    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\): make room for it$"):
        save_calibration(path, replace(calibration, model="beef"))
    assert load_calibration(path, "f00d") == calibration


def test_the_same_seed_gives_the_same_file():
    query, gallery = crowd()
    first, again, other = (to_json(calibrate(query, gallery, seed=seed, data="x")) for seed in (1, 1, 2))
    assert first == again
    assert first["eer"] == other["eer"]
    assert first["eer_interval"] != other["eer_interval"]


def test_a_probability_has_a_value_at_each_point():
    assert Isotonic((0.0, 1.0), (0.0, 0.5))(0.5) == 0.25
    with pytest.raises(UsageError, match=r"1 probabilities for 2 similarities: give one for each"):
        Isotonic((0.0, 1.0), (0.5,))
    with pytest.raises(UsageError, match=r"at least one"):
        Isotonic((), ())


def test_numbers_of_numpy_can_be_stored() -> None:
    """They ended a calibration in a TypeError, once all was measured."""
    numbers: Any = {"far": np.float32(0.25), "prior": np.float32(0.5), "seed": np.int64(3)}
    assert repr(Settings(**numbers)) == repr(Settings(far=0.25, seed=3))
    for wrong in (-1, 1.5, None):
        with pytest.raises(UsageError, match="seed must be a whole number from 0 on"):
            Settings(seed=wrong)  # type: ignore[arg-type]


def test_a_probability_at_a_prior_that_is_none() -> None:
    """At a prior of 2 it was above 1."""
    known = calibrate(*crowd())
    assert 0 <= float(known.same_person(0.5, prior=0.01)) <= 1
    for wrong in (0, 1, 2, -0.5):
        with pytest.raises(UsageError, match="give one between 0 and 1"):
            known.same_person(0.5, prior=wrong)
