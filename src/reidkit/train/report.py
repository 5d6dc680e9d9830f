"""`report.html` of a run folder."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from reidkit import page
from reidkit.judge import Protocol
from reidkit.pictures import add_pictures
from reidkit.report.html import write_report
from reidkit.train import journal

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.train.job import Outcome


def write(folder: Path, outcome: Outcome, command: str) -> None:
    """Write the page of a finished run into its folder.

    Raises:
        DataError: the folder cannot be written.
    """
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    judged = outcome.judged.name if outcome.judged else "nothing"
    settings = {"training": outcome.description, "judged on": judged, **facts}
    made = page.report_of(outcome.model.recipe.name, outcome.model.recipe, settings, command)
    made = dataclasses.replace(made, log=journal.read(folder / "log.jsonl"))
    if outcome.judgement:
        made = page.add_scores(made, outcome.judgement, Protocol())
        device = next(outcome.model.network.parameters()).device
        made = add_pictures(made, outcome.model, outcome.judgement, device)
    write_report(folder / "report.html", made)
