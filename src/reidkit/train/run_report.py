"""`report.html` of a run folder."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from reidkit.report import build
from reidkit.report.page import write_report
from reidkit.report.pictures import add_pictures
from reidkit.train import log

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.recipe import Recipe
    from reidkit.train.run import TrainResult


def write(folder: Path, outcome: TrainResult, command: str, given: Recipe | None = None) -> None:
    """Write the page of a finished run into its folder; `given` is its recipe before it was changed.

    Raises:
        DataError: the folder cannot be written.
    """
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    on = outcome.evaluated.name if outcome.evaluated else ""
    cameras = outcome.protocol.cameras
    settings = {"training": outcome.description, "evaluated on": on or "nothing", "cameras": cameras, **facts}
    data = f"{outcome.description}; {f'evaluated on {on}' if on else 'not evaluated'}"
    made = build.build_report(outcome.model, data, settings, command, on=on, given=given)
    made = dataclasses.replace(made, log=log.read(folder / "log.jsonl"))
    if outcome.evaluation:
        made = build.add_scores(made, outcome.evaluation, outcome.protocol)
        device = next(outcome.model.network.parameters()).device
        made = add_pictures(made, outcome.model, outcome.evaluation, device)
    write_report(folder / "report.html", made)
