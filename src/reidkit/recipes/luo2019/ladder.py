"""The ladder of the paper's Table 1: each rung is its parent with one change, and the published score beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from reidkit.recipe import Center, Erasing, Identity, Images, Network, Recipe, Triplet
from reidkit.recipes.paper_table import Row, Search, scores

if TYPE_CHECKING:
    from collections.abc import Callable


STANDARD = Recipe(name="standard-baseline")
WARMUP = replace(STANDARD, name="warmup", optim=replace(STANDARD.optim, warmup_epochs=10))
ERASING = replace(WARMUP, name="erasing", erasing=Erasing(probability=0.5))
SMOOTHING = replace(ERASING, name="smoothing", identity=Identity(smoothing=0.1))
STRIDE = replace(SMOOTHING, name="last-stride", network=Network(last_stride=1))
BNNECK = replace(STRIDE, name="bnneck", network=replace(STRIDE.network, neck="bnneck"))
STRONG = replace(BNNECK, name="strong-baseline", center=Center(weight=5e-4))

EUCLIDEAN = Search(metric="euclidean")


def search_of(recipe: Recipe) -> Search:
    """As Table 2 says: without a neck the Euclidean distance, after it the cosine."""
    return EUCLIDEAN if recipe.network.neck == "none" else Search()


def _ladder() -> tuple[Row, ...]:
    """Table 1: (rank-1, mAP) in per cent on Market-1501, then on DukeMTMC-reID."""
    rungs = (
        ("Baseline-S", STANDARD, (87.7, 74.0), (79.7, 63.7)),
        ("+warmup", WARMUP, (88.7, 75.2), (80.6, 65.1)),
        ("+REA", ERASING, (91.3, 79.3), (81.5, 68.3)),
        ("+LS", SMOOTHING, (91.4, 80.3), (82.4, 69.3)),
        ("+stride=1", STRIDE, (92.0, 81.7), (82.6, 70.6)),
        ("+BNNeck", BNNECK, (94.1, 85.7), (86.2, 75.9)),
        ("+center loss", STRONG, (94.5, 85.9), (86.4, 76.4)),
    )
    parents = ("", *(recipe.name for _, recipe, _, _ in rungs))
    return tuple(
        Row(
            name=recipe.name,
            title=title,
            recipe=recipe,
            search=search_of(recipe),
            parent=parent,
            published=scores(market, duke),
        )
        for (title, recipe, market, duke), parent in zip(rungs, parents, strict=False)
    )


TABLE1 = _ladder()
LADDER = tuple((row.title, row.recipe) for row in TABLE1 if row.recipe)


def _half(images: Images) -> Images:
    """Half the size and half the padding: 128x64 pixels for the paper's 256x128."""
    return replace(images, height=images.height // 2, width=images.width // 2, pad=images.pad // 2)


def small(recipe: Recipe, name: str, width: float) -> Recipe:
    """Return the twin of a rung for a CPU: a narrow ResNet-18 from scratch, images of half the size, 40 epochs.

    What the rung switches stays switched. Padding shrinks with the image. The learning rate is three times the
    paper's, as there are no ImageNet weights to spoil; the schedule keeps the rate high for longer, as a short run has
    more to gain from it; and the warm-up takes about as large a share of the epochs as in the paper.
    """
    warmup = 3 if recipe.optim.warmup_epochs else 0
    return replace(
        recipe,
        name=f"{name}-{recipe.name}",
        network=replace(recipe.network, backbone="resnet18", width=width),
        images=_half(recipe.images),
        optim=replace(recipe.optim, lr=1e-3, epochs=40, drops=(26, 36), warmup_epochs=warmup),
    )


def short(recipe: Recipe) -> Recipe:
    """Return the twin of a rung for an hour or two: ResNet-50 from ImageNet weights, half the size, 24 epochs."""
    warmup = 2 if recipe.optim.warmup_epochs else 0
    return replace(
        recipe,
        name=f"short-{recipe.name}",
        images=_half(recipe.images),
        optim=replace(recipe.optim, epochs=24, drops=(14, 21), warmup_epochs=warmup),
    )


def started(recipe: Recipe) -> Recipe:
    """Return the twin of a rung in a small table: as `small`, but at the paper's rate, where a higher spoils the start.

    From nothing, or at a higher rate, rungs without a neck do not learn: the hardest triplets pull all features
    together to a point. Even so they need ten or twenty epochs to come free of it, so the rate drops late.
    """
    twin = small(recipe, "started", width=0.25)
    return replace(twin, optim=replace(twin.optim, lr=recipe.optim.lr, drops=(32, 38)))


def start(network: Network) -> Recipe:
    """Return the recipe that a small table starts from instead of ImageNet's weights: other ids, the ID loss alone."""
    rung = small(STANDARD, "start", network.width)
    return replace(
        rung,
        name=f"start-{network.backbone}",
        network=replace(rung.network, backbone=network.backbone),
        triplet=Triplet(weight=0.0),
        optim=replace(rung.optim, epochs=12, drops=(8, 11), warmup_epochs=2),
    )


def _twins(make: Callable[[Recipe], Recipe]) -> tuple[Row, ...]:
    """Return the ladder in another size, which nobody has published scores for."""
    twins = ((title, make(recipe)) for title, recipe in LADDER)
    return tuple(Row(name=recipe.name, title=title, recipe=recipe) for title, recipe in twins)


SMALL = _twins(lambda recipe: small(recipe, "small", width=0.25))
WIDE = _twins(lambda recipe: small(recipe, "small-wide", width=0.5))
SHORT = _twins(short)

ROWS = (*TABLE1, *SHORT, *WIDE, *SMALL)
"""What `reidkit recipes` lists."""
