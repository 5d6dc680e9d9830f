"""Orders, and runs that look finished without having been trained."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from reidkit.experiments.measure import DatasetDigest
from reidkit.experiments.plan import Column, Experiment, plan_run
from reidkit.recipes import TABLES

if TYPE_CHECKING:
    from pathlib import Path

MARKET = DatasetDigest("market1501", "trained", "tested", official=True)
OTHER = DatasetDigest("other", "trained", "tested", official=False)


def order(out: Path, table: str = "table1", **changes: Any) -> Experiment:
    values: dict[str, Any] = {"table": TABLES[table], "data": {"market1501": out / "market"}, "out": out}
    return Experiment(**(values | changes))


def line(table: str, name: str) -> Any:
    return next(one for one in TABLES[table].rows if one.name == name)


def finish(asked: Experiment, name: str, seed: int, rank1: float, map_: float, known: DatasetDigest = MARKET) -> Path:
    """Leave behind what a run of the row `name` would."""
    row = line(asked.table.name, name)
    recipe = asked.recipe(row)
    assert recipe is not None
    run = plan_run(asked, recipe, row, Column(known.name, known.name, known.name), seed)
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "model.safetensors").touch()
    file = run.folder / "scores.json"
    scores = json.loads(file.read_text())["scores"] if file.is_file() else {}
    scores[known.key(row.search)] = {"rank1": rank1, "map": map_}
    file.write_text(json.dumps({"training": known.trained, "scores": scores}))
    return run.folder
