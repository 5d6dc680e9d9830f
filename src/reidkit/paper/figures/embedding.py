"""Figure 6: a two-dimensional feature under ID loss, triplet loss, both, and both with BNNeck, trained and drawn."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reidkit.data.cache import open_images
from reidkit.data.detect import open_benchmark
from reidkit.data.loaders import eval_batches
from reidkit.embed import choose_device, embed
from reidkit.losses.identity import IdentityLoss
from reidkit.losses.objective import Objective
from reidkit.paper.figures.plane import boundaries
from reidkit.recipe import Batch, Erasing, Identity, Images, Network, Optim, Recipe, Triplet, digest, override
from reidkit.report.canvas import INK, RULE, SOFT, colour, marker, plain, sheet
from reidkit.report.files import write_whole
from reidkit.synth import draw_dataset
from reidkit.train import checkpoint
from reidkit.train.job import Job, run
from reidkit.types import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from reidkit.train.job import Outcome

    Array = NDArray[np.float64]

ID_LOSS = Recipe(
    name="figure6-id",
    network=Network(backbone="resnet18", width=0.25, last_stride=1, embedding=2),
    images=Images(height=64, width=32, pad=2),
    erasing=Erasing(probability=0.0),
    batch=Batch(ids=8, images=8),
    triplet=Triplet(weight=0.0),
    optim=Optim(lr=2e-3, weight_decay=0.0, epochs=60, drops=(45, 55), warmup_epochs=2),
)
BOTH = replace(ID_LOSS, name="figure6-both", triplet=Triplet())
TRIPLET = replace(
    BOTH,
    name="figure6-triplet",
    identity=Identity(weight=0.0),
    optim=replace(BOTH.optim, lr=5e-4, epochs=30, drops=(22, 27)),
)
BNNECK = replace(BOTH, name="figure6-bnneck", network=replace(BOTH.network, neck="bnneck"))
PANELS = (
    ("ID loss", ID_LOSS),
    ("triplet loss", TRIPLET),
    ("ID + triplet loss", BOTH),
    ("ID + triplet loss + BNNeck", BNNECK),
)


class Plane(NamedTuple):
    """What a trained network makes of the images: f_t and f_i [N, 2], people [N], and the classifier, if it has one."""

    metric: Array
    search: Array
    pids: NDArray[np.int64]
    classifier: tuple[Array, Array] | None


def _silent(*_: object) -> None:
    """Say nothing."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the figure needs beside its four recipes; `data` None draws synthetic people into `out`.

    `settings` change every recipe, as those of `reidkit train --set` do.
    """

    out: Path
    data: Path | None = None
    people: int = 8
    settings: tuple[str, ...] = ()
    seed: int = 0
    device: str = "auto"
    command: str = "the same command"
    say: Callable[[str], None] = _silent


def figure(plan: Plan) -> Figure:
    """Train the four networks, or go on with them, in folders under `plan.out`, and draw them side by side.

    Raises:
        ReidkitError: too few people in the data, or what `reidkit train` would say.
    """
    listing = choose_people(plan)
    planes = {title: trained(recipe, listing, plan) for title, recipe in PANELS}
    return draw(planes)


def start(recipe: Recipe, plan: Plan) -> Path | None:
    """What a network starts from. The hardest triplets pull a plane together to a point when they begin from noise.

    So the panel of the triplet loss alone starts from the backbone of the first panel, as the paper's networks start
    from ImageNet; the others start from scratch.
    """
    return plan.out / ID_LOSS.name / "model.safetensors" if recipe.name == TRIPLET.name else None


def choose_people(plan: Plan) -> Path:
    """Write the list of the training images that are used: those of the `people` with the most images.

    Raises:
        DataError: fewer people than that, or the list cannot be written.
    """
    data = plan.data
    if data is None:
        data = plan.out / "people"
        if not data.is_dir():
            plan.say(f"drawing {plan.people} synthetic people into {data}")
            draw_dataset(data, 2 * plan.people, 4, plan.seed, workers=1, height=64, width=32, images_per_camera=8)
    train = open_benchmark(data).train
    pids, counts = np.unique([sample.pid for sample in train], return_counts=True)
    if len(pids) < plan.people:
        raise DataError(f"{data} has {len(pids)} people to train with: this figure takes {plan.people}")
    chosen = set(pids[np.argsort(-counts, kind="stable")[: plan.people]].tolist())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "pid", "camid", "split"))
    rows = [sample for sample in train if sample.pid in chosen]
    writer.writerows((str(Path(str(sample.path)).absolute()), sample.pid, sample.camid, "train") for sample in rows)
    listing = plan.out / "people.csv"
    write_whole(listing, text.getvalue().encode("utf-8", "surrogateescape"))
    return listing


def trained(recipe: Recipe, listing: Path, plan: Plan) -> Plane:
    """Train by `recipe` with the people of the listing, unless that is done, and look where their images are."""
    recipe = override(recipe, list(plan.settings))
    folder = plan.out / recipe.name
    job = Job(
        out=folder,
        data=(listing,),
        seed=plan.seed,
        weights=start(recipe, plan),
        resume=True,
        device=plan.device,
        resume_command=plan.command,
    )
    plan.say(f"{recipe.name}: in {folder}")
    outcome = run(recipe, job)
    return look(outcome, listing, folder / "state.pt", plan)


def look(outcome: Outcome, listing: Path, state: Path, plan: Plan) -> Plane:
    """Features of the listed images, and the classifier out of the run's last checkpoint."""
    network, recipe, device = outcome.model.network, outcome.model.recipe, choose_device(plan.device)
    source = open_images(open_benchmark(listing).train, recipe.images, None)
    metric, search = (
        embed(network, eval_batches(source, 128, device), feature=feature) for feature in ("before", "after")
    )
    pids, labels = np.unique([sample.pid for sample in source.samples], return_inverse=True)
    objective = Objective(recipe, network.channels, len(pids))
    checkpoint.load(state, digest(recipe), objective=objective)
    classifier = None
    if isinstance(objective.identity, IdentityLoss):
        layer = objective.identity.classifier
        weight = layer.weight.detach().double().numpy()
        bias = layer.bias.detach().double().numpy() if layer.bias is not None else np.zeros(len(weight))
        classifier = (weight, bias)
    return Plane(metric.astype(np.float64), search.astype(np.float64), labels.astype(np.int64), classifier)


