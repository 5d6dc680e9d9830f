"""Draw the pictures of the pages: the paper's figures 2 to 5, and those of the demonstration's run (`make demo`).

python -m docs.figures

Synthetic people only.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from reidkit.data.formats.detect import load_dataset
from reidkit.encoder import InferenceOptions, load_model
from reidkit.evaluation import EvaluationProtocol, evaluate
from reidkit.experiments.luo2019 import figures, pipelines
from reidkit.plots.image_grid import ranked_figure
from reidkit.plots.style import write_figure
from reidkit.report.build import ranked_lists

LISTS = 5
WIDEST = 1400
"""Pixels of a picture of the paper's figures."""


def main(demo: Path, out: Path) -> None:
    """Draw what the pages show; what needs the demonstration is left as it is where that was not made."""
    for number, draw in {2: pipelines.figure2, 3: figures.figure3, 4: figures.figure4, 5: pipelines.figure5}.items():
        path = out / f"figure{number}.png"
        write_figure(draw(), path)
        shrink(path, colours=128 if number == 4 else 32)
    if (demo / "run").is_dir():
        draw_demonstration(demo, out)
    else:
        print(f"no {demo / 'run'}: the pictures of the demonstration stay as they are; `make demo` makes it")


def shrink(path: Path, colours: int) -> None:
    """Write a picture again, at most `WIDEST` pixels wide and in few colours."""
    with Image.open(path) as drawn:
        size = min(drawn.width, WIDEST), round(drawn.height * min(1.0, WIDEST / drawn.width))
        small = drawn.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    small.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)


def draw_demonstration(demo: Path, out: Path) -> None:
    """Draw ranked lists that are neither the best nor the worst."""
    model, benchmark, protocol = load_model(demo / "run"), load_dataset(demo / "people"), EvaluationProtocol()
    if "synthetic" not in (demo / "people" / "README.txt").read_text(encoding="utf-8").lower():
        sys.exit(f"{demo / 'people'} is not a synthetic set: only such people may be shown")
    evaluation = evaluate(model, benchmark, protocol, InferenceOptions())
    middling = np.argsort(np.abs(evaluation.scores.average_precision - evaluation.scores.map), kind="stable")
    chosen = np.random.default_rng(0).permutation(middling[: 20 * LISTS])[:LISTS]
    write_figure(ranked_figure(ranked_lists(evaluation, protocol, chosen.tolist())), out / "ranked.png")
    shrink(out / "ranked.png", colours=128)


if __name__ == "__main__":
    main(Path("demo"), Path(__file__).parent / "images")
