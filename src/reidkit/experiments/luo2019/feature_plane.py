"""Figure 6: a two-dimensional feature under ID loss, triplet loss, both, and both with BNNeck, trained and drawn."""

from __future__ import annotations

import csv
import io
import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reidkit.atomic import write_bytes_atomic
from reidkit.data.formats.detect import load_dataset
from reidkit.data.images import open_images
from reidkit.data.loaders import eval_batches
from reidkit.encoder import embed
from reidkit.errors import DataError
from reidkit.experiments.plan import silent
from reidkit.hardware import choose_device
from reidkit.losses.identity import IdentityLoss
from reidkit.losses.objective import build_objective
from reidkit.metrics.retrieval import score_features
from reidkit.plots.style import (
    INK,
    RULE,
    SMALL,
    WORDS,
    add_heading,
    darker,
    group_colour,
    group_marker,
    new_figure,
    style_axes,
    text_background,
)
from reidkit.recipe import Batch, Erasing, Identity, Images, Network, Optim, Recipe, Triplet, digest, override
from reidkit.synth import synthesize
from reidkit.train import checkpoint, run
from reidkit.train.inputs import TrainOptions
from reidkit.types import Embeddings

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from reidkit.train.run import Run
    from reidkit.types import Metric

    Array = NDArray[np.float64]


# Where a linear classifier of two-dimensional features changes its mind: exact, not by painting a grid.

TOLERANCE = 1e-9


class Segment(NamedTuple):
    """A piece of the hyperplane between two classes: its ends [2, 2], and the classes that tie on it."""

    ends: Array
    classes: tuple[int, int]


def boundaries(weight_c2: Array, bias_c: Array, window: tuple[float, float, float, float]) -> list[Segment]:
    """The hyperplanes (w_i - w_j) x + b_i - b_j = 0 of every pair, cut to where both classes have the largest score.

    `window` is (left, right, bottom, top); what lies outside is cut off. A pair with equal weights has no hyperplane.
    """
    weight, bias = np.asarray(weight_c2, np.float64), np.asarray(bias_c, np.float64)
    found = []
    for i, j in itertools.combinations(range(len(weight)), 2):
        normal, offset = weight[i] - weight[j], bias[i] - bias[j]
        length = float(np.linalg.norm(normal))
        if length < TOLERANCE:
            continue
        foot, along = -offset * normal / length**2, np.array([-normal[1], normal[0]]) / length
        inside = _inequalities(weight, bias, i, window)
        low, high = _interval(inside, foot, along)
        if high - low > TOLERANCE:
            found.append(Segment(np.stack([foot + low * along, foot + high * along]), (i, j)))
    return found


def _inequalities(weight: Array, bias: Array, winner: int, window: tuple[float, float, float, float]) -> Array:
    """Rows (a, b, c) that mean a x + b y + c >= 0: no class beats `winner`, and the point is in the window."""
    left, right, bottom, top = window
    ahead = np.column_stack([weight[winner] - weight, bias[winner] - bias])
    frame = np.array([[1, 0, -left], [-1, 0, right], [0, 1, -bottom], [0, -1, top]], np.float64)
    return np.vstack([np.delete(ahead, winner, axis=0), frame])


def _interval(inequalities: Array, foot: Array, along: Array) -> tuple[float, float]:
    """Between which t the point `foot + t * along` keeps all of them; the second is less than the first if nowhere."""
    constant = inequalities[:, :2] @ foot + inequalities[:, 2]
    slope = inequalities[:, :2] @ along
    level = np.abs(slope) < TOLERANCE
    if (constant[level] < -1e-7).any():
        return 0.0, -1.0
    rising, falling = ~level & (slope > 0), ~level & (slope < 0)
    low = (-constant[rising] / slope[rising]).max(initial=-np.inf)
    high = (-constant[falling] / slope[falling]).min(initial=np.inf)
    return float(low), float(high)


START = Recipe(
    name="figure6-start",
    network=Network(backbone="resnet18", width=0.25, last_stride=1),
    images=Images(height=64, width=32, pad=2),
    erasing=Erasing(probability=0.0),
    batch=Batch(ids=8, images=8),
    triplet=Triplet(weight=0.0),
    optim=Optim(lr=2e-3, weight_decay=0.0, epochs=30, drops=(20, 26), warmup_epochs=2),
)
"""What gives all four the backbone to start from, as the paper's networks start from ImageNet. Begun from noise, the
hardest triplets pull a plane together to a point."""

