"""What training minimises: weighted terms with names, in the paper those of equation 6."""

from __future__ import annotations

import math
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from reidkit.arguments import check_choice, in_words
from reidkit.distributed import ALONE
from reidkit.errors import UsageError
from reidkit.losses.aside import aligned_triplet, stripe_error
from reidkit.losses.center import CenterLoss
from reidkit.losses.curriculum import CurriculumTriplet
from reidkit.losses.dynamic_choice import DynamicChoice
from reidkit.losses.identity import FocalLoss, IdentityLoss
from reidkit.losses.pair_losses import (
    centroid_triplet,
    centroid_triplet_as_published,
    circle_loss,
    supervised_contrastive,
)
from reidkit.losses.partial_fc import PartialFC
from reidkit.losses.triplet import triplet_loss
from reidkit.types import LOG_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from reidkit.distributed import Group
    from reidkit.recipe import Pair, Recipe

Side = Literal["f_t", "f_i", "aside", "all"]
WHOLE: Mapping[str, slice] = {"": slice(None)}


class Sides(NamedTuple):
    """All that a network returns, for a loss that looks at more than one side."""

    f_t: Tensor
    f_i: Tensor
    aside: Tensor | None


class Loss(Protocol):
    """Features [B, D], or all `Sides` of them, and labels [B] to one number.

    A loss that is a module may have parameters, which the optimizer of the run learns, and three more methods:
    `step(lr)`, called after each step of the optimizer with its rate, for what the loss updates by itself;
    `collect()`, called in every process before a checkpoint, for what it has distributed over processes; and
    `start_epoch(epoch, fresh=...)`, called where an epoch, counted from 1, begins or, not `fresh`, where a run goes on
    within it.
    """

    def __call__(self, seen: Any, label_b: Tensor, /) -> Tensor:
        """Return the loss without its weight, a scalar."""


class Term(NamedTuple):
    """A loss with its name in the log, its weight, and what it sees.

    `side`: the features before (`f_t`) or after (`f_i`) the neck, what the head has `aside`, or `all` of them as
    `Sides`; `span`: the part of the vector that a branch of the head gives, "" for the whole.
    """

    name: str
    weight: float
    loss: Loss
    side: Side
    span: str = ""


def check_terms(terms: Sequence[Term]) -> None:
    """Refuse what are no terms: another kind, or fields in another order.

    Raises:
        UsageError: one of them is none.
    """
    for term in terms:
        if not isinstance(term, Term):
            raise UsageError(
                "terms are a list of Term(name, weight, loss, side): pass [Term('mine', 0.1, loss, 'f_t')]",
                argument="terms",
            )
        name, weight, loss = term.name, term.weight, term.loss
        if not isinstance(name, str) or not isinstance(weight, Real) or not math.isfinite(weight):
            raise UsageError(
                f"a term has the name {in_words(name)} and the weight {in_words(weight)}: pass text and a number, as "
                "Term('mine', 0.1, loss, 'f_t')",
                argument="terms",
            )
        if isinstance(loss, type) or not callable(loss):
            remedy = f"pass an object, {loss.__name__}(...)" if isinstance(loss, type) else "pass a function or module"
            raise UsageError(f"the loss of the term {name} cannot be called with a batch: {remedy}", argument="terms")


