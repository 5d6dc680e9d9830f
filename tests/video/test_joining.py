from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reidkit.errors import DataError, UsageError
from reidkit.video.joining import Tracks, join, propose_threshold, together


def turned(*degrees):
    """Features in a plane: their cosines are those of the angles between them."""
    radians = np.radians(degrees)
    return np.stack((np.cos(radians), np.sin(radians)), axis=1)


def later(count, **more):
    """Times of tracks one after the other."""
    first = 10.0 * np.arange(count)
    return {"first": first, "last": first + 5} | more


def test_two_people_by_hand():
    """Angles 0 and 20 are alike (.94), and 90 and 100 (.98); 20 and 90 are not (.34)."""
    found = join(Tracks.of(turned(0, 90, 20, 100), **later(4)), 0.8)
    assert found.people.tolist() == [0, 1, 0, 1]
    assert found.doubts == ()


def test_who_is_seen_at_the_same_time_is_never_joined():
    """Equal features: only the times say that there are two."""
    tracks = Tracks.of(turned(0, 0, 0), [0.0, 3.0, 20.0], [5.0, 8.0, 25.0])
    found = join(tracks, 0.8)
    assert found.people[0] != found.people[1]
    assert found.people[2] in found.people[:2]
    # The third is as like the one as the other, and that is said.
    (doubt,) = found.doubts
    assert doubt.people == (0, 1)
    assert doubt.together
    assert doubt.similarity == pytest.approx(1.0)


def test_tracks_that_touch_are_not_seen_together():
    tracks = Tracks.of(turned(0, 0), [0.0, 5.0], [5.0, 8.0])
    assert not together(tracks, slice(0, 2)).any()
    assert join(tracks, 0.8).people.tolist() == [0, 0]


def test_doubles_are_seen_together_and_are_no_two_people():
    """Tracks 0 and 1 are one person who is found twice; 2 is somebody else beside them, though all look alike."""
    tracks = Tracks.of(turned(0, 0, 0, 90), np.zeros(4), np.full(4, 5.0), doubles=[(1, 0)])
    expected = 1 - np.eye(4)
    expected[0, 1] = expected[1, 0] = 0
    np.testing.assert_array_equal(together(tracks, slice(0, 4)), expected)
    np.testing.assert_array_equal(together(tracks, slice(1, 3)), expected[1:3])
    assert join(tracks, 0.8).people.tolist() == [0, 0, 1, 2]
    with pytest.raises(DataError, match="doubles are pairs of numbers of tracks"):
        Tracks.of(turned(0, 0), [0, 0], [5, 5], doubles=[(0, 2)])


def test_doubles_give_no_threshold():
    """Of eight tracks that are seen together, two are one person: 27 pairs are of strangers, and none is alike."""
    alike = np.concatenate([np.eye(8)[:1], np.eye(8)[:7]])
    known = {"first": np.zeros(8), "last": np.full(8, 5.0)}
    assert propose_threshold(Tracks.of(alike, **known)).threshold > 1
    found = propose_threshold(Tracks.of(alike, **known, doubles=[(0, 1)]))
    assert (found.pairs, found.threshold) == (27, pytest.approx(0, abs=1e-9))


@pytest.mark.parametrize(("overlap", "people"), [(False, [0, 1]), (True, [0, 0])])
def test_one_person_in_two_cameras_at_once(overlap, people):
    tracks = Tracks.of(turned(0, 0), [0.0, 1.0], [5.0, 8.0], cameras=[1, 2])
    assert join(tracks, 0.8, cameras_overlap=overlap).people.tolist() == people


def test_times_of_two_clocks_say_nothing():
    tracks = Tracks.of(turned(0, 0, 0), [0.0, 1.0, 0.0], [5.0, 8.0, 9.0], clocks=[0, 1, -1])
    assert not together(tracks, slice(0, 3)).any()


def test_a_bad_track_is_no_bridge():
    """A chain: 0 and 40 are alike (.77), 40 and 80 too, but 0 and 80 are not (.17): the mean is .47."""
    tracks = Tracks.of(turned(0, 40, 80), **later(3))
    for linkage in ("average", "complete"):
        found = join(tracks, 0.7, linkage=linkage)
        assert len(set(found.people.tolist())) == 2
        (doubt,) = found.doubts
        assert doubt.similarity == pytest.approx(np.cos(np.radians(40)))
        assert doubt.linkage < 0
        assert not doubt.together


def test_complete_linkage_lets_no_pair_pass():
    """Angles 0, 10, 20 and 50: the mean of the last to the others is .78, the least .64."""
    tracks = Tracks.of(turned(0, 10, 20, 50), **later(4))
    assert set(join(tracks, 0.7, linkage="average").people.tolist()) == {0}
    assert join(tracks, 0.7, linkage="complete").people.tolist() == [0, 0, 0, 1]


def test_what_was_confirmed_is_followed():
    """The first two are confirmed as one id though they look different, the last as another one though it is like."""
    tracks = Tracks.of(turned(0, 90, 2, 1), **later(4), ids=[7, 7, -1, 8])
    assert join(tracks, 0.8).people.tolist() == [0, 0, 1, 1]
    apart = Tracks.of(turned(0, 0, 0), **later(3), ids=[7, 8, 8])
    assert join(apart, 0.8).people.tolist() == [0, 1, 1]


def test_each_two_cameras_may_have_a_threshold():
    limits = np.array([[0.5, 0.99], [0.99, 0.5]])
    tracks = Tracks.of(turned(0, 20, 20), **later(3), cameras=[0, 0, 1])
    assert join(tracks, limits).people.tolist() == [0, 0, 1]