ID_LOSS = replace(
    START,
    name="figure6-id",
    network=replace(START.network, embedding=2),
    optim=replace(START.optim, lr=1e-3, epochs=60, drops=(45, 54)),
)
BOTH = replace(ID_LOSS, name="figure6-both", triplet=Triplet())
TRIPLET = replace(BOTH, name="figure6-triplet", identity=Identity(weight=0.0))
BNNECK = replace(
    BOTH,
    name="figure6-bnneck",
    network=replace(BOTH.network, neck="bnneck"),
    # f grows as far as the ID loss needs it; f_i cannot, so the classifier must. It begins as section 3.5 has it, and
    # learns faster: with the other panels' rate its weights are still short when the run ends.
    identity=Identity(init="kaiming"),
    optim=replace(BOTH.optim, lr=5e-3),
)
PANELS = (
    ("ID loss", ID_LOSS),
    ("triplet loss", TRIPLET),
    ("ID + triplet loss", BOTH),
    ("ID + triplet loss + BNNeck", BNNECK),
)


class Plane(NamedTuple):
    """What a trained network makes of the images: f_t and f_i [N, 2], ids [N], and the classifier, if it has one."""

    f_t: Array
    f_i: Array
    pids: NDArray[np.int64]
    classifier: tuple[Array, Array] | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the figure needs beside its four recipes; `data` None draws synthetic people into `out`.

    `settings` change every recipe, as `optim.lr=1e-3` does.
    """

    out: Path
    data: Path | None = None
    format: str | None = None
    ids: int = 8
    settings: tuple[str, ...] = ()
    seed: int = 0
    device: str = "auto"
    command: str = "the same command"
    say: Callable[[str], None] = silent


def figure(plan: Plan) -> Figure:
    """Train the four networks and what they start from, or go on, in folders under `plan.out`; and draw the four.

    Raises:
        ReidkitError: too few ids in the data, or what training raises.
    """
    listing = list_images(plan)
    train(START, listing, plan)
    planes = {title: trained(recipe, listing, plan) for title, recipe in PANELS}
    name = f"training images of {load_dataset(plan.data, plan.format).name}" if plan.data else "synthetic people"
    return draw(planes, f"Features of two numbers: {plan.ids} ids, {name}")


def list_images(plan: Plan) -> Path:
    """Write the list of the training images that are used: those of the `ids` with the most images.

    Raises:
        DataError: fewer ids than that, or the list cannot be written.
    """
    data = plan.data
    if data is None:
        data = plan.out / "people"
        if not data.is_dir():
            plan.say(f"drawing {plan.ids} synthetic ids into {data}")
            synthesize(data, 2 * plan.ids, 4, plan.seed, workers=1, height=64, width=32, images_per_camera=8)
    train = load_dataset(data, plan.format if plan.data else None).train
    pids, counts = np.unique([sample.pid for sample in train], return_counts=True)
    if len(pids) < plan.ids:
        raise DataError(f"{data} has {len(pids)} ids to train with: this figure takes {plan.ids}")
    chosen = set(pids[np.argsort(-counts, kind="stable")[: plan.ids]].tolist())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "pid", "camid", "split"))
    rows = [sample for sample in train if sample.pid in chosen]
    writer.writerows((str(Path(str(sample.path)).absolute()), sample.pid, sample.camid, "train") for sample in rows)
    listing = plan.out / "people.csv"
    write_bytes_atomic(listing, text.getvalue().encode("utf-8", "surrogateescape"))
    return listing


def train(recipe: Recipe, listing: Path, plan: Plan) -> Run:
    """Train by `recipe` with the images of the listing, unless that is done; all begin with the backbone of `START`."""
    recipe = override(recipe, list(plan.settings))
    folder = plan.out / recipe.name
    plan.say(f"{recipe.name}: in {folder}")
    return run.train(
        recipe,
        listing,
        out=folder,
        seed=plan.seed,
        weights=None if recipe.name == START.name else plan.out / START.name / "model.safetensors",
        resume=True,
        options=TrainOptions(device=plan.device, resume_command=plan.command),
    )


def trained(recipe: Recipe, listing: Path, plan: Plan) -> Plane:
    """Train, and return where the images of the listing are."""
    return embed_images(train(recipe, listing, plan), listing, plan.out / recipe.name / "state.pt", plan)


def embed_images(run: Run, listing: Path, state: Path, plan: Plan) -> Plane:
    """Features of the listed images, and the classifier out of the run's last checkpoint."""
    network, recipe, device = run.model.network, run.model.recipe, choose_device(plan.device)
    source = open_images(load_dataset(listing).train, recipe.images.size, resize=recipe.images.resize)
    f_t, f_i = (embed(network, eval_batches(source, 128, device), feature=feature) for feature in ("f_t", "f_i"))
    pids, labels = np.unique([sample.pid for sample in source.samples], return_inverse=True)
    objective = build_objective(recipe, network.spans, len(pids), ranked=network.ranked, aside=network.aside)
    checkpoint.load(state, digest(recipe), objective=objective)
    classifier = None
    identity = getattr(objective, "identity", None)
    if isinstance(identity, IdentityLoss):
        layer = identity.classifier
        weight = layer.weight.detach().double().numpy()
        bias = layer.bias.detach().double().numpy() if layer.bias is not None else np.zeros(len(weight))
        classifier = (weight, bias)
    return Plane(f_t.astype(np.float64), f_i.astype(np.float64), labels.astype(np.int64), classifier)


