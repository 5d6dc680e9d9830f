"""Draws the pictures of the documentation from the demonstration's run: `make demo docs`. Synthetic people only."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from reidkit.data.formats.detect import load_dataset
from reidkit.encoder import InferenceOptions, load_model
from reidkit.evaluation import EvaluationProtocol, evaluate
from reidkit.plots.charts import chart_figure, validation_figure
from reidkit.plots.image_grid import ranked_figure
from reidkit.plots.style import write_figure
from reidkit.report.build import ranked_lists
from reidkit.train.log import read

LISTS = 5


def main(demo: Path, out: Path) -> None:
    """Ranked lists that are neither the best nor the worst, and the scores over the epochs."""
    model, benchmark, protocol = load_model(demo / "run"), load_dataset(demo / "people"), EvaluationProtocol()
    if "synthetic" not in (demo / "people" / "README.txt").read_text(encoding="utf-8").lower():
        sys.exit(f"{demo / 'people'} is not a synthetic set: only such people may be shown")
    evaluation = evaluate(model, benchmark, protocol, InferenceOptions())
    middling = np.argsort(np.abs(evaluation.scores.average_precision - evaluation.scores.map), kind="stable")
    chosen = np.random.default_rng(0).permutation(middling[: 20 * LISTS])[:LISTS]
    write_figure(ranked_figure(ranked_lists(evaluation, protocol, chosen.tolist())), out / "ranked.png")
    with Image.open(out / "ranked.png") as picture:
        small = picture.convert("RGB").quantize(128)
    small.save(out / "ranked.png", optimize=True)
    rows = [row for row in read(demo / "run" / "log.jsonl") if row["kind"] == "scores"]
    validation = validation_figure(rows)
    if validation is None:
        sys.exit(f"{demo / 'run'} has no scores over its epochs")
    write_figure(chart_figure(validation.chart, legend=True), out / "demo-curve.png")


if __name__ == "__main__":
    main(Path("demo"), Path(__file__).parent / "images")