def test_people_are_numbered_as_they_appear():
    tracks = Tracks.of(turned(90, 0, 91, 180), **later(4))
    assert join(tracks, 0.9).people.tolist() == [0, 1, 0, 2]


def test_a_threshold_by_hand():
    """Seven people seen together make 21 pairs; their angles are i^2, so that the nearest two are 1 degree apart."""
    angles = np.arange(7.0) ** 2
    tracks = Tracks.of(turned(*angles), np.zeros(7), np.ones(7))
    found = propose_threshold(tracks, far=0.1)
    scores = sorted((np.cos(np.radians(abs(a - b))) for a, b in itertools.combinations(angles, 2)), reverse=True)
    assert (found.pairs, found.accepted) == (21, 2)  # a tenth of 21 pairs: two are accepted, and the third is not
    assert scores[2] < found.threshold < scores[1]
    assert "21 pairs" in found.warning
    many = Tracks.of(np.random.default_rng(0).normal(size=(50, 8)), np.zeros(50), np.ones(50))
    assert propose_threshold(many, far=0.02).warning == ""


def test_a_threshold_needs_pairs():
    tracks = Tracks.of(turned(*range(10)), **later(10))
    with pytest.raises(DataError, match="make 0 pairs"):
        propose_threshold(tracks)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda tracks: join(tracks, 2.0), "threshold"),
        (lambda tracks: join(tracks, float("nan")), "threshold"),
        (lambda tracks: join(tracks, 0.5, linkage="single"), "no linkage"),  # type: ignore[arg-type]
        (lambda tracks: propose_threshold(tracks, far=1.0), "false accept rate"),
    ],
    ids=["high", "nan", "linkage", "far"],
)
def test_numbers_that_make_no_sense(call, words):
    with pytest.raises(UsageError, match=words):
        call(Tracks.of(turned(*range(30)), np.zeros(30), np.ones(30)))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Tracks.of(turned(0, 1), [0.0], [1.0]),
        lambda: Tracks.of([[0.0, 0.0]], [0.0], [1.0]),
        lambda: Tracks.of([[np.nan, 0.0]], [0.0], [1.0]),
        lambda: Tracks.of(turned(0), [2.0], [1.0]),
    ],
    ids=["lengths", "zero", "nan", "backwards"],
)
def test_tracks_that_are_none(wrong):
    with pytest.raises(DataError):
        wrong()


def test_nothing_to_join():
    assert join(Tracks.of(np.zeros((0, 4)), [], []), 0.5).people.tolist() == []


# The definition, by brute force.


def by_definition(tracks, threshold, linkage, overlap):
    """Join the best pair of groups that may be joined, until none is left."""
    unit = tracks.features / np.linalg.norm(tracks.features, axis=1, keepdims=True)
    groups = [[number] for number in range(len(tracks))]

    def apart(i, j):
        known = tracks.ids[i] != -1 and tracks.ids[j] != -1
        if known:
            return tracks.ids[i] != tracks.ids[j]
        same_time = tracks.first[i] < tracks.last[j] and tracks.first[j] < tracks.last[i]
        return same_time and (not overlap or tracks.cameras[i] == tracks.cameras[j])

    def value(one, other):
        pairs = list(itertools.product(one, other))
        if any(apart(i, j) for i, j in pairs):
            return -np.inf
        confirmed = [tracks.ids[i] == tracks.ids[j] != -1 for i, j in pairs]
        margins = [
            3.0 if sure else unit[i] @ unit[j] - threshold for (i, j), sure in zip(pairs, confirmed, strict=True)
        ]
        return np.mean(margins) if linkage == "average" else min(margins)

    while len(groups) > 1:
        best, one, other = max((value(a, b), a, b) for a, b in itertools.combinations(groups, 2))
        if best < 0:
            break
        groups.remove(other)
        one += other
    return {frozenset(group) for group in groups}


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(2, 14),
    threshold=st.floats(-0.3, 0.9),
    linkage=st.sampled_from(["average", "complete"]),
    overlap=st.booleans(),
    confirmed=st.booleans(),
)
def test_joining_is_its_definition(seed, count, threshold, linkage, overlap, confirmed):
    rng = np.random.default_rng(seed)
    first = rng.uniform(0, 40, count)
    tracks = Tracks.of(
        rng.normal(size=(count, 3)),
        first,
        first + rng.uniform(1, 15, count),
        cameras=rng.integers(0, 2, count),
        ids=rng.choice([-1, -1, -1, 1, 2], count) if confirmed else None,
    )
    found = join(tracks, threshold, linkage=linkage, cameras_overlap=overlap)
    groups = {frozenset(np.flatnonzero(found.people == person).tolist()) for person in set(found.people.tolist())}
    assert groups == by_definition(tracks, threshold, linkage, overlap)


@given(seed=st.integers(0, 1000), far=st.sampled_from([0.02, 0.1, 0.3]))
def test_a_threshold_keeps_its_rate(seed, far):
    """No more than the rate are accepted, and one more would be too many."""
    rng = np.random.default_rng(seed)
    first = rng.uniform(0, 20, 30)
    tracks = Tracks.of(rng.normal(size=(30, 4)), first, first + 10)
    unit = tracks.features / np.linalg.norm(tracks.features, axis=1, keepdims=True)
    scores = np.array(
        [
            unit[i] @ unit[j]
            for i, j in itertools.combinations(range(30), 2)
            if tracks.first[i] < tracks.last[j] and tracks.first[j] < tracks.last[i]
        ]
    )
    found = propose_threshold(tracks, far=far)
    assert found.pairs == len(scores)
    # Products of a matrix and of two vectors differ in the last digit.
    accepted = scores >= found.threshold + 1e-12
    assert accepted.mean() <= far
    assert (scores >= scores[~accepted].max() - 1e-9).mean() > far
