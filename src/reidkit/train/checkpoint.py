"""The state of a run on disk: whole or not at all, and read without executing anything."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch

from reidkit.atomic import atomic_write
from reidkit.errors import RunError
from reidkit.model.tensors import shown, unusable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class Stateful(Protocol):
    """Anything whose state can be taken out and put back: networks, optimisers, losses, the journal."""

    def state_dict(self) -> dict[str, Any]:
        """The state, as tensors and plain values."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Put a state back."""


class Progress(NamedTuple):
    """How far a run has come: `batch` batches into `epoch` (counted from 1), `step` steps in all."""

    epoch: int = 1
    batch: int = 0
    step: int = 0


def save(path: Path, place: Progress, recipe: str, **parts: Stateful) -> None:
    """Write the state of all `parts` at `place`, under the digest of the recipe they belong to.

    Raises:
        RunError: the disk is full, or the folder cannot be written; the state that was there stays.
    """
    state = {"place": tuple(place), "recipe": recipe, **{name: part.state_dict() for name, part in parts.items()}}
    try:
        with atomic_write(path) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:
        refused = _refusal(error)
        if refused is None:
            raise
        raise RunError(
            f"{path} cannot be written ({refused}): make room and run again with resume=True", argument="resume"
        ) from None


def load(path: Path, recipe: str, **parts: Stateful) -> Progress:
    """Put a saved state back into `parts` and return where it was taken.

    Raises:
        RunError: a damaged file, one that may not be read, or the state of another recipe.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own words on odd kinds of tensors
            state = torch.load(path, map_location="cpu", weights_only=True)
        _refuse_other(path, state["recipe"], recipe)
        place = _place(state["place"])
        for name, part in parts.items():
            _refuse_odd(name, state[name], path)
            part.load_state_dict(_with_own_rates(part, state[name]) if name == "optimizer" else state[name])
    except (RunError, MemoryError):
        raise
    except OSError as error:
        raise RunError(
            f"{path} cannot be read ({error.strerror}): run again with resume=True when it can", argument="resume"
        ) from None
    except Exception as error:  # whatever torch's readers raise on a damaged file
        raise RunError(f"{path} cannot be read ({type(error).__name__}): delete it to start over") from None
    return place


def not_finite(state: Mapping[str, Any]) -> str | None:
    """The name of the first tensor with a NaN or an infinity, in `state` or a dictionary inside it."""
    for name, value in state.items():
        if isinstance(value, dict) and (found := not_finite(value)):
            return f"{name}.{found}"
        if isinstance(value, torch.Tensor) and not bool(torch.isfinite(value).all()):
            return str(name)
    return None


def _refusal(error: BaseException | None) -> str | None:
    """The system's reason for a failed write. Closing its archive, torch's writer hides it behind a RuntimeError."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error.strerror if error else None


def _place(numbers: tuple[object, ...]) -> Progress:
    """The place that was saved, if it is one: whole numbers from (1, 0, 0) on."""
    place = Progress(*numbers)  # type: ignore[arg-type]
    if not all(type(number) is int and 0 <= number < 2**63 for number in place) or place.epoch < 1:
        raise ValueError(place)
    return place


def _refuse_odd(part: str, state: Any, path: Path) -> None:
    """Tensors that training cannot go on with: without values, or with others than numbers.

    Raises:
        RunError: the first of them.
    """
    broken = torch.isnan if part == "optimizer" else _not_finite  # a second moment may well be infinite
    for name, tensor in _tensors(state, part):
        odd = unusable(tensor)
        if not odd and tensor.is_floating_point() and bool(broken(tensor).any()):
            odd = "not finite"
        if odd:
            raise RunError(f"{path} is damaged ({shown(name)} is {odd}): delete it to start over")


def _not_finite(tensor: torch.Tensor) -> torch.Tensor:
    return ~torch.isfinite(tensor)


def _tensors(state: Any, name: str, levels: int = 8) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(state, torch.Tensor):
        yield name, state
    if isinstance(state, dict) and levels:
        for key, value in state.items():
            yield from _tensors(value, f"{name}.{key}", levels - 1)


def _with_own_rates(optimizer: Stateful, state: dict[str, Any]) -> dict[str, Any]:
    """The moments of `state`, with the rates of this optimiser: the recipe has them, and they are the same.

    Raises:
        ValueError: moments of other shapes than the weights have.
    """
    own = optimizer.state_dict()["param_groups"]
    if [group["params"] for group in state["param_groups"]] != [group["params"] for group in own]:
        raise ValueError("other weights")
    weights = [weight for group in getattr(optimizer, "param_groups", ()) for weight in group["params"]]
    for number, moments in state["state"].items():
        for name in ("exp_avg", "exp_avg_sq"):
            if moments[name].shape != weights[number].shape or moments["step"].numel() != 1:
                raise ValueError("other shapes")
    return {"state": state["state"], "param_groups": own}


def _refuse_other(path: Path, saved: str, recipe: str) -> None:
    if saved != recipe:
        raise RunError(f"{path} belongs to another recipe: start a new run with another folder as out", argument="out")
