"""What a score in `scores.json` is of."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from reidkit.experiments.measure import DatasetDigest
from reidkit.types import Dataset, Sample


@pytest.mark.parametrize(("name", "told"), [("market1501", 0), ("folder", 1)])
def test_scores_of_earlier_tables_are_found_again(name: str, told: int) -> None:
    """They were stored when camera c1 of Market-1501 was camid 0 and c1 of own images 1."""
    samples = (Sample(Path("x/0001_c1s1_000001_00.jpg"), 1, 1),)
    known = DatasetDigest.of("any", Dataset(name, samples, samples, samples))
    line = "\0".join(("0001_c1s1_000001_00.jpg", "1", str(told))) + "\n"
    assert known.trained == hashlib.sha256(line.encode()).hexdigest()[:12]
    assert known.tested == hashlib.sha256(2 * line.encode()).hexdigest()[:12]
