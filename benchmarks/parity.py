"""How far reidkit is from a program written from the same description: in weights, losses, scores and batches.

The other program is `benchmarks/reference.py`, in double precision and without a line of reidkit. With
`--official DIR`, a checkout of the authors' reid-strong-baseline, its own modules are compared as well. Five parts:

- training: 20 steps of the whole strong baseline (ResNet-50, as the authors' code has it) on the same images from the
  same weights, both in double precision, two steps to an epoch, so that the warm-up is passed through;
- scores: the protocol of Market-1501 on made-up features with many ties, and with `--model` and `--data` on a model's;
- re-ranking: k-reciprocal, beside full matrices in double and in single precision;
- sampler: 20 epochs of a listing like Market-1501's;
- programs: with `--official`, `--model` and `--data` (Market-1501's folders), the same weights through both whole
  programs, from the files to the scores (`benchmarks/official_evaluation.py`).

Run: `python -m benchmarks.parity [--only training scores ...] [--official DIR] [--model RUN --data DIR] [--json]`.
Two minutes and 3 GB on one core.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch

from benchmarks import official, official_evaluation, reference
from reidkit.data.sampler import PKSampler
from reidkit.losses.objective import build_objective
from reidkit.metrics.reranking.k_reciprocal import k_reciprocal
from reidkit.metrics.retrieval import Scores, score_features
from reidkit.model.network import build_network
from reidkit.recipe import override
from reidkit.recipes import get_recipe
from reidkit.recipes.luo2019.interpretations import interpret
from reidkit.train.optimizer import build_optimizer, build_schedule
from reidkit.types import Embeddings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from reidkit.recipe import Recipe

    Weights = dict[str, Tensor]

STEPS_PER_EPOCH = 2
IDS, IMAGES = 4, 4
KNOWN_IDS = 10
SIZE = (64, 32)
RATES = ("rank1", "rank5", "rank10", "map", "map_trapezoid", "minp")


class Figure(NamedTuple):
    """One measured number, and what it says."""

    value: float | list[float]
    meaning: str


Figures = dict[str, Figure]


class Program(Protocol):
    """A program that trains the strong baseline; all name the weights alike."""

    def step(self, images: Tensor, labels: Tensor, epoch: int) -> dict[str, float]:
        """One step at the rate of an epoch; the weighted terms of the loss before it, and the rate."""

    def weights(self) -> Weights:
        """All weights, running statistics and centres."""

    def embed(self, images: Tensor) -> Tensor:
        """f_i as it is searched with."""


def recipe_for(width: float = 1.0) -> Recipe:
    """The strong baseline as the authors' code has it."""
    return override(interpret(get_recipe("strong-baseline"), "official-code"), {"network.width": width})


