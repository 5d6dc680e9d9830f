"""Where the paper, the authors' program and fast-reid disagree: every point at once.

The paper leaves things out and contradicts itself; its program (reid-strong-baseline, commit 3da7e6f) decides some of
that, and fast-reid, the best known program after it, decides some of it otherwise. The defaults of a recipe take the
program's side where it gave the published numbers, and the text's where both are as good.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reidkit import recipe as recipes
from reidkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reidkit.recipe import Recipe

INTERPRETATIONS = ("paper-text", "official-code", "fast-reid")


@dataclass(frozen=True, kw_only=True)
class DisputedPoint:
    """One disputed point: the recipe's field that decides it, and its value in each interpretation that differs.

    A value may be a function of the recipe, where it depends on the length of a run. `where` says what decides a point
    that is in no recipe; `words` what it is about.
    """

    topic: str
    key: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""
    words: str

    def value(self, interpretation: str, recipe: Recipe) -> Any:
        """Return the field's value in an interpretation: the recipe's own where the interpretation says nothing."""
        value = self.values.get(interpretation, leaf(recipe, self.key))
        return value(recipe) if callable(value) else value


def interpret(recipe: Recipe, interpretation: str) -> Recipe:
    """Return the recipe with every disputed point decided by an interpretation.

    Raises:
        UsageError: there is no such interpretation.
    """
    if interpretation not in INTERPRETATIONS:
        close = difflib.get_close_matches(interpretation, INTERPRETATIONS, n=1, cutoff=0.3)
        remedy = f"did you mean {close[0]}?" if close else f"choose {', '.join(INTERPRETATIONS)}"
        raise UsageError(f"there is no interpretation {interpretation}; {remedy}")
    changes = {point.key: point.value(interpretation, recipe) for point in POINTS if point.key}
    return recipes.override(recipe, changes)


def leaf(recipe: Recipe, key: str) -> Any:
    """Return the field `section.name` of a recipe."""
    section, name = key.split(".")
    return getattr(getattr(recipe, section), name)


def _fraction(of_120: int) -> Callable[[Recipe], int]:
    """Return an epoch of the paper's 120, as the epoch of a shorter run that lies as far in it."""
    return lambda recipe: round(recipe.optim.epochs * of_120 / 120)


def _fast_reid_drops(recipe: Recipe) -> tuple[int, ...]:
    """The last epochs before the drops: fast-reid's milestones, 50 and 100 of 120, are the first at the lower rate."""
    first = max(1, _fraction(50)(recipe) - 1)
    return (first, max(first + 1, _fraction(100)(recipe) - 1))


def _fast_reid_steps(recipe: Recipe) -> int:
    """2,000 for the paper's ten epochs of warm-up, which they last about as long as; none where there is none."""
    return recipe.optim.warmup_steps or 200 * recipe.optim.warmup_epochs


def _same(paper: object, code: object, fast_reid: object) -> dict[str, object]:
    return {"paper-text": paper, "official-code": code, "fast-reid": fast_reid}


