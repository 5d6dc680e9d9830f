"""Checkpoints: the progress of a run, its state on disk, and the signals that stop it early.

A state is written whole or not at all, and read without executing anything.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import torch

from reidkit.arguments import in_words
from reidkit.atomic import atomic_write
from reidkit.distributed import ALONE
from reidkit.errors import PeerError, RunError
from reidkit.model.tensors import unusable
from reidkit.process_settings import without_warnings
from reidkit.train.parallel import share_statistics
from reidkit.workers import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import FrameType, TracebackType

    from torch import nn

    from reidkit.distributed import Group


class Stateful(Protocol):
    """Anything whose state can be taken out and put back: networks, optimisers, losses, the log."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state, as tensors and plain values."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Go on from a state that `state_dict` has returned."""


@runtime_checkable
class Collects(Protocol):
    """A part that has to be brought together, in every process, before its state is taken out."""

    def collect(self) -> None:
        """Bring the state of all processes together in the first one."""


class Progress(NamedTuple):
    """How far a run has come: `batch` batches into `epoch` (counted from 1), `step` steps in all."""

    epoch: int = 1
    batch: int = 0
    step: int = 0

    def next_batch(self) -> Progress:
        """Return the progress after one more step."""
        return Progress(self.epoch, self.batch + 1, self.step + 1)

    def next_epoch(self) -> Progress:
        """Return the progress at the start of the next epoch."""
        return Progress(self.epoch + 1, 0, self.step)

    def words(self) -> str:
        """Return the last step that was taken, in words."""
        epoch = self.epoch if self.batch or not self.step else self.epoch - 1
        return f"step {self.step} of epoch {epoch}"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run in the file `path`, as the recipe with this `digest` has made it.

    `parts` have the names that they have in the file. Every process of a `group` calls `load` and `save`; the first one
    writes. Before that the batch norms of `networks` share their statistics.
    """

    path: Path
    digest: str
    parts: Mapping[str, Stateful]
    networks: tuple[nn.Module, ...] = ()
    group: Group = ALONE

    def load(self) -> Progress:
        """Put the saved state back, if there is one, and return how far the run had come.

        Raises:
            RunError: a damaged file, one that may not be read, or the state of another recipe.
        """
        return load(self.path, self.digest, **self.parts) if self.path.is_file() else Progress()

    def save(self, progress: Progress) -> None:
        """Write the state, unless the last step has broken it; every row of the log is on the disk before.

        No process of the group returns before the file is written: where a run stops, the others would end, and the
        first one is soon killed when they have.

        Raises:
            RunError: a weight is not finite, or the file cannot be written; the state that was there stays. It is
                raised in every process of the group.
        """
        for part in self.parts.values():
            if isinstance(part, Collects):
                part.collect()
        share_statistics(self.group, *self.networks)
        refuse_broken_weights(self.parts, self.path, progress)
        refused: RunError | None = None
        if self.group.first:
            try:
                save(self.path, progress, self.digest, **self.parts)
            except RunError as error:
                refused = error
        if self.group.any(refused is not None):
            raise refused or PeerError(f"{self.path} could not be written by the first process", argument="resume")


def save(path: Path, progress: Progress, recipe: str, **parts: Stateful) -> None:
    """Write the state of all `parts` at `progress`, under the digest of the recipe they belong to.

    Raises:
        RunError: the disk is full, or the folder cannot be written; the state that was there stays.
    """
    state = {"place": tuple(progress), "recipe": recipe, **{name: part.state_dict() for name, part in parts.items()}}
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
    """Put a saved state back into `parts` and return the progress at which it was taken.

    Raises:
        RunError: a damaged file, one that may not be read, or the state of another recipe.
    """
    try:
        with without_warnings():  # torch's own words on odd kinds of tensors
            state = torch.load(path, map_location="cpu", weights_only=True)
        _refuse_other(path, state["recipe"], recipe)
        progress = _progress(state["place"])
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
    return progress


def not_finite(state: Mapping[str, Any]) -> str | None:
    """Return the name of the first tensor with a NaN or an infinity, in `state` or a dictionary inside it."""
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


def _progress(numbers: tuple[object, ...]) -> Progress:
    """Return the progress that was saved, if it is one: whole numbers from (1, 0, 0) on."""
    progress = Progress(*numbers)  # type: ignore[arg-type]
    if not all(type(number) is int and 0 <= number < 2**63 for number in progress) or progress.epoch < 1:
        raise ValueError(progress)
    return progress


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
            raise RunError(f"{path} is damaged ({in_words(name)} is {odd}): delete it to start over")


