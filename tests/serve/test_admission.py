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
    admission = Admission(lambda: 10.0, 2.0)
    with admission.place(), admission.place(), pytest.raises(Problem), admission.place(29, more=True):
        pass


def test_an_error_gives_the_place_back():
    admission = Admission(lambda: 10.0)
    with pytest.raises(KeyError), admission.place():
        raise KeyError
    assert admission.places == 0


def test_the_rate_is_that_of_the_work(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("reidkit.serve.admission.time.monotonic", lambda: now[0])
    admission = Admission(lambda: 1000.0, 2.0)
    assert admission.rate == 1000
    for _ in range(30):  # one image takes a quarter of a second, and the body a minute
        with admission.place():
            now[0] += 60
            with admission.work():
                now[0] += 0.25
    assert admission.rate == pytest.approx(4, rel=0.05)
    with admission.place(7), pytest.raises(Problem), admission.place(2):
        pass
    for _ in range(200):  # it becomes quicker
        with admission.place(), admission.work():
            now[0] += 0.1
    assert admission.rate == pytest.approx(10, rel=0.05)


def test_what_failed_was_not_done():
    admission = Admission(lambda: 10.0)
    with pytest.raises(KeyError), admission.place(), admission.work():
        raise KeyError
    assert admission._done == 0


def test_bodies_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr("reidkit.serve.admission.MOST_BYTES", 100)
    admission = Admission(lambda: 10.0)
    with admission.place() as first, admission.place() as second:
        first.take(60)
        second.take(40)
        with pytest.raises(Problem) as refused:
            second.take(1)
        assert (refused.value.name, admission.bytes) == ("overloaded", 100)
    assert admission.bytes == 0