def draw(planes: dict[str, Plane]) -> Figure:
    """One panel each: the feature that the ID loss sees, its hyperplanes dashed; behind BNNeck that is f_i."""
    made = sheet(4.2 * len(planes), 4.7)
    grid = made.subplots(1, len(planes), squeeze=False)[0]
    for letter, (title, plane), axes in zip("abcdef", planes.items(), grid, strict=False):
        neck = not np.array_equal(plane.metric, plane.search)
        _panel(axes, plane)
        plain(axes, x="fᵢ, after the neck" if neck else "f", title=f"({letter}) {title}", grid="")
    return made


def _panel(axes: Axes, plane: Plane) -> None:
    points = plane.search
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2, max(float((high - low).max()) * 0.56, 1e-6)
    window = (middle[0] - half, middle[0] + half, middle[1] - half, middle[1] + half)
    for value, line in ((0.0, axes.axvline), (0.0, axes.axhline)):
        line(value, color=RULE, linewidth=1, zorder=0)
    if plane.classifier is not None:
        for segment in boundaries(*plane.classifier, window):
            axes.plot(*segment.ends.T, color="#c9971b", linestyle=(0, (4, 2)), linewidth=1.6, zorder=2)
    for person in np.unique(plane.pids):
        chosen = points[plane.pids == person]
        x, y = chosen.T
        axes.scatter(x, y, s=16, color=colour(person), marker=marker(person), linewidth=0, alpha=0.8, zorder=3)
        axes.annotate(str(person + 1), chosen.mean(axis=0), color=INK, fontsize=9, fontweight="bold", zorder=4)
    axes.set(xlim=window[:2], ylim=window[2:], aspect="equal")
    axes.tick_params(labelsize=8, colors=SOFT)
