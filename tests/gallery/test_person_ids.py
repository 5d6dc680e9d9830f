"""Which id the rows of a name get, by hand."""

from __future__ import annotations

import pytest

from reidkit.gallery import Row
from reidkit.gallery.person_ids import PersonIds
from reidkit.gallery.row import LARGEST


@pytest.mark.parametrize(
    ("names", "taken", "given", "wanted"),
    [
        ({}, (), [(0, "Ann"), (1, "Bob"), (0, "Ann")], [0, 1, 0]),
        ({3: "Ann"}, (), [(0, "Ann"), (0, "Bob"), (3, "Cleo")], [3, 0, 4]),
        ({0: "Ann", 1: None}, (7,), [(0, "Bob"), (1, "Cleo"), (20, "Dan"), (7, "Eve")], [8, 9, 20, 21]),
        ({0: "Ann", 1: None, LARGEST: None}, (3,), [(0, "Bob"), (1, "Cleo"), (0, "Bob")], [2, 4, 2]),
    ],
    ids=["own numbers", "the gallery's", "new ones are above all others", "the largest number is taken"],
)
def test_a_name_has_one_id_of_its_own(names, taken, given, wanted):
    ids = PersonIds(names, taken)
    rows = [Row("key", pid=pid, attributes={"person": name}) for pid, name in given]
    assert [ids.row(row).pid for row in rows] == wanted
