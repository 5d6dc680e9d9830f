"""What a score in `scores.json` is of."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import reidkit
from reidkit.errors import RunError
from reidkit.experiments import measure as measuring
from reidkit.experiments.measure import DatasetDigest, RunOptions, measure, scores_of
from reidkit.experiments.plan import plan_runs
from reidkit.recipes.paper_table import Search
from reidkit.types import JUNK, Dataset, Sample
from tests.experiments.made import order
from tests.metrics.definition import crowd

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


def test_junk_is_nobodys_neighbour_in_a_table_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `reidkit.score`: a gallery of a user's own may have images without an id."""
    query, gallery = crowd(images=200)
    gallery = replace(gallery, pids=np.where(np.arange(200) % 3, gallery.pids, JUNK))
    monkeypatch.setattr(measuring, "load_model", lambda _: None)
    monkeypatch.setattr(measuring, "embed_dataset", lambda *_: (query, gallery))
    wanted = {name: Search(metric="euclidean", rerank=name == "re-ranked") for name in ("plain", "re-ranked")}
    found = measuring._evaluate(tmp_path, Dataset("own"), wanted, None, RunOptions(device="cpu"))
    assert found["plain"] == reidkit.score(query, gallery, metric="euclidean").as_json()
    expected = reidkit.score(query, gallery, metric="euclidean", rerank="k-reciprocal")
    assert found["re-ranked"] == expected.as_json() != found["plain"]


@pytest.mark.parametrize("damaged", [3, {"rank1": 0.5}, {"rank1": 0.5, "map": math.nan}, {"rank1": 0.5, "map": "x"}])
def test_a_damaged_score_is_measured_again(damaged: object, tmp_path: Path) -> None:
    whole = {"rank1": 0.5, "map": 0.25}
    content = {"training": "these", "scores": {"one": damaged, "other": whole}}
    (tmp_path / "scores.json").write_text(json.dumps(content))
    assert scores_of(tmp_path, "these") == {"other": whole}
    assert scores_of(tmp_path, "others") == {}
