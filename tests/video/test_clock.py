"""Seconds of frames whose times are missing, wrong, or begin again: by hand, and that they rise whatever there is."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reidkit.video.clock import Clock


class Timed(NamedTuple):
    """A frame of PyAV."""

    time: float | None


def seconds(times: list[float | None], rate: float = 10.0) -> tuple[list[float], Clock]:
    clock = Clock(rate)
    found = list(clock.timed(map(Timed, times)))
    assert [frame.time for frame, _ in found] == times
    return [round(second, 6) for _, second in found], clock


def tenths(count: int, first: float = 0.0) -> list[float]:
    return [round(first + number / 10, 6) for number in range(count)]


def test_frames_without_a_time_or_with_an_earlier_one_follow_a_step_on() -> None:
    found, clock = seconds([5.0, 5.1, None, 5.05, 5.4])
    assert (found, clock.moved) == (tenths(5), 2)
    assert clock.notes() == ["2 frames without a time, or with an earlier one: each was put 0.1 s after the last"]
    assert seconds([None, None], 0)[0] == pytest.approx([0, 0.04])


@pytest.mark.parametrize("wrong", [[1000.0], [-50.0], [6.7], [1000.0, 500.0], [1000.0, 1000.1, 1000.2]])
def test_single_times_far_from_the_others_are_put_between_them(wrong: list[float]) -> None:
    times = [*tenths(3, 5.0), *wrong, *tenths(4, 5.3 + len(wrong) / 10)]
    found, clock = seconds(list(times))
    assert (found, clock.moved) == (tenths(len(times)), len(wrong))
    (note,) = clock.notes()
    assert note.endswith("far from the others: put between those around")


@pytest.mark.parametrize("second", [30, 9])
def test_a_recording_that_begins_again_goes_on_with_its_own_distances(second: int) -> None:
    """By the average rate of the file, ten a second, the second one would be half as long."""
    found, clock = seconds([*tenths(30), *(each / 5 for each in range(second))])
    assert found == tenths(30) + [round(3.0 + each / 5, 6) for each in range(second)]
    assert clock.moved == second
    (note,) = clock.notes()
    assert note.startswith(
        "its times begin again 1 time, first behind second 2.9: what follows was put right behind it"
    )


def test_a_recording_of_one_frame_a_second_that_begins_again() -> None:
    found, _ = seconds([*map(float, range(6)), *map(float, range(12))], 1)
    assert found == list(map(float, range(18)))


def test_a_pause_stays_one_and_is_told() -> None:
    found, clock = seconds([*tenths(3), *tenths(12, 100.0), *tenths(12, 130.0)])
    assert found == [*tenths(3), *tenths(12, 100.0), *tenths(12, 130.0)]
    assert clock.moved == 0
    (note,) = clock.notes()
    assert note.startswith("its times jump ahead 2 times, by most from second 0.2 to 100.0")
    # Of a frame in ten seconds, none is a pause.
    assert seconds([0.0, 10.0, 20.0, 30.0], 0.1)[1].notes() == []


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=60), st.sampled_from([0.0, 0.1, 10.0, 25.0]))
def test_seconds_rise_from_zero_whatever_the_times_are(times: list[float | None], rate: float) -> None:
    clock = Clock(rate)
    found = [second for _, second in clock.timed(map(Timed, times))]
    assert len(found) == len(times)
    assert all(first < second for first, second in pairwise(found))
    assert not found or found[0] == 0
