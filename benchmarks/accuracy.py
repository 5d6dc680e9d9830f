"""Whether speed costs accuracy: the same recipe by `reidkit train` and by a plain loop, with several seeds each.

The plain loop takes nothing of what makes reidkit quick: images are opened and augmented one by one with Pillow as
float tensors, memory is NCHW, precision float32, Adam as it comes. It shares what decides the result: network, losses,
order of the images and learning rate, which tests/parity holds against the formulas. Both networks are evaluated by the
same code in float32. A run that is done is not done again; one that was stopped is.

Run: `python -m benchmarks.accuracy --data DIR --out FOLDER [--recipe NAME] [--weights FILE] [--seeds N]
[--set optim.epochs=60] [--device cuda] [--json]`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.plain import plain_batches
from benchmarks.step import Way, build_step
from reidkit.data.formats.detect import load_dataset
from reidkit.encoder import InferenceOptions, Model
from reidkit.evaluation import EvaluationProtocol, evaluate
from reidkit.hardware import choose_device
from reidkit.model.weights import load_backbone
from reidkit.recipe import override
from reidkit.recipes import get_recipe
from reidkit.train.inputs import TrainOptions
from reidkit.train.log import log_lines
from reidkit.train.optimizer import build_schedule
from reidkit.train.run import resolve_stride, train

if TYPE_CHECKING:
    import torch

    from reidkit.model.network import Network
    from reidkit.recipe import Recipe
    from reidkit.types import Dataset

WAYS = ("reidkit", "plain")


def plain_model(recipe: Recipe, dataset: Dataset, weights: Path | None, seed: int, device: torch.device) -> Model:
    """A network trained by the plain loop."""
    ids, labels = np.unique([sample.pid for sample in dataset.train], return_inverse=True)
    made: list[Network] = []

    def begin(network: Network) -> None:
        if weights:
            load_backbone(network, weights)
        made.append(network)

    step, taken = build_step(recipe, len(ids), device, Way(), begin, seed), 0
    for epoch in range(1, recipe.optim.epochs + 1):
        for images, pids in plain_batches(dataset.train, labels, recipe, seed, epoch):
            step(images.to(device), pids.to(device), build_schedule(recipe.optim).rate(epoch, taken))
            taken += 1
        print(f"  plain, seed {seed}: epoch {epoch} of {recipe.optim.epochs}", file=sys.stderr, flush=True)
    return Model(made[0].eval(), recipe, "plain")


def scores(way: str, seed: int, recipe: Recipe, options: argparse.Namespace) -> dict[str, float]:
    """Rank-1 and mAP of one run, and the CPU seconds of its training and evaluation."""
    began = time.process_time()
    dataset, device = load_dataset(options.data), choose_device(options.device)
    if way == "plain":
        model = plain_model(recipe, dataset, options.weights, seed, device)
    else:
        place = options.out / f"reidkit-{seed}"
        with log_lines(lambda line: print(f"  {line}", file=sys.stderr, flush=True)):
            model = train(
                recipe,
                options.data,
                out=place,
                weights=options.weights,
                seed=seed,
                resume=True,
                options=TrainOptions(device=options.device, cache_dir=options.out / "cache"),
            ).model
    found = evaluate(model, dataset, EvaluationProtocol(), InferenceOptions(device=device, precision="fp32")).scores
    return {"rank1": found.rank1, "map": found.map, "cpu_s": round(time.process_time() - began, 1)}


def figures(runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Mean and deviation of each way, reidkit less plain, and that in standard errors of a difference."""
    made: dict[str, Any] = {}
    for key in ("rank1", "map"):
        values = {way: [one[key] for one in found] for way, found in runs.items()}
        spread = {way: stdev(found) if len(found) > 1 else math.nan for way, found in values.items()}
        difference = mean(values["reidkit"]) - mean(values["plain"])
        error = math.sqrt(sum(spread[way] ** 2 / len(values[way]) for way in WAYS))
        made[key] = {way: [mean(values[way]), spread[way]] for way in WAYS}
        made[key] |= {"difference": difference, "standard_errors": difference / error if error else math.nan}
    return made


def main() -> None:
    """All runs that are not there yet, and what they say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="a folder for the runs and figures")
    parser.add_argument("--recipe", default="small-strong-baseline")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    recipe = resolve_stride(override(get_recipe(options.recipe), options.changes), options.weights)
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for seed in range(options.seeds):
        for way in WAYS:
            file = options.out / f"{way}-{seed}.json"
            if not file.is_file():
                options.out.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps(scores(way, seed, recipe, options)) + "\n")
            runs[way].append(json.loads(file.read_text()))
    result = {"runs": runs, **figures(runs)}
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for key in ("rank1", "map"):
        found = result[key]
        words = ", ".join(f"{way} {100 * found[way][0]:.1f}±{100 * found[way][1]:.1f}" for way in WAYS)
        print(f"{key}: {words}; {100 * found['difference']:+.1f}, {found['standard_errors']:+.1f} standard errors")


if __name__ == "__main__":
    main()
