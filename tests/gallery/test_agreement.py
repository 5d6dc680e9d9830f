"""Which of another gallery's hits one finds."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from reidkit.gallery import Filter, Row
from reidkit.gallery.agreement import compare_galleries, filters_of, recall_at
from reidkit.gallery.local import LocalGallery
from reidkit.gallery.query import Hit


def hits(*similarities):
    return [Hit(str(number), similarity=similarity) for number, similarity in enumerate(similarities)]


def test_recall_by_hand():
    """Of the first two, 0.9 and 0.8, one was found; of the other query's only hit, none."""
    assert recall_at([hits(0.9, 0.7)], [hits(0.9, 0.8, 0.7)], 2) == 0.5
    assert recall_at([hits(0.9, 0.7), []], [hits(0.9, 0.8), hits(0.3)], 1) == 0.5
    assert recall_at([hits(0.9)], [hits(0.9, 0.8)], 10) == 0.5
    assert recall_at([hits(0.9, 0.8)], [hits(0.9, 0.8, 0.8)], 2) == 1, "equal ones stand for each other"
    assert recall_at([[]], [[]], 1) == 1


def test_the_filters(tmp_path):
    """Door has two rows, hall one; a sixteenth of the 16 hours is the one from 7.5 to 8.5."""
    with LocalGallery.create(tmp_path / "people.db", dim=2) as gallery:
        assert filters_of(gallery.info()) == {"all": Filter()}
        times = [datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (0, 8, 16)]
        rows = [Row(str(at), camera=("door", "hall", "door")[at], time=times[at]) for at in range(3)]
        gallery.add_vectors(np.eye(3)[:, :2] + 1, rows)
        found = filters_of(gallery.info())
    assert [name for name in found if found[name].matches(rows[0])] == ["all", "one camera"]
    assert [name for name in found if found[name].matches(rows[1])] == ["all", "smallest camera", "1/16 of the time"]


def test_a_row_is_not_its_own_hit(tmp_path):
    """Each of three is searched for; the copy lacks what is nearest to two of them."""
    vectors = [[1, 0], [1, 0.1], [0, 1]]
    with (
        LocalGallery.create(tmp_path / "truth.db", dim=2) as truth,
        LocalGallery.create(tmp_path / "copy.db", dim=2) as copy,
    ):
        truth.add_vectors(vectors, [Row(key) for key in "abc"])
        copy.add_vectors([vectors[0], vectors[2]], [Row("a"), Row("c")])
        found = compare_galleries(copy, truth)
    assert (found.missing, found.queries, found.passed) == (1, 2, {"all": 1.0})
    assert found.recall["all"][1] == 0
    assert found.recall["all"][10] == pytest.approx(0.5)
