"""What a score in `scores.json` is of."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reidkit.errors import RunError
from reidkit.experiments import measure as measuring
from reidkit.experiments.measure import DatasetDigest, RunOptions, measure
from reidkit.experiments.plan import plan_runs
from reidkit.types import Dataset, Sample
from tests.experiments.made import order

if TYPE_CHECKING:
    from reidkit.train.inputs import TrainOptions


@pytest.mark.parametrize(("name", "told"), [("market1501", 0), ("folder", 1)])
def test_scores_of_earlier_tables_are_found_again(name: str, told: int) -> None:
    """They were stored when camera c1 of Market-1501 was camid 0 and c1 of own images 1."""
    samples = (Sample(Path("x/0001_c1s1_000001_00.jpg"), 1, 1),)
    known = DatasetDigest.of("any", Dataset(name, samples, samples, samples))
    line = "\0".join(("0001_c1s1_000001_00.jpg", "1", str(told))) + "\n"
    assert known.trained == hashlib.sha256(line.encode()).hexdigest()[:12]
    assert known.tested == hashlib.sha256(2 * line.encode()).hexdigest()[:12]


def test_a_run_is_compiled_where_that_is_asked_for(
    tmp_path: Path, noise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def train(*_: object, options: TrainOptions, **__: object) -> None:
        asked.append(options.compile)
        raise RunError("not trained here")

    monkeypatch.setattr(measuring, "train", train)
    (planned,) = plan_runs(order(tmp_path, data={"noise": noise}, rows=("warmup",)))
    for wanted in (False, True):
        with pytest.raises(RunError):
            measure(planned, {"noise": noise}, RunOptions(device="cpu", compile=wanted))
    assert asked == [False, True]