class Ours:
    """reidkit's network, objective, optimiser and rate, in double precision."""

    def __init__(self, start: Weights, recipe: Recipe) -> None:
        self.recipe = recipe
        self.network = build_network(recipe.network)
        self.objective = build_objective(recipe, self.network.spans, len(start["classifier.weight"]))
        for module in (self.network, self.objective):
            module.double().train()
            module.load_state_dict({name: start[_common(name)] for name in module.state_dict()})
        self.optimizer = build_optimizer(self.network, self.objective, recipe.optim)
        self.steps = 0

    def step(self, images: Tensor, labels: Tensor, epoch: int) -> dict[str, float]:
        """One step at the rate of an epoch; the weighted terms of the loss before it, and the rate."""
        lr = build_schedule(self.recipe.optim).rate(epoch, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        features = self.network(images)
        terms = self.objective(features.f_t, features.f_i, labels)
        self.optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        self.optimizer.step()
        self.objective.step(lr)
        self.steps += 1
        return {name: float(term.detach()) for name, term in terms.items()} | {"lr": lr}

    def weights(self) -> Weights:
        """All weights, running statistics and centres."""
        both = self.network.state_dict() | self.objective.state_dict()
        return {_common(name): value for name, value in both.items()}

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """f_i as it is searched with."""
        self.network.eval()
        features: Tensor = self.network(images)[1]
        self.network.train()
        return features


def _common(name: str) -> str:
    for ours in ("backbone.", "identity.", "center."):
        name = name.removeprefix(ours)
    return name


def first_weights(recipe: Recipe, ids: int, seed: int = 0) -> Weights:
    """Where all programs start: a fresh network, classifier and centres, in double precision."""
    torch.manual_seed(seed)
    network = build_network(recipe.network)
    objective = build_objective(recipe, network.spans, ids)
    both = network.state_dict() | objective.state_dict()
    return {_common(name): value.double() if value.is_floating_point() else value for name, value in both.items()}


def batches(steps: int, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Noise as images float64 [B, 3, H, W], to which each id adds large squares of its own, and labels [B]."""
    rng = torch.Generator().manual_seed(seed)
    squares = 2 * torch.randn(KNOWN_IDS, 3, SIZE[0] // 8, SIZE[1] // 8, generator=rng, dtype=torch.float64)
    pattern = squares.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    for _ in range(steps):
        labels = torch.randperm(KNOWN_IDS, generator=rng)[:IDS].repeat_interleave(IMAGES)
        yield torch.randn(len(labels), 3, *SIZE, generator=rng, dtype=torch.float64) + pattern[labels], labels


def training(others: dict[str, Callable[[Weights], Program]], steps: int, width: float = 1.0) -> Figures:
    """Run reidkit and the other programs side by side, one batch after the other."""
    recipe = recipe_for(width)
    start = first_weights(recipe, KNOWN_IDS)
    ours, theirs = Ours(start, recipe), {name: make(start) for name, make in others.items()}
    apart: dict[str, dict[str, list[float]]] = {
        name: {term: [] for term in ("identity", "triplet", "center", "lr")} for name in others
    }
    said: dict[str, float] = {}
    for number, (images, labels) in enumerate(batches(steps)):
        epoch = 1 + number // STEPS_PER_EPOCH
        said = ours.step(images, labels, epoch)
        for name, program in theirs.items():
            found = program.step(images, labels, epoch)
            for term, values in apart[name].items():
                values.append(abs(found[term] - said[term]))
    figures: Figures = {}
    images, _ = next(batches(1, seed=1))
    for name, program in theirs.items():
        figures |= {f"{name}_{key}": figure for key, figure in _apart(ours, program, start, images).items()}
        for term, values in apart[name].items():
            figures[f"{name}_{term}"] = Figure(max(values), f"largest difference of {_TERMS[term]} at any step")
            figures[f"{name}_{term}_by_step"] = Figure(values, "the same, step by step")
    for term, value in said.items():
        figures[f"last_{term}"] = Figure(value, f"{_TERMS[term]} at the last step, for scale")
    return figures


_TERMS = {
    "identity": "the ID loss",
    "triplet": "the triplet loss",
    "center": "the weighted centre loss",
    "lr": "the learning rate",
}


def _apart(ours: Program, theirs: Program, start: Weights, images: Tensor) -> Figures:
    """How far the weights of two programs are from each other, and how far they have come."""
    a, b = ours.weights(), theirs.weights()
    if a.keys() != b.keys():
        raise SystemExit(f"the programs have different weights: {sorted(a.keys() ^ b.keys())[:5]}")
    learned = [name for name in a if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    weights = [name for name in learned if name != "centers"]
    statistics = [name for name in a if name not in learned]
    moved = _largest(start, a, weights)
    largest = _largest(a, b, weights)
    norm = math.sqrt(sum(float((a[name] - start[name]).square().sum()) for name in weights))
    gap = math.sqrt(sum(float((a[name] - b[name]).square().sum()) for name in weights))
    features = ours.embed(images)
    return {
        "weights": Figure(largest, "largest difference of a weight after the last step"),
        "weights_of_movement": Figure(
            gap / norm, "length of the difference of all weights over the length of their movement"
        ),
        "largest_movement": Figure(moved, "the farthest that a weight has moved, for scale"),
        "centers": Figure(_largest(a, b, ["centers"]), "largest difference of a centre's coordinate"),
        "statistics": Figure(_largest(a, b, statistics), "largest difference of a running mean or variance"),
        "features": Figure(
            float((features - theirs.embed(images)).abs().max() / features.abs().max()),
            "largest difference of the trained networks' f_i over the largest f_i, images not trained with",
        ),
    }


def _largest(a: Weights, b: Weights, names: Sequence[str]) -> float:
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in names)


def tied_features(
    seed: int, queries: int = 200, images: int = 1500, copies: float = 1 / 3
) -> tuple[Embeddings, Embeddings]:
    """Made-up features around the centre of each id, a part of them exact copies of other images' features.

    The gallery has junk and distractors, and some ids have no match.
    """
    rng = np.random.default_rng(seed)
    ids, count = 60, queries + images
    pids = rng.integers(1, ids, count)
    features = rng.standard_normal((ids, 32))[pids] + 0.8 * rng.standard_normal((count, 32))
    copied = rng.random(count) < copies
    features[copied] = features[rng.integers(0, count, int(copied.sum()))]
    pids[queries:][rng.random(images) < 0.1] = 0
    pids[queries:][rng.random(images) < 0.1] = -1
    pids[:3] = ids + 1
    return _split(features.astype(np.float32), pids, rng.integers(0, 6, count), queries)


def integer_features(seed: int, queries: int = 200, images: int = 1500) -> tuple[Embeddings, Embeddings]:
    """Features of four small integers: exact distances, of which there are few different ones."""
    rng = np.random.default_rng(seed)
    count = queries + images
    pids = rng.integers(0, 60, count)
    features = rng.integers(-2, 3, (60, 4))[pids] + rng.integers(-2, 3, (count, 4))
    return _split(features.astype(np.float32), pids, rng.integers(0, 6, count), queries)


def _split(
    features: NDArray[np.float32], pids: NDArray[np.int64], camids: NDArray[np.int64], queries: int
) -> tuple[Embeddings, Embeddings]:
    first, rest = slice(None, queries), slice(queries, None)
    return tuple(Embeddings(features[part], pids[part], camids[part]) for part in (first, rest))  # type: ignore[return-value]


def scores(cases: dict[str, tuple[Embeddings, Embeddings, str]], checkout: official.Checkout | None) -> Figures:
    """Compare the scores with those of a sorted matrix of distances in double precision."""
    figures: Figures = {}
    for name, (query, gallery, metric) in cases.items():
        ours = score_features(query, gallery, metric=metric)  # type: ignore[arg-type]
        points = [reference.unit(e.vectors) if metric == "cosine" else e.vectors for e in (query, gallery)]
        distances = reference.squared_distances(*points)
        query_labels, gallery_labels = ((e.pids, e.camids) for e in (query, gallery))
        right = reference.market_scores(distances, query_labels, gallery_labels)
        if metric == "cosine":  # reidkit keeps features of length one in single precision
            rounded = reference.squared_distances(*(point.astype(np.float32) for point in points))
            figures[f"{name}_float32_units"] = Figure(
                _scores_apart(ours, reference.market_scores(rounded, query_labels, gallery_labels)),
                "largest difference of the scores where the reference rounds features of length one to float32",
            )
        figures[f"{name}_scores"] = Figure(_scores_apart(ours, right), f"largest difference of {', '.join(RATES)}")
        figures[f"{name}_cmc"] = Figure(float(np.abs(ours.cmc - right["cmc"]).max()), "of the CMC curve to rank 50")
        figures[f"{name}_average_precision"] = Figure(
            float(np.nanmax(np.abs(ours.average_precision - right["average_precision"]))), "of one query's AP"
        )
        figures[f"{name}_queries"] = Figure(abs(ours.queries - right["queries"]), "of the number of queries scored")
        figures[f"{name}_tied"] = Figure(_tied(distances), "part of the neighbours in a sorted list at one distance")
        figures[f"{name}_map"] = Figure(right["map"], "mAP, for scale")
        if checkout:
            theirs = official.market_scores(checkout, distances, query_labels, gallery_labels)
            figures[f"{name}_official"] = Figure(
                _scores_apart(ours, theirs),
                f"largest difference from the authors' {', '.join(theirs)}; they leave ties in the order of the sort",
            )
    return figures


def _scores_apart(ours: Scores, right: dict[str, Any]) -> float:
    return max(float(abs(getattr(ours, rate) - right[rate])) for rate in RATES if rate in right)


def _tied(distances: NDArray[np.float64]) -> float:
    return float((np.diff(np.sort(distances, axis=1)) == 0).mean())


def made_up(queries: int, images: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features of ids that are hard to tell apart."""
    rng = np.random.default_rng(0)
    pids = rng.integers(0, (queries + images) // 12, queries + images)
    features = rng.standard_normal((len(pids), width))[pids] + 1.2 * rng.standard_normal((len(pids), width))
    return features[:queries].astype(np.float32), features[queries:].astype(np.float32)


def reranking(query: NDArray[np.float32], gallery: NDArray[np.float32], checkout: official.Checkout | None) -> Figures:
    """Compare the re-ranked distances with those of full matrices."""
    ours = k_reciprocal(query, gallery)
    right = reference.k_reciprocal(query, gallery)
    single = reference.k_reciprocal(query, gallery, np.float32)
    figures = {
        "double": Figure(float(np.abs(ours - right).max()), "largest difference from the definition in float64"),
        "single": Figure(float(np.abs(ours - single).max()), "largest difference from full matrices in float32"),
        "single_double": Figure(float(np.abs(single - right).max()), "of those matrices from the definition"),
        "order": Figure(
            float((np.argsort(ours, kind="stable") != np.argsort(right, kind="stable")).mean()),
            "part of the places of the re-ranked lists that hold another image than in float64",
        ),
    }
    if checkout:
        units = (reference.unit(query), reference.unit(gallery))
        theirs = official.k_reciprocal(checkout, *(unit.astype(np.float32) for unit in units))
        figures |= {
            "official": Figure(float(np.abs(ours - theirs).max()), "largest difference from the authors' distances"),
            "official_double": Figure(float(np.abs(theirs - right).max()), "of the authors' from the definition"),
        }
    return figures


def market_listing() -> NDArray[np.int64]:
    """The ids of 12,936 images of 751 ids, 2 to 72 of each, as skewed as Market-1501's, in no order."""
    rng = np.random.default_rng(1501)
    counts = np.clip(np.rint(rng.gamma(2.46, 6.2, 751)).astype(np.int64) + 2, 2, 72)
    while missing := 12_936 - int(counts.sum()):
        one = rng.integers(0, 751)
        counts[one] = np.clip(counts[one] + np.sign(missing), 2, 72)
    return rng.permutation(np.repeat(np.arange(751), counts))


def sampler(pids: NDArray[np.int64], epochs: int, checkout: official.Checkout | None) -> Figures:
    """Batches and visits of some epochs of reidkit's sampler, and of loops over lists, one of them twice for scale."""
    ours, rng, listed = PKSampler(pids, 16, 4), random.Random(0), pids.tolist()
    drawn: dict[str, list[list[list[int]]]] = {
        "reidkit": [ours.epoch(epoch).tolist() for epoch in range(1, epochs + 1)],
        "reference": [reference.epoch_of_batches(listed, 16, 4, rng) for _ in range(epochs)],
        "again": [reference.epoch_of_batches(listed, 16, 4, rng) for _ in range(epochs)],
    }
    if checkout:
        drawn["official"] = [official.epoch_of_batches(checkout, listed, 16, 4, rng) for _ in range(epochs)]
    figures: Figures = {}
    visits = {}
    for name, run in drawn.items():
        counts = [len(epoch) for epoch in run]
        visits[name] = _visits(pids, run) / epochs
        seen = [len({index for one in epoch for index in one}) for epoch in run]
        figures |= {
            f"{name}_batches": Figure([min(counts), float(np.mean(counts)), max(counts)], "fewest, mean, most batches"),
            f"{name}_images": Figure(float(np.mean(seen)) / len(pids), "part of the images that an epoch shows, mean"),
            f"{name}_faults": Figure(
                sum(_faulty(pids, one) for epoch in run for one in epoch), "batches that are not 16 ids of 4 images"
            ),
        }
    for one, other in combinations(drawn, 2):
        figures[f"{one}_{other}_visits"] = Figure(
            float(np.abs(visits[one] - visits[other]).mean()),
            f"mean difference, {one} to {other}, of the times that an id comes in an epoch",
        )
    return figures


def _visits(pids: NDArray[np.int64], run: list[list[list[int]]]) -> NDArray[np.float64]:
    """How often each id was in a batch."""
    times = Counter(pid for epoch in run for one in epoch for pid in set(pids[one].tolist()))
    return np.array([float(times[pid]) for pid in range(int(pids.max()) + 1)])


def _faulty(pids: NDArray[np.int64], one: list[int]) -> bool:
    return sorted(Counter(pids[one].tolist()).values()) != [4] * 16


def model_features(run: Path, data: Path) -> tuple[Embeddings, Embeddings]:
    """The features that `reidkit evaluate` searches with."""
    from reidkit.data.formats.detect import load_dataset
    from reidkit.encoder import load_model

    model, dataset = load_model(run), load_dataset(data)
    return model.embed(dataset.query, precision="fp32"), model.embed(dataset.gallery, precision="fp32")


def programs_whole(checkout: official.Checkout, run: Path, data: Path) -> Figures:
    """Compare both programs from the files to the scores."""
    found = official_evaluation.compare(*official_evaluation.both(checkout, run, data))
    return {name: Figure(*figure) for name, figure in found.items()}


def measure(chosen: argparse.Namespace) -> dict[str, Figures]:
    """The parts that were asked for."""
    checkout = official.Checkout(chosen.official) if chosen.official else None
    programs: dict[str, Callable[[Weights], Program]] = {"reference": reference.Reference}
    if checkout:
        programs["official"] = lambda start: official.OfficialTraining(checkout, start)
    cases = {
        "distinct_cosine": (*tied_features(3, copies=0), "cosine"),
        "copies_cosine": (*tied_features(0), "cosine"),
        "copies_euclidean": (*tied_features(1), "euclidean"),
        "integers_euclidean": (*integer_features(2), "euclidean"),
    }
    for_reranking = made_up(100, 1000, 128)
    if chosen.model:
        query, gallery = model_features(chosen.model, chosen.data)
        cases["model_cosine"] = (query, gallery, "cosine")
        for_reranking = (np.asarray(query.vectors), np.asarray(gallery.vectors))
    parts: dict[str, Callable[[], Figures]] = {
        "training": lambda: training(programs, chosen.steps),
        "scores": lambda: scores(cases, checkout),
        "reranking": lambda: reranking(*for_reranking, checkout),
        "sampler": lambda: sampler(market_listing(), 20, checkout),
    }
    if checkout and chosen.model:
        parts["programs"] = lambda: programs_whole(checkout, chosen.model, chosen.data)
    return {name: part() for name, part in parts.items() if name in chosen.only}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    names = ("training", "scores", "reranking", "sampler", "programs")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="some of the parts")
    parser.add_argument("--steps", type=int, default=20, help="steps of training")
    parser.add_argument("--official", type=Path, help="a checkout of the authors' reid-strong-baseline")
    parser.add_argument("--model", type=Path, help="a run folder, to score its features; needs --data")
    parser.add_argument("--data", type=Path, help="the data set of --model")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    chosen = parser.parse_args(arguments)
    if (chosen.model is None) != (chosen.data is None):
        parser.error("--model and --data belong together: give both")
    if chosen.only == ["programs"] and not (chosen.official and chosen.model):
        parser.error("programs needs --official, --model and --data")
    if chosen.steps < 1:
        parser.error("--steps must be at least 1")
    found = measure(chosen)
    if chosen.json:
        print(json.dumps({part: {key: f.value for key, f in figures.items()} for part, figures in found.items()}))
        return
    for part, figures in found.items():
        print(part)
        for key, figure in figures.items():
            if not key.endswith("_by_step"):
                print(f"  {key:32} {_said(figure.value):>28}  {figure.meaning}")


def _said(value: float | list[float]) -> str:
    return " ".join(f"{each:.4g}" for each in (value if isinstance(value, list) else [value]))


if __name__ == "__main__":
    main()