def draw(planes: dict[str, Plane], title: str) -> Figure:
    """One panel each: the feature that the ID loss sees, its hyperplanes dashed; behind BNNeck that is f_i."""
    made = new_figure(3.5 * len(planes), 4.6)
    add_heading(made, title, WORDS + 1)
    grid = made.subplots(1, len(planes), squeeze=False)[0]
    for letter, (name, plane), axes in zip("abcdef", planes.items(), grid, strict=False):
        neck = not np.array_equal(plane.f_t, plane.f_i)
        _panel(axes, plane)
        style_axes(axes, grid="")
        axes.set_title(f"({letter}) {name}", loc="left", color=INK, fontsize=WORDS - 1, fontweight="bold")
        axes.set_xlabel("\n".join(("fᵢ, after the neck" if neck else "f", *findings(plane))), fontsize=SMALL, color=INK)
    return made


def findings(plane: Plane) -> list[str]:
    """What can be counted of a panel: the images on the side of their id at every hyperplane, and which distance suits.

    The mAP is that of searching every image among all the others.
    """
    points, pids = plane.f_i, plane.pids
    lines = []
    if plane.classifier is not None:
        weight, bias = plane.classifier
        share = ((points @ weight.T + bias).argmax(axis=1) == pids).mean()
        lines.append(f"{100 * share:.0f} % on the right side of all lines")
    # Each image as a camera of its own: the rule that leaves out the query's camera then leaves out the query.
    images = Embeddings(points.astype(np.float32), pids + 1, np.arange(len(pids)), "")
    metrics: tuple[Metric, ...] = ("euclidean", "cosine")
    words = [f"{metric} {100 * score_features(images, images, metric=metric).map:.1f}" for metric in metrics]
    return [*lines, f"mAP: {', '.join(words)}"]


def _panel(axes: Axes, plane: Plane) -> None:
    points = plane.f_i
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2, max(float((high - low).max()) * 0.56, 1e-6)
    window = (middle[0] - half, middle[0] + half, middle[1] - half, middle[1] + half)
    for value, line in ((0.0, axes.axvline), (0.0, axes.axhline)):
        line(value, color=RULE, linewidth=1, zorder=0)
    if plane.classifier is not None:
        for segment in boundaries(*plane.classifier, window):
            axes.plot(*segment.ends.T, color="#c9971b", linestyle=(0, (4, 2)), linewidth=1.6, zorder=2)
    for pid in np.unique(plane.pids):
        chosen = points[plane.pids == pid]
        x, y = chosen.T
        axes.scatter(x, y, s=18, color=group_colour(pid), marker=group_marker(pid), linewidth=0, alpha=0.85, zorder=3)
        look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL, "fontweight": "bold", "zorder": 4}
        axes.annotate(
            str(pid + 1), chosen.mean(axis=0), color=darker(group_colour(pid)), bbox=text_background(0.7), **look
        )
    axes.set(xlim=window[:2], ylim=window[2:], aspect="equal")
