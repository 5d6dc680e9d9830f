"""The ladder of the paper's Table 1: each rung is its parent with one change, and the published score beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reidkit.recipe import Center, Erasing, Identity, Images, Network, Recipe, Triplet


@dataclass(frozen=True, kw_only=True)
class Row:
    """A recipe as a line of a table, with the published scores: fractions (rank-1, mAP), None where there are none."""

    title: str
    recipe: Recipe
    market: tuple[float, float] | None = None
    duke: tuple[float, float] | None = None


STANDARD = Recipe(name="standard-baseline")
WARMUP = replace(STANDARD, name="warmup", optim=replace(STANDARD.optim, warmup_epochs=10))
ERASING = replace(WARMUP, name="erasing", erasing=Erasing(probability=0.5))
SMOOTHING = replace(ERASING, name="smoothing", identity=Identity(smoothing=0.1))
STRIDE = replace(SMOOTHING, name="last-stride", network=Network(last_stride=1))
BNNECK = replace(STRIDE, name="bnneck", network=replace(STRIDE.network, neck="bnneck"))
STRONG = replace(BNNECK, name="strong-baseline", center=Center(weight=5e-4))

TABLE1 = (
    Row(title="Baseline-S", recipe=STANDARD, market=(0.877, 0.740), duke=(0.797, 0.637)),
    Row(title="+warmup", recipe=WARMUP, market=(0.887, 0.752), duke=(0.806, 0.651)),
    Row(title="+REA", recipe=ERASING, market=(0.913, 0.793), duke=(0.815, 0.683)),
    Row(title="+LS", recipe=SMOOTHING, market=(0.914, 0.803), duke=(0.824, 0.693)),
    Row(title="+stride=1", recipe=STRIDE, market=(0.920, 0.817), duke=(0.826, 0.706)),
    Row(title="+BNNeck", recipe=BNNECK, market=(0.941, 0.857), duke=(0.862, 0.759)),
    Row(title="+center loss", recipe=STRONG, market=(0.945, 0.859), duke=(0.864, 0.764)),
)


def _half(images: Images) -> Images:
    """Half the size and half the padding: 128x64 pixels for the paper's 256x128."""
    return replace(images, height=images.height // 2, width=images.width // 2, pad=images.pad // 2)


def small(recipe: Recipe, name: str, width: float) -> Recipe:
    """The twin of a rung for a CPU: a narrow ResNet-18 from scratch, images of half the size, 40 epochs.

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
    """The twin of a rung for an hour or two: ResNet-50 from ImageNet weights, images of half the size, 24 epochs."""
    warmup = 2 if recipe.optim.warmup_epochs else 0
    return replace(
        recipe,
        name=f"short-{recipe.name}",
        images=_half(recipe.images),
        optim=replace(recipe.optim, epochs=24, drops=(14, 21), warmup_epochs=warmup),
    )


def started(recipe: Recipe) -> Recipe:
    """The twin of a rung in a small table: as `small`, but at the paper's rate, as it has a start that a higher spoils.

    From nothing, or at a higher rate, rungs without a neck do not learn: the hardest triplets pull all features
    together to a point. Even so they need ten or twenty epochs to come free of it, so the rate drops late.
    """
    twin = small(recipe, "started", width=0.25)
    return replace(twin, optim=replace(twin.optim, lr=recipe.optim.lr, drops=(32, 38)))


def start(network: Network) -> Recipe:
    """What the twins of a small table have for ImageNet's weights: told other people apart, by the ID loss alone."""
    rung = small(STANDARD, "start", network.width)
    return replace(
        rung,
        name=f"start-{network.backbone}",
        network=replace(rung.network, backbone=network.backbone),
        triplet=Triplet(weight=0.0),
        optim=replace(rung.optim, epochs=12, drops=(8, 11), warmup_epochs=2),
    )


SMALL = tuple(Row(title=row.title, recipe=small(row.recipe, "small", width=0.25)) for row in TABLE1)
WIDE = tuple(Row(title=row.title, recipe=small(row.recipe, "small-wide", width=0.5)) for row in TABLE1)
SHORT = tuple(Row(title=row.title, recipe=short(row.recipe)) for row in TABLE1)

ROWS: tuple[Row, ...] = (*TABLE1, *SHORT, *WIDE, *SMALL)
