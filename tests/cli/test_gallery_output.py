"""The table of hits and the sentence below it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from reidkit.cli.gallery_output import print_hits, print_meaning
from reidkit.gallery import Query, Row, open_gallery
from tests.gallery.made import Calibrated

if TYPE_CHECKING:
    import pytest

RED = [1.0, 0, 0]


def printed(camera: str | None, out: pytest.CaptureFixture[str]) -> str:
    """Return what is printed of a gallery whose cameras door and 2 have a threshold of their own, 0.75."""
    gallery = open_gallery("memory", Calibrated())
    gallery.add_vectors([[3, 4, 0], [3, 4, 0]], [Row("a", camera="2"), Row("b", camera="yard")])
    print_hits(gallery.search(Query(vectors=[RED], camera=camera)), gallery.calibration, as_json=False)
    return out.readouterr().out


def test_a_row_shows_the_threshold_that_it_was_judged_by(capsys: pytest.CaptureFixture[str]) -> None:
    head, first, second, *_ = lines = printed("door", capsys).splitlines()
    assert head.split()[3:6] == ["probability", "threshold", "same"]
    cells = {line.split()[0]: line.split()[-3:-1] for line in (first, second)}
    assert cells == {"a": ["0.7500", "no"], "b": ["0.5000", "yes"]}
    assert lines[-1].startswith("same: from the threshold on, that of its row; about 1 false match in 1,000 strangers.")


def test_one_threshold_for_all_stands_in_the_sentence_alone(capsys: pytest.CaptureFixture[str]) -> None:
    head, *_, last = printed(None, capsys).splitlines()
    assert "threshold" not in head
    assert last.startswith("same: from the threshold on, 0.5000; about 1 false match in 1,000 strangers.")


def test_what_was_not_measured_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A rate stands for at least ten pairs of strangers that reach the threshold, as the calibration itself warns."""
    for impostors, words in (
        (10_000, "about 1 false match in 1,000 strangers. A"),
        (9_999, "about 1 false match in 1,000 strangers, or fewer. A"),
        (500, "about 1 false match in 50 strangers, or fewer. A"),
        (99, "how often strangers reach it is not known: only 99 pairs of them were measured. A"),
    ):
        print_meaning(replace(Calibrated.calibration, impostors=impostors), by_row=False)
        assert f"from the threshold on, 0.5000; {words}" in capsys.readouterr().out