class Objective(nn.Module):
    """The sum of `terms`, by name. A loss that is a module is an attribute of the term's name, as is its state."""

    def __init__(
        self,
        terms: Sequence[Term],
        spans: Mapping[str, slice] = WHOLE,
        aside: Mapping[str, slice] | None = None,
        choice: DynamicChoice | None = None,
    ) -> None:
        """Take the terms, and the `spans` of the network's features, and those of `aside`, that they may name.

        With a `choice` the triplet terms are left out of some steps.

        Raises:
            UsageError: there is no term, two have one name, or a term's name, side or span cannot be.
        """
        super().__init__()
        self.terms, self.spans, self.aside = tuple(terms), dict(spans), {**WHOLE, **(aside or {})}
        self.dynamic_choice = choice
        self._check()
        for term in self.terms:
            if isinstance(term.loss, nn.Module):
                self.add_module(_attribute(term), term.loss)

    def _check(self) -> None:
        if not self.terms:
            raise UsageError("there is nothing to minimise: give at least one term", argument="terms")
        check_terms(self.terms)
        names = [_attribute(term) for term in self.terms]
        for term, name in zip(self.terms, names, strict=True):
            if not name.isidentifier() or hasattr(self, name) or name in LOG_COLUMNS:
                sentence = (
                    f"a term cannot be called {term.name!r}: give it a name of letters that no column of the log has"
                )
                raise UsageError(sentence, argument="terms")
            if names.count(name) > 1:
                raise UsageError(f"two terms are called {term.name!r}: give each a name of its own", argument="terms")
            check_choice(term.side, Side, f"the side of the term {term.name}")
            known_spans = {"aside": self.aside, "all": WHOLE}.get(term.side, self.spans)
            if term.span not in known_spans:
                known = ", ".join(map(repr, known_spans))
                raise UsageError(
                    f"the term {term.name} has the span {term.span!r}: the network has {known}", argument="terms"
                )

    def forward(self, f_t: Tensor, f_i: Tensor, label_b: Tensor, aside: Tensor | None = None) -> dict[str, Tensor]:
        """Return each term with its weight, of features [B, D] before and after the neck, labels [B] and [B, A] aside.

        Raises:
            UsageError: a term wants what the network has aside, and it has nothing; or its loss is not one number, has
                no gradient where the features have one, or changes them.
        """
        sides = Sides(f_t, f_i, aside)
        terms = {term.name: term.weight * self._loss(term, sides, label_b) for term in self.terms}
        return terms if self.dynamic_choice is None else self.dynamic_choice(terms)

    def _loss(self, term: Term, sides: Sides, label_b: Tensor) -> Tensor:
        seen = self._seen(term, sides)
        given = [each for each in (*sides, label_b) if each is not None and not each.is_inference()]
        before = [each._version for each in given]
        loss = term.loss(seen, label_b)
        if not isinstance(loss, Tensor) or loss.ndim or loss.is_complex():
            found = f"a {type(loss).__name__}"
            if isinstance(loss, Tensor):
                found = f"a tensor {list(loss.shape)}" if loss.ndim else "a complex number"
            raise UsageError(
                f"the loss of the term {term.name} is {found}: let it return one real number for the batch, a tensor "
                "without dimensions",
                argument="terms",
            )
        if [each._version for each in given] != before:
            raise UsageError(
                f"the loss of the term {term.name} changes the features or labels in place, which other terms see, "
                "too: let it work on a copy, feat_bd.clone()",
                argument="terms",
            )
        # Of no gradient is a 0 of a batch in which there is nothing to learn, and a term of weight 0, for the log.
        if term.weight and not loss.requires_grad and _have_gradients(seen) and loss.item():
            raise UsageError(
                f"the loss of the term {term.name} has no gradient, so that nothing is learned by it: compute it from "
                "the features by torch alone, without detach(), item(), rounding or counting",
                argument="terms",
            )
        return loss

    def _seen(self, term: Term, sides: Sides) -> Tensor | Sides:
        """What a term looks at."""
        if term.side == "all":
            return sides
        side: Tensor | None = getattr(sides, term.side)
        if side is None:
            raise UsageError(
                f"the term {term.name} wants what the network has aside, and it gives nothing: let it return "
                "Features(f_t, f_i, aside) in training",
                argument="terms",
            )
        return _part(side, (self.aside if term.side == "aside" else self.spans)[term.span])

    def mark_styled(self, styled_b: Tensor | None) -> None:
        """Tell the ID losses which images [B] of the next batch have another camera's style; None: nobody knows."""
        for loss in self.children():
            if isinstance(loss, IdentityLoss):
                loss.styled_b = styled_b

    def step(self, lr: float) -> None:
        """Let each loss update what it learns by itself, after the step of the optimizer at rate `lr`."""
        for loss in self.children():
            if callable(getattr(loss, "step", None)):
                loss.step(lr)  # type: ignore[operator]

    def collect(self) -> None:
        """Bring what is distributed over processes to the first one: every process calls this before a save."""
        for loss in self.children():
            if callable(getattr(loss, "collect", None)):
                loss.collect()  # type: ignore[operator]


def build_objective(
    recipe: Recipe,
    spans: Mapping[str, slice],
    num_ids: int,
    group: Group = ALONE,
    ranked: Sequence[str] = ("",),
    aside: Mapping[str, slice] | None = None,
) -> Objective:
    """Make the objective of a recipe; a term of weight 0 is neither computed nor logged.

    With a head of several branches each of them has an ID loss of its own, which share the weight of the term, or have
    it each (`identity.over`). So have the triplet losses on the spans that the head ranks (`triplet.over`).

    Args:
        recipe: What the terms are, and their settings.
        spans: The spans of the network's features, as `Network.spans` has them.
        num_ids: The number of ids of the training set.
        group: Processes that each have the features of the whole batch, and share a sampled classifier.
        ranked: The spans with a triplet loss, as `Network.ranked` has them.
        aside: The parts of what the network has aside, as `Network.aside` has them.
    """
    aside = aside or {}
    terms = [*_identity_terms(recipe, spans, num_ids, group), *_triplet_terms(recipe, ranked)]
    if recipe.center.weight:
        center = CenterLoss(_length(spans[""]), num_ids, lr=recipe.center.lr, form=recipe.center.form)
        terms.append(Term("center", recipe.center.weight, center, "f_t"))
    if recipe.pair.weight:
        terms.append(Term("pair", recipe.pair.weight, _pair_loss(recipe.pair), recipe.pair.on))
    if aside and recipe.aside.weight:
        terms += _aside_terms(recipe, aside, num_ids)
    return Objective(terms, spans, aside, DynamicChoice() if recipe.triplet.dynamic else None)


