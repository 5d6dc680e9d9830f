"""Recipes are checked where they are made, from Python as from text."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from reidkit import recipe as recipes
from reidkit.errors import UsageError
from reidkit.recipe import Center, Optim, Recipe
from reidkit.recipe.checks import Section

if TYPE_CHECKING:
    from collections.abc import Callable


MAKE: Any = recipes
"""Every section, without the types that mypy would hold a call to."""


@pytest.mark.parametrize(
    ("make", "key", "sentence"),
    [
        (lambda: MAKE.Optim(epochs=0), "optim.epochs", "optim.epochs must be at least 1"),
        (lambda: MAKE.Optim(lr=-1), "optim.lr", "optim.lr must be above 0"),
        (lambda: MAKE.Optim(lr="abc"), "optim.lr", "optim.lr must be a number, not abc"),
        (lambda: MAKE.Optim(lr="3e-4"), "optim.lr", "optim.lr must be a number, not the text '3e-4'"),
        (lambda: MAKE.Optim(lr=None), "optim.lr", "optim.lr must be a number, not None"),
        (lambda: MAKE.Optim(lr=[0.1]), "optim.lr", "optim.lr must be a number, not [0.1]"),
        (
            lambda: MAKE.Optim(lr=float("nan")),
            "optim.lr",
            "optim.lr must be a finite number below 2,147,483,648, not nan",
        ),
        (lambda: MAKE.Optim(lr=-float("inf")), "optim.lr", "not -inf"),
        (lambda: MAKE.Optim(epochs=True), "optim.epochs", "optim.epochs must be a whole number, not true"),
        (lambda: MAKE.Optim(epochs=2.5), "optim.epochs", "optim.epochs must be a whole number, not 2.5"),
        (lambda: MAKE.Optim(epochs=10**5000), "optim.epochs", "below 2,147,483,648, not a number without end"),
        (lambda: MAKE.Optim(drops=5), "optim.drops", "optim.drops must be a list of numbers, not 5"),
        (lambda: MAKE.Optim(drops=(5, "x")), "optim.drops", "optim.drops must be a whole number, not x"),
        (lambda: MAKE.Optim(drops={5}), "optim.drops", "optim.drops must be a list of numbers, not {5}"),
        (lambda: MAKE.Optim(warmup={}), "optim.warmup", "optim.warmup must be paper, code or equation-1, not {}"),
        (lambda: MAKE.Network(neck=["bnneck"]), "network.neck", "network.neck must be none, bnneck, l2 or bn-relu"),
        (lambda: MAKE.Network(last_stride=True), "network.last_stride", "network.last_stride must be 1 or 2, not true"),
        (
            lambda: MAKE.Network(last_stride="1"),
            "network.last_stride",
            "must be 1 or 2, not the text '1'; did you mean 1?",
        ),
        (lambda: MAKE.Network(head="pcbs"), "network.head", "not pcbs; did you mean pcb?"),
        (lambda: MAKE.Network(stem_relu=1), "network.stem_relu", "network.stem_relu must be true or false, not 1"),
        (lambda: MAKE.Erasing(area=(0.1,)), "erasing.area", "erasing.area must be a list of 2 numbers, not (0.1,)"),
        (lambda: MAKE.Images(height=16), "images.height", "images.height and images.width must be at least 32 pixels"),
        (
            lambda: MAKE.Batch(ids=6, micro_batches=4),
            "batch.micro_batches",
            "batch.micro_batches must divide batch.ids",
        ),
        (lambda: MAKE.Batch(micro_batches=0), "batch.micro_batches", "batch.micro_batches must be at least 1"),
        (lambda: MAKE.Recipe(optim={"epochs": 3}), "optim", "optim must be a section made by Optim, not {'epochs': 3}"),
        (lambda: MAKE.Recipe(name=3), "name", "name must be text, not 3"),
        (
            lambda: MAKE.Recipe(identity=MAKE.Identity(weight=0), triplet=MAKE.Triplet(weight=0)),
            "identity.weight",
            "identity.weight and triplet.weight cannot both be 0",
        ),
        (
            lambda: MAKE.Recipe(identity=MAKE.Identity(sampled=15)),
            "identity.sampled",
            "must be 0 (all ids) or at least batch.ids",
        ),
        (lambda: dataclasses.replace(Center(), lr=-1), "center.lr", "center.lr must not be negative"),
    ],
)
def test_a_wrong_value_is_refused_where_it_is_given(make: Callable[[], Any], key: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 250
    assert caught.value.argument == key
    assert isinstance(caught.value, ValueError)


def test_numbers_of_other_kinds_become_plain_ones() -> None:
    made = Optim(lr=np.float32(0.5), epochs=np.int64(7), drops=[2, 3.0], gamma=1)  # type: ignore[arg-type]
    assert made == Optim(lr=0.5, epochs=7, drops=(2, 3), gamma=1.0)
    assert [type(value) for value in (made.lr, made.epochs, made.drops, made.gamma)] == [float, int, tuple, float]
    assert recipes.from_json(recipes.to_json(Recipe(optim=made))) == Recipe(optim=made)


def test_every_default_fits() -> None:
    assert Recipe() == recipes.from_json({})


def test_a_file_is_named_before_the_sentence() -> None:
    with pytest.raises(UsageError, match=r"^mine\.json: optim must be an object with keys and values, not 3$"):
        recipes.from_json({"optim": 3}, where="mine.json")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unions(Section):
    """A field of a type that text cannot be checked against."""

    field: str | None = None


def test_a_field_of_an_unknown_type_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match=r"unions\.field is of the type str \| None: give it int, float"):
        Unions()