POINTS = (
    DisputedPoint(
        topic="stem",
        key="network.stem_relu",
        values=_same(True, False, True),
        words="The program has no ReLU after the first batch norm, which its authors call a mistake.",
    ),
    DisputedPoint(
        topic="warm-up",
        key="optim.warmup",
        values={"paper-text": "paper", "official-code": "code"},
        words="Text and Figure 3 rise from 3.5e-5 to 3.5e-4; the program from a hundredth of 3.5e-4; equation 1, as "
        "printed, only to 3.5e-5 (the value equation-1).",
    ),
    DisputedPoint(
        topic="warm-up by step",
        key="optim.warmup_steps",
        values={"fast-reid": _fast_reid_steps},
        words="fast-reid rises from a tenth of the rate with every step, for 2,000 steps, and not with every epoch.",
    ),
    DisputedPoint(
        topic="warm-up by epoch",
        key="optim.warmup_epochs",
        values={"fast-reid": 0},
        words="Only one of the two counts.",
    ),
    DisputedPoint(
        topic="drops",
        key="optim.drops",
        values={"fast-reid": _fast_reid_drops},
        words="The paper drops the rate after epochs 40 and 70 of 120, fast-reid after 49 and 99: its milestones, 50 "
        "and 100, are the first epochs at the lower rate.",
    ),
    DisputedPoint(
        topic="label smoothing",
        key="identity.smoothing_over",
        values=_same("all", "all", "others"),
        words="Equation 3 spreads eps over all N ids, the true one included; fast-reid over the N - 1 others.",
    ),
    DisputedPoint(
        topic="classifier, kind",
        key="identity.init",
        values=_same("kaiming", "normal", "normal"),
        words="The first weights of the classifier behind the neck: the text says Kaiming, the program does not.",
    ),
    DisputedPoint(
        topic="classifier, size",
        key="identity.std",
        values=_same(0.001, 0.001, 0.01),
        words="The deviation of those weights where they are normal.",
    ),
    DisputedPoint(
        topic="centre loss",
        key="center.form",
        values={"paper-text": "paper", "official-code": "mean"},
        words="Equation 5 is half the sum over the batch; the program takes the mean, which pulls 32 times less at 64.",
    ),
    DisputedPoint(
        topic="centre loss, weight",
        key="center.weight",
        values={"fast-reid": 0.0},
        words="fast-reid's bag of tricks goes without it.",
    ),
    DisputedPoint(
        topic="erasing, fill",
        key="erasing.fill",
        values=_same("image-mean", "code", "imagenet-mean"),
        words="The text says random values, and later the image's mean. The program writes ImageNet's mean after "
        "normalising, which makes it the pixel (152, 142, 127); fast-reid writes the mean itself, (124, 116, 104).",
    ),
    DisputedPoint(
        topic="erasing, area",
        key="erasing.area",
        values=_same((0.02, 0.4), (0.02, 0.4), (0.02, 0.33)),
        words="Of the image; fast-reid takes torchvision's numbers.",
    ),
    DisputedPoint(
        topic="erasing, aspect",
        key="erasing.aspect",
        values=_same((0.3, 3.33), (0.3, 1 / 0.3), (0.3, 3.3)),
        words="Height over width.",
    ),
    DisputedPoint(
        topic="erasing, its draw",
        key="erasing.aspect_draw",
        values=_same("uniform", "uniform", "log"),
        words="A uniform aspect makes three boxes of four stand upright; torchvision draws its logarithm.",
    ),
    DisputedPoint(
        topic="erasing, place",
        where="no choice",
        words="The text draws a corner anywhere, and all again where the box sticks out, so that small boxes prevail; "
        "the program draws the box, and then a corner that it fits at, as every interpretation does here.",
    ),
    DisputedPoint(
        topic="resize",
        key="images.resize",
        values=_same("bilinear", "bilinear", "bicubic"),
        words="The text only says that images are resized.",
    ),
    DisputedPoint(
        topic="sampler",
        key="batch.visits",
        values={"official-code": "chunks"},
        words="The text says P ids, K images. The program shows every image once an epoch, in chunks of K: 182 to "
        "184 batches on Market-1501 (it prints an estimate, 186). A sampler that visits each id once has 47, and "
        "loses about two points.",
    ),
    DisputedPoint(
        topic="length of an epoch",
        where="no choice",
        words="fast-reid's epochs have images // batch steps, 202 on Market-1501, whatever its sampler draws; here and "
        "in the program an epoch ends when fewer than P ids have images left.",
    ),
    DisputedPoint(
        topic="optimiser",
        key="optim.weight_decay",
        values={"official-code": 5e-4},
        words="The text says Adam. The program adds 5e-4 of every parameter to its gradient, norms and biases too.",
    ),
    DisputedPoint(
        topic="triplet loss",
        where="no choice",
        words="The text samples two ids at random; the program takes the hardest images of the batch.",
    ),
    DisputedPoint(
        topic="triplet loss, ties",
        where="no choice",
        words="Where several images are equally hard, their pull is shared here; the program gives it to the first.",
    ),
    DisputedPoint(
        topic="feature",
        where="evaluate --feature, --metric",
        words="f_i and the cosine; Tables 5 and 6 print what f_i gives with the Euclidean distance.",
    ),
    DisputedPoint(
        topic="average precision",
        where="evaluate --ap",
        words="The program averages the precisions at the hits; Market-1501's own one takes trapezoids, up to 1 lower.",
    ),
)
