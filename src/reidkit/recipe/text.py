"""A recipe as JSON, as settings on a command line, and as a digest; the differences of two."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from reidkit import strict_json
from reidkit.arguments import in_words
from reidkit.errors import UsageError
from reidkit.recipe.checks import Section, field_types
from reidkit.recipe.sections import Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def to_json(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as plain JSON values, in the order of its fields."""
    return cast("dict[str, Any]", json.loads(json.dumps(dataclasses.asdict(recipe))))


def leaves(recipe: Recipe) -> dict[str, Any]:
    """Return every field by its key, as `{"name": "mine", "optim.lr": 0.00035, ...}`, with plain JSON values."""
    found: dict[str, Any] = {}
    for name, value in to_json(recipe).items():
        found |= (
            {f"{name}.{leaf}": inner for leaf, inner in value.items()} if isinstance(value, dict) else {name: value}
        )
    return found


def from_json(value: object, where: str = "", kind: type[Recipe] = Recipe) -> Recipe:
    """Make the recipe that `value` (JSON, already parsed) describes; missing fields take their defaults.

    Raises:
        UsageError: an unknown key or a value that does not fit, named with its place; the sentence starts with `where`.
    """
    try:
        return _section(_with_new_names(value), kind)
    except UsageError as error:
        if where:
            raise UsageError(f"{where}: {error}") from None
        raise


RENAMED: dict[str, tuple[str, dict[object, object]]] = {
    "batch.parts": ("batch.micro_batches", {}),
    "center.reading": ("center.form", {"code": "mean"}),
    "identity.spread": ("identity.smoothing_over", {}),
}
"""Keys of earlier releases: what they are called now, and which of their values, too.

Files and settings may have them, and digests always do.
"""

SectionKind = TypeVar("SectionKind", bound=Section)


def _section(value: object, kind: type[SectionKind], key: str = "a recipe") -> SectionKind:
    if not isinstance(value, dict):
        raise UsageError(f"{key} must be an object with keys and values, not {in_words(value)}")
    types, given = field_types(kind), {}
    for name, inner in value.items():
        if name not in types:
            full = kind.key(str(name))
            raise UsageError(f"there is no {in_words(full)}{_nearest(full)}")
        hint = types[name]
        section = isinstance(hint, type) and issubclass(hint, Section)
        given[name] = _section(inner, hint, name) if section else inner
    return kind(**given)


def _with_new_names(value: object) -> object:
    """Return the value of a recipe with its `RENAMED` keys and values replaced."""
    if not isinstance(value, dict):
        return value
    value = dict(value)
    for old, (new, words) in RENAMED.items():
        section, _, leaf = old.partition(".")
        fields = value.get(section)
        if not isinstance(fields, dict) or leaf not in fields:
            continue
        value[section] = fields = dict(fields)
        given, name = fields.pop(leaf), new.partition(".")[2]
        if name in fields:
            raise UsageError(f"{old} is what {new} was called before: give {new} alone", argument=new)
        fields[name] = words.get(given, given) if isinstance(given, str) else given
    return value


def load(path: Path) -> Recipe:
    """Read the recipe of a `recipe.json`.

    Raises:
        UsageError: it cannot be read, is not JSON, or no recipe.
    """
    try:
        value = strict_json.read(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except strict_json.JsonError as error:
        if path.suffix.lower() in {".yml", ".yaml"}:
            raise UsageError(
                f"{path} is YAML, and a recipe is JSON: `reidkit recipes strong-baseline > mine.json` writes one to "
                "change"
            ) from None
        raise UsageError(
            f"{path} is not JSON ({error}): give a recipe's name (`reidkit recipes`) or a recipe.json, which has no "
            "comments"
        ) from None
    return from_json(value, where=str(path))


def override(recipe: Recipe, settings: Sequence[str] | Mapping[str, object]) -> Recipe:
    """Return the recipe with other settings: `{"optim.lr": 1e-3}`, or texts as `optim.lr=1e-3`, of JSON or bare words.

    Raises:
        UsageError: a text without `=`, a key that does not exist (the nearest is named), a value that does not fit.
    """
    value = to_json(recipe)
    texts = not isinstance(settings, Mapping)
    for key, given in settings.items() if isinstance(settings, Mapping) else map(_split, settings):
        new, words = RENAMED.get(key.strip(), (key.strip(), {}))
        section, _, leaf = new.rpartition(".")
        place = value.get(section) if section else value
        if not section and isinstance(value.get(leaf), dict):
            one = next(iter(value[leaf]))
            raise UsageError(f"{leaf} is a section: set its keys one by one, as {leaf}.{one}", argument="set")
        if not isinstance(place, dict) or leaf not in place or isinstance(place[leaf], dict):
            raise UsageError(f"there is no {in_words(key.strip())}{_nearest(key.strip())}", argument="set")
        parsed = _parse(str(given), place[leaf]) if texts else given
        place[leaf] = words.get(parsed, parsed) if isinstance(parsed, str) else parsed
    return from_json(value, kind=type(recipe))


def _split(setting: str) -> tuple[str, str]:
    key, separator, text = setting.partition("=")
    if not separator:
        sentence = f"{in_words(setting)} is no setting: write it as KEY=VALUE, as in optim.lr=1e-3"
        raise UsageError(sentence, argument="set")
    return key, text.strip()


ORIGINAL = frozenset(
    f"{section}.{leaf}"
    for section, names in {
        "network": "backbone width last_stride stride_in stem_relu neck",
        "images": "height width pad flip",
        "erasing": "probability area aspect fill",
        "batch": "ids images visits",
        "identity": "weight smoothing init",
        "triplet": "weight margin",
        "center": "weight lr reading",
        "optim": "lr weight_decay epochs drops gamma warmup_epochs warmup",
    }.items()
    for leaf in names.split()
)
"""The fields of the first release, as it called them. Every digest has them, and this list never changes."""


def digest(recipe: Recipe) -> str:
    """Return sixteen digits that differ where two recipes differ in anything but their name.

    Of the fields that came after `ORIGINAL` only those that do not have their default count, so that a new field or
    section changes no digest, and runs begun before it can still go on.
    """
    defaults = leaves(type(recipe)())
    before = {new: (old, {now: then for then, now in words.items()}) for old, (new, words) in RENAMED.items()}
    counted: dict[str, dict[str, Any]] = {}
    for key, value in leaves(recipe).items():
        old, words = before.get(key, (key, {}))
        if old in ORIGINAL or (key != "name" and value != defaults[key]):
            section, _, leaf = old.rpartition(".")
            counted.setdefault(section, {})[leaf] = words.get(value, value) if isinstance(value, str) else value
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:16]


