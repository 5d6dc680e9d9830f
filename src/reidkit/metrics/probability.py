"""From similarity to the probability that two images show one id, at a stated prior.

Genuine pairs weigh `prior` together and impostor pairs the rest, whatever their numbers: among all pairs of a data set
hardly one in a hundred is genuine, and that part says nothing about where a model is used. With the prior 1/2, the
odds of the probability are the likelihood ratio. `at_prior` carries a probability over to another prior.

Pairs come counted by bins of similarity, as `pair_tables.Tables` has them.

Both fits are our own 60 lines. scikit-learn's differ from them in the last digit (3e-16, in 463 of 1,233 isotonic
probabilities and in the offset of a logistic curve), and take 0.8 s of CPU time to import, where all of `calibrate`
takes 0.4 s for 548 queries and 1,661 gallery images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from reidkit.errors import DataError, UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Doubles = NDArray[np.float64]

Method = Literal["isotonic", "logistic"]

ITERATIONS = 100
HALVINGS = 40


@dataclass(frozen=True, eq=False)
class Counts:
    """Genuine and impostor pairs in K bins, all [K]: the mean similarity of each bin, and how many of either kind."""

    similarity: Doubles
    genuine: Doubles | NDArray[np.int64]
    impostor: Doubles | NDArray[np.int64]

    def weighted(self, prior: float) -> tuple[Doubles, Doubles]:
        """Return the weights of both kinds of pairs in each bin; together they are 1.

        Raises:
            DataError: there are no pairs of one kind.
            UsageError: the prior is not between 0 and 1.
        """
        check_prior(prior)
        genuine, impostor = float(self.genuine.sum()), float(self.impostor.sum())
        if not genuine or not impostor:
            raise DataError("a probability needs genuine and impostor pairs, and there are none of one kind")
        same, different = self.genuine.astype(np.float64), self.impostor.astype(np.float64)
        return same * (prior / genuine), different * ((1 - prior) / impostor)


@dataclass(frozen=True)
class Isotonic:
    """A probability that rises with similarity: straight lines between `similarity` (rising) and `probability`.

    Raises:
        UsageError: there is no point, or one has no probability.
    """

    similarity: tuple[float, ...]
    probability: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.similarity or len(self.similarity) != len(self.probability):
            raise UsageError(
                f"there are {len(self.probability)} probabilities for {len(self.similarity)} similarities: "
                "give one for each, and at least one"
            )

    def __call__(self, similarity: ArrayLike) -> Doubles:
        """The probabilities of these similarities."""
        return np.asarray(np.interp(np.asarray(similarity, np.float64), self.similarity, self.probability))


@dataclass(frozen=True)
class Logistic:
    """The probability 1 / (1 + exp(-(slope s + offset))) of a similarity s."""

    slope: float
    offset: float

    def __call__(self, similarity: ArrayLike) -> Doubles:
        """The probabilities of these similarities."""
        return sigmoid(self.slope * np.asarray(similarity, np.float64) + self.offset)


@dataclass(frozen=True)
class Quality:
    """How good probabilities are on pairs of a known prior: the smaller, the better.

    `brier`: the mean squared difference from what is true; always to say the prior gives prior (1 - prior).
    `ece`: expected calibration error: pairs are put together by probability in ten classes of equal width, and the mean
    probability of each compared with the part that is genuine; the mean of the differences, by weight.
    """

    brier: float
    ece: float


def check_prior(prior: float) -> None:
    """Refuse a prior that is not between 0 and 1.

    Raises:
        UsageError: it is not.
    """
    if not 0 < prior < 1:
        raise UsageError(f"a prior of {prior:g} leaves nothing to be decided: give one between 0 and 1")


def fit(counts: Counts, method: Method, prior: float = 0.5) -> Isotonic | Logistic:
    """Fit a map from similarity to probability to these pairs.

    Raises:
        DataError: there are no pairs of one kind.
        UsageError: a prior that is not between 0 and 1, or a method that does not exist.
    """
    if method not in ("isotonic", "logistic"):
        raise UsageError(f"there is no calibration {method}: choose isotonic or logistic")
    return fit_isotonic(counts, prior) if method == "isotonic" else fit_logistic(counts, prior)


def fit_isotonic(counts: Counts, prior: float = 0.5) -> Isotonic:
    """Fit rising probabilities with the smallest squared error, by pooling adjacent violators (Ayer et al. 1955).

    No probability is 0 or 1: G genuine and N impostor pairs show no likelihood ratio above 2 N or below 1 / (2 G),
    which half a pair would make.
    """
    genuine, impostor = counts.weighted(prior)
    kept = np.flatnonzero(genuine + impostor)
    kept = kept[np.argsort(counts.similarity[kept], kind="stable")]
    weight = (genuine + impostor)[kept]
    fitted = pool_adjacent_violators(genuine[kept] / weight, weight)
    lowest = at_prior(np.array(1 / (1 + 2 * counts.genuine.sum())), 0.5, prior)
    highest = at_prior(np.array(1 - 1 / (1 + 2 * counts.impostor.sum())), 0.5, prior)
    fitted = np.clip(fitted, lowest, highest)
    # A block of equal values is kept by its two ends.
    edge = np.flatnonzero(np.diff(fitted))
    ends = np.unique(np.concatenate(([0], edge, edge + 1, [len(fitted) - 1])))
    return Isotonic(tuple(counts.similarity[kept][ends].tolist()), tuple(fitted[ends].tolist()))


def pool_adjacent_violators(values: Doubles, weights: Doubles) -> Doubles:
    """The non-decreasing values with the smallest weighted squared error from `values`, [K]; weights are positive.

    A value below its predecessor is put together with it to their mean, until none is.
    """
    means: list[float] = []
    sums: list[float] = []
    sizes: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        mean, total, size = value, weight, 1
        while means and means[-1] >= mean:
            before, others = means.pop(), sums.pop()
            mean = (before * others + mean * total) / (others + total)
            total += others
            size += sizes.pop()
        means.append(mean)
        sums.append(total)
        sizes.append(size)
    return np.repeat(np.array(means), sizes)


def fit_logistic(counts: Counts, prior: float = 0.5) -> Logistic:
    """Fit the logistic curve of the highest likelihood (Platt 1999), by halved Newton steps (Lin et al. 2007).

    As Platt has it, G genuine pairs aim at (G + 1) / (G + 2) and N impostor pairs at 1 / (N + 2), so that there is a
    best curve even where a threshold separates them.
    """
    genuine, impostor = counts.weighted(prior)
    weight = genuine + impostor
    pairs = counts.genuine.sum(), counts.impostor.sum()
    target = (genuine * (pairs[0] + 1) / (pairs[0] + 2) + impostor / (pairs[1] + 2)) / np.maximum(weight, 1e-300)
    centre = float(np.average(counts.similarity, weights=weight))
    scale = float(np.sqrt(np.average(np.square(counts.similarity - centre), weights=weight))) or 1.0
    design = np.stack(((counts.similarity - centre) / scale, np.ones(len(weight))), axis=1)
    slope, offset = _newton(design, target, weight)
    return Logistic(float(slope / scale), float(offset - slope * centre / scale))


def _newton(design: Doubles, target: Doubles, weight: Doubles) -> Doubles:
    """Find the coefficients at which the cross entropy is least."""
    found = np.zeros(2)
    best = _entropy(design @ found, target, weight)
    for _ in range(ITERATIONS):
        chance = sigmoid(design @ found)
        gradient = design.T @ (weight * (chance - target))
        if np.abs(gradient).max() < 1e-12:
            break
        hessian = (design.T * (weight * chance * (1 - chance))) @ design + 1e-12 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        for _ in range(HALVINGS):
            value = _entropy(design @ (found - step), target, weight)
            if value <= best:
                break
            step /= 2
        else:
            break
        found, best = found - step, value
    return found


def _entropy(logit: Doubles, target: Doubles, weight: Doubles) -> float:
    return float(weight @ (np.logaddexp(0, logit) - target * logit))


def sigmoid(logit: Doubles) -> Doubles:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0, -logit)))


def at_prior(probability: ArrayLike, prior: float, other: float) -> Doubles:
    """A probability that holds at `prior`, at the prior `other` instead: its odds are multiplied by the odds' ratio."""
    chance = np.asarray(probability, np.float64)
    same, different = chance * other / prior, (1 - chance) * (1 - other) / (1 - prior)
    return np.asarray(same / (same + different))


def assess(probability: Isotonic | Logistic, counts: Counts, prior: float = 0.5) -> Quality:
    """Measure the probabilities on these pairs, which should be of other ids than those they were made from.

    Raises:
        DataError: there are no pairs of one kind.
        UsageError: the prior is not between 0 and 1.
    """
    genuine, impostor = counts.weighted(prior)
    chance = probability(counts.similarity)
    classes = np.minimum((chance * 10).astype(np.int64), 9)
    said = np.bincount(classes, weights=chance * (genuine + impostor), minlength=10)
    true = np.bincount(classes, weights=genuine, minlength=10)
    brier = genuine @ np.square(1 - chance) + impostor @ np.square(chance)
    return Quality(brier=float(brier), ece=float(np.abs(said - true).sum()))
