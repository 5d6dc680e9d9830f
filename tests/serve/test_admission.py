"""Ten images a second and at most two seconds of waiting: places for twenty."""

from __future__ import annotations

import pytest

from reidkit.serve.admission import Admission
from reidkit.serve.problems import Problem


def test_places_by_hand():
    admission = Admission(lambda: 10.0, 2.0)
    with admission.place(16):
        with admission.place(4):
            assert admission.places == 20
            with pytest.raises(Problem) as refused, admission.place(11):
                pass
            # 31 images take 3.1 s, and 1.1 s later there is room.
            assert (refused.value.name, refused.value.retry_after) == ("overloaded", 2)
        with admission.place(4):
            pass
    assert admission.places == 0


def test_an_idle_service_lets_anybody_in():
    slow = Admission(lambda: 0.0, 2.0)
    with slow.place(16), pytest.raises(Problem), slow.place():
        pass


def test_the_other_images_of_a_request_count_without_its_first():
    admission = Admission(lambda: 10.0, 2.0)
    with admission.place(), admission.place(29, more=True):
        assert admission.places == 30
    with admission.place(), admission.place(), pytest.raises(Problem), admission.place(29, more=True):
        pass


def test_an_error_gives_the_place_back():
    admission = Admission(lambda: 10.0)
    with pytest.raises(KeyError), admission.place():
        raise KeyError
    assert admission.places == 0