def _not_finite(tensor: torch.Tensor) -> torch.Tensor:
    return ~torch.isfinite(tensor)


def _tensors(state: Any, name: str, levels: int = 8) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(state, torch.Tensor):
        yield name, state
    if isinstance(state, dict) and levels:
        for key, value in state.items():
            yield from _tensors(value, f"{name}.{key}", levels - 1)


def _with_own_rates(optimizer: Stateful, state: dict[str, Any]) -> dict[str, Any]:
    """Return the moments of `state`, with the rates of this optimiser: the recipe has them, and they are the same.

    Raises:
        ValueError: moments of other shapes than the weights have.
    """
    own = optimizer.state_dict()["param_groups"]
    if [group["params"] for group in state["param_groups"]] != [group["params"] for group in own]:
        raise ValueError("other weights")
    weights = [weight for group in getattr(optimizer, "param_groups", ()) for weight in group["params"]]
    needed = _moments(optimizer)
    for number, moments in state["state"].items():
        for name in needed:
            if moments[name].shape != (torch.Size() if name == "step" else weights[number].shape):
                raise ValueError("other shapes")
    return {"state": state["state"], "param_groups": own}


def _moments(optimizer: Stateful) -> tuple[str, ...]:
    """Return the names of what an optimiser remembers of each parameter."""
    if isinstance(optimizer, torch.optim.SGD):
        return ("momentum_buffer",) if optimizer.defaults["momentum"] else ()
    more = ("max_exp_avg_sq",) if getattr(optimizer, "defaults", {}).get("amsgrad") else ()
    return ("step", "exp_avg", "exp_avg_sq", *more)


def _refuse_other(path: Path, saved: str, recipe: str) -> None:
    if saved != recipe:
        raise RunError(f"{path} belongs to another recipe: start a new run with another folder as out", argument="out")


_WORDS = {"kept": "final weights", "journal": "log"}
"""What the parts of a state are called in sentences, where the file has an older name."""


def refuse_broken_weights(parts: Mapping[str, Stateful], state: Path, progress: Progress) -> None:
    """A last step can break the weights without its loss showing it: such a state must not become the good one.

    Raises:
        RunError: a weight is not finite, be it of the network, of its average or of the best so far.
    """
    for part, stateful in parts.items():
        broken = not_finite(stateful.state_dict()) if part != "optimizer" else None
        if broken:
            raise RunError(
                f"{broken} of the {_WORDS.get(part, part)} holds NaN or infinity after step {progress.step}; "
                f"{last_good(state)}: try a lower optim.lr",
                argument="optim.lr",
            )


def last_good(state: Path) -> str:
    """Return what to say of the checkpoint when a run ends badly."""
    return f"the last good checkpoint is {state}" if state.is_file() else "no checkpoint was written yet"


# Ctrl-C, SIGTERM and a closed terminal end a run between two steps, with its state saved.


class StoppedError(RunError):
    """The run was stopped from outside and can go on.

    The status is the one that shells give a command ended by the signal: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, sentence: str, number: int = signal.SIGINT) -> None:
        super().__init__(sentence)
        self.status = 128 + number


class Interrupt:
    """While entered, the first signal only sets `requested`; a second one ends the process as it always does.

    `say` is called at once with a line that acknowledges the signal, as the step may take a while.
    A signal that the process ignores stays ignored: that is what `nohup` is for. So does one whose handler was not set
    by Python, as in a program that Python is embedded in: it could not be put back. Beside the main thread nothing is
    heard, as Python gives signals to that one alone.
    """

    def __init__(self, resume: str, say: Callable[[str], None] | None = None) -> None:
        self.requested = False
        self.resume = resume
        self._say = say
        self._number: int = signal.SIGINT
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Interrupt:
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        with suppress(ValueError):  # beside the main thread
            for number, handler in handlers.items():
                if handler is not None and handler is not signal.SIG_IGN:
                    signal.signal(number, self._note)
                    self._before[number] = handler
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def stopped(self, progress: Progress) -> StoppedError:
        """Return the error to raise once the state is saved."""
        sentence = f"stopped and saved at {progress.words()}; go on with: {self.resume}"
        return StoppedError(sentence, self._number)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.requested, self._number = True, number
        self._restore()
        if self._say:
            with suppress(RuntimeError):  # a line that the signal has broken into cannot take in another one
                self._say("stopping after this step; again to quit now")

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