def _identity_terms(recipe: Recipe, spans: Mapping[str, slice], num_ids: int, group: Group) -> Iterator[Term]:
    """Yield an ID loss for each branch."""
    if not recipe.identity.weight:
        return
    # Of nested names only the innermost are branches: "two" is what "two.top" and "two.bottom" make up.
    branches = [name for name in spans if not any(_inside(other, name) for other in spans)]
    weights = _shared(recipe.identity.weight, recipe.identity.over, len(branches))
    for span, weight in zip(branches, weights, strict=True):
        loss = _identity(recipe, _length(spans[span]), num_ids, group)
        yield Term(f"identity.{span}" if span else "identity", weight, loss, "f_i", span)


def _triplet_terms(recipe: Recipe, ranked: Sequence[str]) -> Iterator[Term]:
    """Yield a triplet loss for each span that is ranked."""
    triplet = recipe.triplet
    if not triplet.weight:
        return
    how: dict[str, Any] = {"margin": triplet.margin, "form": triplet.form, "unit": triplet.unit}
    weights = _shared(triplet.weight, triplet.over, len(ranked))
    for span, weight in zip(ranked, weights, strict=True):
        loss: Loss = partial(triplet_loss, mining=triplet.mining, **how)
        if triplet.curriculum:
            loss = CurriculumTriplet(triplet.curriculum * recipe.optim.epochs, **how)
        yield Term(f"triplet.{span}" if span else "triplet", weight, loss, triplet.on, span)


def _shared(weight: float, over: str, count: int) -> list[float]:
    """Return the weights of so many branches: of their mean, their sum, or the mean of the first and of the others'."""
    if over == "halves" and count > 1:
        return [weight / 2, *[weight / 2 / (count - 1)] * (count - 1)]
    return [weight if over == "sum" else weight / count] * count


def _pair_loss(pair: Pair) -> Loss:
    """Return the loss of pairs that a recipe names."""
    losses: dict[str, Loss] = {
        "circle": partial(circle_loss, margin=pair.margin, scale=pair.scale),
        "contrastive": partial(supervised_contrastive, scale=pair.scale),
        "centroid": partial(centroid_triplet, margin=pair.margin),
        "centroid-as-published": partial(centroid_triplet_as_published, margin=pair.margin),
    }
    return losses[pair.loss]


def _aside_terms(recipe: Recipe, aside: Mapping[str, slice], num_ids: int) -> list[Term]:
    """Return the losses of what the recipe's head has aside."""
    weight, parts = recipe.aside.weight, len(aside)

    def aligned(seen: Sides, label_b: Tensor) -> Tensor:
        return aligned_triplet(seen.f_t, _given(seen), label_b, parts, recipe.aside.margin)

    def stripes(seen: Sides, label_b: Tensor) -> Tensor:  # noqa: ARG001
        return stripe_error(seen.f_t, _given(seen), parts)

    if recipe.network.head == "aligned":
        return [Term("aligned", weight, aligned, "all")]
    if recipe.network.head == "scpnet":
        return [Term("stripes", weight, stripes, "all")]
    return [
        Term(f"aside.{name}", weight / parts, FocalLoss(_length(span), num_ids), "aside", name)
        for name, span in aside.items()
    ]


def _given(seen: Sides) -> Tensor:
    """Return what the head has aside, which it has in training."""
    if seen.aside is None:
        raise UsageError("the network gives nothing aside: put it into training mode", argument="network")
    return seen.aside


def _identity(recipe: Recipe, dim: int, num_ids: int, group: Group) -> IdentityLoss | PartialFC:
    identity, bias = recipe.identity, recipe.network.neck in {"none", "bn-relu"}
    same: dict[str, Any] = {
        "smoothing": identity.smoothing,
        "smoothing_over": identity.smoothing_over,
        "bias": bias,
        "init": identity.init,
        "std": identity.std,
    }
    if identity.sampled:
        decay = recipe.optim.weight_decay
        return PartialFC(dim, num_ids, sampled=identity.sampled, weight_decay=decay, group=group, **same)
    return IdentityLoss(dim, num_ids, logits=identity.logits, scale=identity.scale, margin=identity.margin, **same)


def _part(feat_bd: Tensor, span: slice) -> Tensor:
    """Return the columns of a span; the tensor itself where they are all, as a view would cost a step of autograd."""
    return feat_bd if span in (slice(None), slice(0, feat_bd.shape[1])) else feat_bd[:, span]


def _have_gradients(seen: Tensor | Sides) -> bool:
    """Return whether all that a loss sees has a gradient: what is frozen has none."""
    sides = [seen] if isinstance(seen, Tensor) else [side for side in seen if side is not None]
    return torch.is_grad_enabled() and all(side.requires_grad for side in sides)


def _length(span: slice) -> int:
    return int(span.stop - (span.start or 0))


def _inside(name: str, outer: str) -> bool:
    return name != outer and (not outer or name.startswith(f"{outer}."))


def _attribute(term: Term) -> str:
    """Return the name of the term's module, which torch wants without dots."""
    return term.name.replace(".", "_")
