"""The state of a run on disk: whole or not at all, and read without executing anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch

from reidkit.types import RunError
from reidkit.whole import whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Stateful(Protocol):
    """Anything whose state can be taken out and put back: networks, optimisers, losses, the journal."""

    def state_dict(self) -> dict[str, Any]:
        """The state, as tensors and plain values."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Put a state back."""


class Place(NamedTuple):
    """How far a run has come: `batch` batches into `epoch` (counted from 1), `step` steps in all."""

    epoch: int = 1
    batch: int = 0
    step: int = 0


def save(path: Path, place: Place, recipe: str, **parts: Stateful) -> None:
    """Write the state of all `parts` at `place`, under the digest of the recipe they belong to.

    Raises:
        RunError: the disk is full, or the folder cannot be written; the state that was there stays.
    """
    state = {"place": tuple(place), "recipe": recipe, **{name: part.state_dict() for name, part in parts.items()}}
    try:
        with whole(path) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:
        refused = _refusal(error)
        if refused is None:
            raise
        raise RunError(f"{path} cannot be written ({refused}): make room and run again with --resume") from None


def load(path: Path, recipe: str, **parts: Stateful) -> Place:
    """Put a saved state back into `parts` and return where it was taken.

    Raises:
        RunError: a damaged file, one that may not be read, or the state of another recipe.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        _refuse_other(path, state["recipe"], recipe)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return Place(*state["place"])
    except (RunError, MemoryError):
        raise
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}): run again with --resume when it can") from None
    except Exception as error:  # whatever torch's readers raise on a damaged file
        raise RunError(f"{path} cannot be read ({type(error).__name__}): delete it to start over") from None


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


def _refuse_other(path: Path, saved: str, recipe: str) -> None:
    if saved != recipe:
        raise RunError(f"{path} belongs to another recipe: start a new run with another --out")
