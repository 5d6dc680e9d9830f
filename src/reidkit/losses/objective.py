"""What training minimises: weighted terms with names, in the paper those of equation 6."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from torch import Tensor, nn

from reidkit.distributed import ALONE
from reidkit.errors import UsageError
from reidkit.losses.center import CenterLoss
from reidkit.losses.identity import IdentityLoss
from reidkit.losses.partial_fc import PartialFC
from reidkit.losses.triplet import batch_hard_triplet
from reidkit.recipe.checks import check_choice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reidkit.distributed import Group
    from reidkit.recipe import Recipe

Side = Literal["f_t", "f_i"]
WHOLE: Mapping[str, slice] = {"": slice(None)}
LOGGED = ("kind", "epoch", "step", "lr", "images", "loss", "seconds", "images_per_s", "memory_mb", "wait_share")
"""Names of the log that no term can have."""


class Loss(Protocol):
    """Features [B, D] and labels [B] to one number.

    A loss that is a module may have parameters, which the optimizer of the run learns, and two more methods:
    `step(lr)`, called after each step of the optimizer with its rate, for what the loss updates by itself, and
    `collect()`, called in every process before a checkpoint, for what it has distributed over processes.
    """

    def __call__(self, feat_bd: Tensor, label_b: Tensor, /) -> Tensor:
        """Return the loss without its weight, a scalar."""


class Term(NamedTuple):
    """A loss with its name in the log, its weight, and what it sees.

    `side`: the features before (`f_t`) or after (`f_i`) the neck; `span`: the part of the vector that a branch of the
    head gives, "" for the whole.
    """

    name: str
    weight: float
    loss: Loss
    side: Side
    span: str = ""


class Objective(nn.Module):
    """The sum of `terms`, by name. A loss that is a module is an attribute of the term's name, as is its state."""

    def __init__(self, terms: Sequence[Term], spans: Mapping[str, slice] = WHOLE) -> None:
        """Take the terms, and the `spans` of the network's features that they may name.

        Raises:
            UsageError: there is no term, two have one name, or a term's name, side or span cannot be.
        """
        super().__init__()
        self.terms, self.spans = tuple(terms), dict(spans)
        self._check()
        for term in self.terms:
            if isinstance(term.loss, nn.Module):
                self.add_module(_attribute(term), term.loss)

    def _check(self) -> None:
        if not self.terms:
            raise UsageError("there is nothing to minimise: give at least one term", argument="terms")
        names = [_attribute(term) for term in self.terms]
        for term, name in zip(self.terms, names, strict=True):
            if not name.isidentifier() or hasattr(self, name) or name in LOGGED:
                sentence = (
                    f"a term cannot be called {term.name!r}: give it a name of letters that no column of the log has"
                )
                raise UsageError(sentence, argument="terms")
            if names.count(name) > 1:
                raise UsageError(f"two terms are called {term.name!r}: give each a name of its own", argument="terms")
            check_choice(term.side, Side, f"the side of the term {term.name}")
            if term.span not in self.spans:
                known = ", ".join(map(repr, self.spans))
                raise UsageError(
                    f"the term {term.name} has the span {term.span!r}: the network has {known}", argument="terms"
                )

    def forward(self, f_t: Tensor, f_i: Tensor, label_b: Tensor) -> dict[str, Tensor]:
        """Return each term with its weight, of features [B, D] before and after the neck and labels [B]."""
        sides = {"f_t": f_t, "f_i": f_i}
        return {
            term.name: term.weight * term.loss(_part(sides[term.side], self.spans[term.span]), label_b)
            for term in self.terms
        }

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


def build_objective(recipe: Recipe, spans: Mapping[str, slice], num_ids: int, group: Group = ALONE) -> Objective:
    """Make the objective of a recipe; a term of weight 0 is neither computed nor logged.

    With a head of several branches each of them has an ID loss of its own, which share the weight of the term.

    Args:
        recipe: What the terms are, and their settings.
        spans: The spans of the network's features, as `Network.spans` has them.
        num_ids: The number of ids of the training set.
        group: Processes that each have the features of the whole batch, and share a sampled classifier.
    """
    dim, terms = _length(spans[""]), []
    if recipe.identity.weight:
        # Of nested names only the innermost are branches: "two" is what "two.top" and "two.bottom" make up.
        branches = [name for name in spans if not any(_inside(other, name) for other in spans)]
        weight = recipe.identity.weight / len(branches)
        for span in branches:
            loss = _identity(recipe, _length(spans[span]), num_ids, group)
            terms.append(Term(f"identity.{span}" if span else "identity", weight, loss, "f_i", span))
    if recipe.triplet.weight:
        triplet = partial(batch_hard_triplet, margin=recipe.triplet.margin)
        terms.append(Term("triplet", recipe.triplet.weight, triplet, "f_t"))
    if recipe.center.weight:
        center = CenterLoss(dim, num_ids, lr=recipe.center.lr, form=recipe.center.form)
        terms.append(Term("center", recipe.center.weight, center, "f_t"))
    return Objective(terms, spans)


def _identity(recipe: Recipe, dim: int, num_ids: int, group: Group) -> IdentityLoss | PartialFC:
    identity, bias = recipe.identity, recipe.network.neck == "none"
    if identity.sampled:
        return PartialFC(
            dim,
            num_ids,
            sampled=identity.sampled,
            smoothing=identity.smoothing,
            smoothing_over=identity.smoothing_over,
            weight_decay=recipe.optim.weight_decay,
            bias=bias,
            init=identity.init,
            std=identity.std,
            group=group,
        )
    return IdentityLoss(
        dim,
        num_ids,
        smoothing=identity.smoothing,
        smoothing_over=identity.smoothing_over,
        bias=bias,
        init=identity.init,
        std=identity.std,
    )


def _part(feat_bd: Tensor, span: slice) -> Tensor:
    """Return the columns of a span; the tensor itself where they are all, as a view would cost a step of autograd."""
    return feat_bd if span in (slice(None), slice(0, feat_bd.shape[1])) else feat_bd[:, span]


def _length(span: slice) -> int:
    return int(span.stop - (span.start or 0))


def _inside(name: str, outer: str) -> bool:
    return name != outer and (not outer or name.startswith(f"{outer}."))


def _attribute(term: Term) -> str:
    """Return the name of the term's module, which torch wants without dots."""
    return term.name.replace(".", "_")
