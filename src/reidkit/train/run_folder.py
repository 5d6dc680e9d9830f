"""The folder of a run: its lock, and the check that it holds the run that is to be resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reidkit import recipe as recipes
from reidkit import strict_json
from reidkit.atomic import atomic_write, hold, refuse_address
from reidkit.errors import RunError, UsageError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reidkit.recipe import Recipe

OWN = ("network", "terms", "sampler", "teacher")
"""What `run.json` names only where it is a user's own."""
LEFT_OUT = "left_out"
"""What `run.json` calls the places of images that could not be read when the run began."""
STREAMED = " streamed"
"""What the digest of a training set that is streamed ends in."""

CAMERAS = "training_cameras"
"""What `run.json` calls the digest of their cameras, where the recipe looks at these; runs of before have none."""

_SAID = {"people": "training ids", "training_set": "training images", CAMERAS: "cameras of the training images"}
"""What `run.json` calls otherwise than sentences do."""

_NO_NAME = re.compile(r'[/\\<>:"|?*]')
"""What the name of a folder cannot hold on every system."""
_LONGEST_NAME = 200


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; a kill lets go of it too.

    Raises:
        RunError: another process trains in it, or it cannot be made.
    """
    refuse_address(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(folder, error) from None
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(hold(folder / ".lock", wait=False))
        except BlockingIOError:
            raise RunError(
                f"another process is training in {folder}: wait for it, or choose another folder as out", argument="out"
            ) from None
        except PermissionError as error:
            raise _not_writable(folder, error) from None
        except OSError as error:
            why = error.strerror or error
            raise RunError(
                f"{folder} cannot be locked ({why}): choose a folder on another disk as out", argument="out"
            ) from None
        yield


def _not_writable(folder: Path, error: OSError) -> RunError:
    return RunError(f"{folder} cannot be written ({error.strerror}): choose another folder as out", argument="out")


def begin(folder: Path, recipe: Recipe, facts: dict[str, Any], *, resume: bool) -> None:
    """Write down what this run is, or see that the run begun here is the same one.

    `facts` are what else the result depends on (seed, training set, weights, precision); they are kept in `run.json`.

    Raises:
        UsageError: the folder holds a run and `resume` is not asked for; or it holds another run.
        RunError: what the folder says of its run is missing or damaged.
    """
    recipe_file, facts_file = folder / "recipe.json", folder / "run.json"
    if not holds_run(folder):
        write_json(facts_file, facts)
        write_json(recipe_file, recipes.to_json(recipe))
        return
    if not resume:
        refuse_run(folder)
    changed = recipes.differences(recipe, _read_recipe(recipe_file))
    begun = _read_json(facts_file)
    facts = {key: "none" for key in OWN if key in begun} | facts
    if CAMERAS not in begun:  # as in runs of before
        facts.pop(CAMERAS, None)
    changed += [_words(key, value, begun.get(key)) for key, value in facts.items() if begun.get(key) != value]
    if changed:
        raise UsageError(
            f"the run in {folder} was begun otherwise ({'; '.join(changed[:3])}): choose another folder as out",
            argument="out",
        )


@contextlib.contextmanager
def begun(folder: Path, recipe: Recipe, facts: dict[str, Any], *, resume: bool) -> Iterator[None]:
    """Begin a run, or go on with it; if it fails before anything is saved, the folder is free for a better try.

    Raises:
        UsageError, RunError: as `begin`.
    """
    begin(folder, recipe, facts, resume=resume)
    try:
        yield
    except BaseException:
        _forget(folder)
        raise


def _words(key: str, value: object, before: object) -> str:
    """Return in words how a run differs from the one that was begun."""
    if key == "training_set":
        if str(before).endswith(STREAMED) != str(value).endswith(STREAMED):
            return "its images were streamed" if str(before).endswith(STREAMED) else "its images were not streamed"
        return (
            "its training images were others, and with those it goes on: "
            "some have come since, gone, been renamed, or cannot be read any more"
        )
    if key == CAMERAS:
        return "its training images came from other cameras"
    return f"{_SAID.get(key, key)}: {value}, not {'none' if before is None else before}"


def left_out(folder: Path) -> list[int]:
    """Return which images the run that was begun here has left out, by their places in the list of all."""
    try:
        found = _read_json(folder / "run.json").get(LEFT_OUT, [])
    except RunError:
        return []  # `begin` will say what is wrong with it
    return found if isinstance(found, list) and all(isinstance(i, int) for i in found) else []


def differences(first: Path, second: Path) -> list[str]:
    """Return what two runs differ in beside their recipes, as `seed: 0, not 1`, where `first` has 0.

    These are seed, precision, weights, training images, their cameras, and parts that are the user's own or a teacher.
    A folder without a `run.json` that can be read differs in nothing.
    """
    try:
        ours, theirs = (_read_json(folder / "run.json") for folder in (first, second))
    except RunError:
        return []
    asked = ("seed", "precision", "weights", "training_set", CAMERAS)
    keys = (*(key for key in asked if key in ours and key in theirs), *OWN)
    return [
        f"{_SAID.get(key, key)}: {_short(ours.get(key))}, not {_short(theirs.get(key))}"
        for key in keys
        if ours.get(key) != theirs.get(key)
    ]


def _short(value: object) -> str:
    """Return a fact for a line: of terms their names, of digests the beginning."""
    if isinstance(value, list):
        return " and ".join(str(term[0]) if isinstance(term, list) and term else str(term) for term in value)
    text = "none" if value is None else str(value)
    return text if not re.fullmatch(r"[0-9a-f]{17,}.*", text) else text[:16] + text[64:]


def default_folder(recipe: Recipe, seed: int) -> Path:
    """Return where a run lies unless the user says otherwise: a folder in `runs`, whatever name a recipe file brings.

    Raises:
        UsageError: the recipe's name is none that a folder in `runs` can have.
    """
    name = recipe.name
    if not name.isprintable() or name.startswith(".") or _NO_NAME.search(name) or len(name.encode()) > _LONGEST_NAME:
        raise UsageError(
            f"the recipe's name {name[:80]!a} cannot be a folder's: name a folder as out, or set another name",
            argument="out",
        )
    return Path("runs") / f"{name}-seed{seed}"


def holds_run(folder: Path) -> bool:
    """Whether a run was begun here. Weights count too: a new run must not write over them, nor start from them."""
    return any((folder / name).is_file() for name in ("recipe.json", "state.pt", "model.safetensors"))


def begun_as(folder: Path, recipe: Recipe) -> Recipe | None:
    """Return the recipe under the name of the run in the folder; None if there is none, or one of another recipe."""
    try:
        begun = _read_recipe(folder / "recipe.json")
    except RunError:
        return None
    placed = recipe
    if recipe.network.stride_in == "auto":  # the run has written down how its weights placed the stride
        placed = dataclasses.replace(
            recipe, network=dataclasses.replace(recipe.network, stride_in=begun.network.stride_in)
        )
    return None if recipes.differences(placed, begun) else dataclasses.replace(recipe, name=begun.name)


def require_room(folder: Path, recipe: Recipe, fingerprint: str = "") -> bool:
    """Return whether a model without a run may be written into a folder; False where that very model is there already.

    So a call that was killed after it had written its model ends as an undisturbed one when it is repeated.

    Args:
        folder: The folder.
        recipe: The recipe of the model.
        fingerprint: That of its weights; "": not yet known, and any weights by this recipe may be these.

    Raises:
        UsageError: the folder holds a run, or another model.
    """
    if not holds_run(folder):
        return True
    if not any((folder / name).is_file() for name in ("recipe.json", "state.pt")):
        from reidkit.model.weights import read  # brings torch, which `reidkit --help` does without

        with contextlib.suppress(WeightsError):
            _, there = read(folder / "model.safetensors")
            same_recipe = there.get("recipe") == json.dumps(recipes.to_json(recipe))
            if same_recipe and fingerprint in ("", there.get("fingerprint")):
                return False
    raise UsageError(f"{folder} holds a run already: choose another folder as out", argument="out")


def _forget(folder: Path) -> None:
    """Remove what a run wrote that has saved nothing; else do nothing."""
    from reidkit.data.overlap import RECORD  # brings NumPy, which `reidkit --help` does without

    if not any((folder / name).is_file() for name in ("state.pt", "model.safetensors")):
        for name in ("recipe.json", "run.json", "log.jsonl", RECORD):
            with contextlib.suppress(OSError):
                (folder / name).unlink()


def refuse_run(folder: Path, *, by_default: bool = False) -> None:
    """Refuse to write over a run. `by_default`: nobody has chosen the folder, so the sentence says how it is named.

    Raises:
        UsageError: a run was begun here.
    """
    if holds_run(folder):
        why = " (it is named by recipe and seed, whatever the data)" if by_default else ""
        raise UsageError(
            f"{folder} holds a run already: go on with it by resume=True, or choose another folder as out{why}",
            argument="resume, out",
        )


def write_json(path: Path, value: object) -> None:
    """Write JSON whole or not at all."""
    try:
        with atomic_write(path) as file:
            file.write(f"{json.dumps(value, indent=2)}\n".encode())
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror}): make room, or choose another folder as out", argument="out"
        ) from None


def _read_recipe(path: Path) -> Recipe:
    try:
        return recipes.load(path)
    except UsageError as error:
        raise RunError(
            f"the run's own recipe is damaged ({error}): start a new run with another folder as out", argument="out"
        ) from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = strict_json.read(path)
    except (OSError, strict_json.JsonError):
        value = None
    if not isinstance(value, dict):
        raise RunError(f"{path} is missing or damaged: start a new run with another folder as out", argument="out")
    return value
