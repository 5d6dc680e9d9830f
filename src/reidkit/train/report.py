"""`report.html` of a run folder."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from reidkit import page
from reidkit.pictures import add_pictures
from reidkit.report.html import write_report
from reidkit.train import journal

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.recipe import Recipe
    from reidkit.train.job import Outcome


def write(folder: Path, outcome: Outcome, command: str, given: Recipe | None = None) -> None:
    """Write the page of a finished run into its folder; `given` is its recipe before it was changed.

    Raises:
        DataError: the folder cannot be written.
    """
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    on = outcome.judged.name if outcome.judged else ""
    cameras = outcome.protocol.cameras
    settings = {"training": outcome.description, "evaluated on": on or "nothing", "cameras": cameras, **facts}
    data = f"{outcome.description}; {f'evaluated on {on}' if on else 'not evaluated'}"
    made = page.report_of(outcome.model, data, settings, command, on=on, given=given)
    made = dataclasses.replace(made, log=journal.read(folder / "log.jsonl"))
    if outcome.judgement:
        made = page.add_scores(made, outcome.judgement, outcome.protocol)
        device = next(outcome.model.network.parameters()).device
        made = add_pictures(made, outcome.model, outcome.judgement, device)
    write_report(folder / "report.html", made)
