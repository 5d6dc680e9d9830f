"""A filter means the same to Python, to arrays, to SQL and to Milvus."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reidkit.errors import UsageError
from reidkit.gallery import Filter, Row
from reidkit.gallery.filters import EVERYTHING
from reidkit.gallery.local import LocalGallery

START = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ["door", "hall", "Ägypten", "it's", "1", '"; DROP TABLE rows; --', "%"]
VALUES = [1, 1.0, 0.1, 2**60, -3, True, False, "1", "true", "", "ß'", "red", 1e300]

times = st.integers(0, 6).map(lambda hours: START + timedelta(hours=hours))
values = st.sampled_from(VALUES)
attributes = st.dictionaries(st.sampled_from(["colour", "a.b", "ü", "$"]), values, max_size=3)


def rows_of(keys):
    return st.builds(
        Row,
        st.just(keys),
        pid=st.none() | st.integers(0, 3),
        camera=st.none() | st.sampled_from(NAMES),
        track=st.none() | st.sampled_from(NAMES),
        time=st.none() | times,
        attributes=attributes,
    )


filters = st.builds(
    Filter,
    cameras=st.none() | st.lists(st.sampled_from(NAMES), max_size=3),
    not_cameras=st.lists(st.sampled_from(NAMES), max_size=2),
    pids=st.none() | st.lists(st.integers(-1, 4), max_size=3),
    not_pids=st.lists(st.integers(0, 3), max_size=2),
    tracks=st.none() | st.lists(st.sampled_from(NAMES), min_size=2, max_size=6),
    keys=st.none() | st.lists(st.sampled_from(["0", "1", "2", "3", "x"]), min_size=2),
    not_keys=st.lists(st.sampled_from(["0", "5"]), max_size=1),
    since=st.none() | times,
    until=st.none() | times,
    older_than=st.none() | times,
    attributes=st.dictionaries(
        st.sampled_from(["colour", "a.b", "ü", "$"]), values | st.lists(values, max_size=3), max_size=1
    ),
)
simple = st.builds(
    Filter,
    cameras=st.none() | st.lists(st.sampled_from(NAMES), max_size=3),
    not_cameras=st.lists(st.sampled_from(NAMES), max_size=2),
    pids=st.none() | st.lists(st.integers(-1, 4), max_size=3),
    not_pids=st.lists(st.integers(0, 3), max_size=2),
    since=st.none() | times,
    until=st.none() | times,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.tuples(*[rows_of(str(number)) for number in range(8)]), matching=st.lists(filters | simple, max_size=8))
def test_python_arrays_and_sql_agree(tmp_path_factory, rows, matching):
    with LocalGallery.create(tmp_path_factory.mktemp("gallery") / "people.db", dim=2) as gallery:
        gallery.add_vectors(np.ones((8, 2)), rows)
        stored = gallery.rows().rows
        assert [(row.key, row.camera, row.attributes, row.time) for row in stored] == [
            (row.key, row.camera, row.attributes, row.time) for row in rows
        ]
        for one in matching:
            expected = [row.key for row in stored if one.matches(row)]
            assert [row.key for row in gallery.rows(one).rows] == expected, one
            hits = gallery.search_vectors([[1, 0]], filter=one)[0]
            assert ([hit.key for hit in hits], hits.passed) == (expected, len(expected)), one
            assert gallery.count(one) == len(expected)


def test_by_hand():
    row = Row("a", pid=7, camera="door", track="t", time=START, attributes={"n": 1, "open": True})
    for conditions in (
        {"cameras": ["door"], "pids": [7], "tracks": ["t"], "keys": ["a"]},
        {"since": START, "until": START + timedelta(microseconds=1)},
        {"attributes": {"n": [2, 1.0], "open": True}},
        {"cameras": ["door"], "not_cameras": ["hall"], "not_pids": [8], "not_keys": ["b"]},
        {"cameras": [1, "door"]},
    ):
        assert Filter(**conditions).matches(row), conditions
    for conditions in (
        {"cameras": ["hall"]},
        {"until": START},
        {"since": START + timedelta(microseconds=1)},
        {"attributes": {"n": True}},
        {"attributes": {"open": 1}},
        {"attributes": {"n": "1"}},
        {"attributes": {"n": []}},
        {"attributes": {"other": 1}},
        {"not_pids": [7]},
        {"older_than": START},
    ):
        assert not Filter(**conditions).matches(row), conditions
    assert Filter(older_than=START).matches(Row("b", added=START - timedelta(hours=1)))
    assert not Filter()
    assert not EVERYTHING
    assert Filter(cameras=[])


def test_the_language_of_milvus_by_hand():
    assert Filter().milvus() == ""
    assert (
        Filter(cameras=['do"or', 2], not_pids=[7], since=START, attributes={"n": [1, True]}).milvus()
        == 'camera in ["do\\"or", "2"] and pid not in [7] and time >= 1767225600000000 '
        'and (attributes["n"] == 1 or attributes["n"] == true)'
    )
    large = Filter(pids=[-1, 3], attributes={"n": 2**60})
    assert large.milvus() == 'pid in [3] and (large["n"] == "1152921504606846976")'
    assert Filter(until=START).milvus() == f"(time != {-(2**62)} and time < 1767225600000000)"


def test_an_infinite_list_is_no_problem_for_sql(tmp_path):
    with LocalGallery.create(tmp_path / "people.db", dim=2) as gallery:
        gallery.add_vectors(np.ones((3, 2)), [Row("a", pid=1), Row("b", pid=2), Row("c", pid=40_000)])
        assert gallery.count(Filter(pids=range(40_000))) == 2


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({"cameras": "door"}, "cameras: 'door' is one value: pass a list"),
        ({"pids": ["7"]}, "pids: '7' is no id: pass whole numbers"),
        ({"pids": 7}, "is one value"),
        ({"since": "yesterday"}, "since: 'yesterday' is no time: write it as 2026"),
        ({"attributes": {'a"b': 1}}, "holds a quote or a backslash"),
        ({"attributes": {"a": None}}, "None is one value"),
        ({"attributes": {"a": float("nan")}}, "give it a text, a number"),
        ({"attributes": ["a"]}, "pass a dict"),
        ({"tracks": ["\0"]}, "control characters"),
        ({"keys": ["x" * 2000]}, "give it 1 to"),
        ({"cameras": ["\ud800"]}, "half a character"),
    ],
)
def test_what_cannot_be_filtered_by(conditions, words):
    with pytest.raises(UsageError, match=words):
        Filter(**conditions)