def differences(ours: Recipe, theirs: Recipe) -> list[str]:
    """List the fields in which two recipes differ, as `optim.lr: 0.1, not 0.2`."""
    return [f"{key}: {mine}, not {other}" for key, (mine, other) in changes(ours, theirs).items()]


def changes(recipe: Recipe, origin: Recipe) -> dict[str, tuple[Any, Any]]:
    """Return each field in which `recipe` differs from `origin`, with both values: `{"optim.lr": (1.0, 0.00035)}`."""
    mine, theirs = leaves(recipe), leaves(origin)
    return {key: (mine[key], theirs[key]) for key in mine if key != "name" and mine[key] != theirs[key]}


def _parse(text: str, present: object) -> object:
    """Parse a value as JSON, or take the bare word, always where `present` is text: a name may be 2024.

    Where it is a list of numbers, `40,70` and `(40, 70)` are one, too.
    """
    if isinstance(present, str) and text[:1] != '"':
        return text
    content = text
    if isinstance(present, list) and text[:1] not in ("", "["):
        content = f"[{text.removeprefix('(').removesuffix(')').strip().removesuffix(',')}]"
    try:
        return strict_json.parse(content)
    except strict_json.JsonError:
        return text


def _nearest(key: str) -> str:
    return nearest(in_words(key), list(leaves(Recipe())))


# What other programs call the fields of a recipe, so that a wrong key leads to the right one.


FIELDS = {
    "lr": "optim.lr",
    "learning_rate": "optim.lr",
    "base_lr": "optim.lr",
    "wd": "optim.weight_decay",
    "epoch": "optim.epochs",
    "num_epochs": "optim.epochs",
    "max_epoch": "optim.epochs",
    "max_epochs": "optim.epochs",
    "steps": "optim.drops",
    "stepsize": "optim.drops",
    "milestones": "optim.drops",
    "warmup_epoch": "optim.warmup_epochs",
    "ema": "optim.average",
    "num_instances": "batch.images",
    "num_instance": "batch.images",
    "instances": "batch.images",
    "arch": "network.backbone",
    "model_name": "network.backbone",
    "label_smooth": "identity.smoothing",
    "label_smoothing": "identity.smoothing",
    "random_erasing": "erasing.probability",
    "re_prob": "erasing.probability",
    "img_height": "images.height",
    "img_width": "images.width",
    "center_lr": "center.lr",
    "center_weight": "center.weight",
    "triplet_weight": "triplet.weight",
    "if_labelsmooth": "identity.smoothing",
    "epsilon": "identity.smoothing",
    "weight_decay_bias": "optim.weight_decay",
    "delay_epochs": "optim.drops",
    "warmup_iters": "optim.warmup_epochs",
    "num_ids": "batch.ids",
    "num_pids": "batch.ids",
    "ims_per_batch": "batch.ids",
    "center_loss_weight": "center.weight",
    "padding": "images.pad",
    "do_flip": "images.flip",
    "depth": "network.backbone",
    "feat_dim": "network.embedding",
    "embedding_dim": "network.embedding",
    "model": "network.backbone",
}
"""The field of a recipe by its name in other programs."""

SIZES = {"size", "img_size", "input_size", "image_size", "size_train", "size_test"}
"""One setting in other programs, two here: images.height and images.width."""

NEAR = 0.75
"""How similar a key must be to one that exists: `optim.epoch` is `optim.epochs`, `optim.betas` is nothing."""


def nearest(key: str, known: Sequence[str]) -> str:
    """Say which of the `known` keys may be meant by one that does not exist, as the end of a sentence."""
    leaf = key.rpartition(".")[2].strip().lower().replace("-", "_")
    same = [full for full in known if leaf and full.rpartition(".")[2] == leaf]
    same = sorted(same, key=FIELDS.get(leaf, "").__ne__) or ([FIELDS[leaf]] if leaf in FIELDS else [])
    if leaf in SIZES:
        return "; did you mean images.height and images.width?"
    near = same or difflib.get_close_matches(key.lower(), known, n=1, cutoff=NEAR)
    if near:
        return f"; did you mean {' or '.join(near[:3])}?"
    section = key.partition(".")[0]
    inside = [full.removeprefix(f"{section}.") for full in known if full.startswith(f"{section}.")]
    if inside:
        return f"; {section} has {', '.join(inside)}"
    return "; `reidkit recipes standard-baseline` shows every key"
