"""Remedies for commands and options that do not exist, and what the shell completes."""

from __future__ import annotations

import difflib
import os
import shlex
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from reidkit.errors import UsageError
from reidkit.recipe.text import FIELDS
from reidkit.terminal import comma_list

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NEAR = 0.75
"""How like a name must be to one that exists: `trian` is `train`, but `serve` is not `score`."""

COMMANDS = {
    "eval": "evaluate",
    "judge": "evaluate",
    "test": "evaluate",
    "val": "evaluate",
    "validate": "evaluate",
    "fit": "train",
    "list": "recipes",
    "inspect": "data",
    "check": "data",
    "generate": "synth",
    "synthesize": "synth",
    "rerank": "score",
    "threshold": "calibrate",
    "convert": "import",
    "version": "--version",
}
"""Commands by the names that other programs give them."""

OPTIONS = {
    "data_dir": "--data",
    "data_path": "--data",
    "data_root": "--data",
    "dataset": "--data",
    "dataset_dir": "--data",
    "root": "--data",
    "root_dir": "--data",
    "source": "--data",
    "sources": "--data",
    "log_dir": "--out",
    "logs_dir": "--out",
    "output": "--out",
    "output_dir": "--out",
    "save_dir": "--out",
    "work_dir": "--out",
    "load_weights": "--weights",
    "pretrain": "--weights",
    "pretrained": "--weights",
    "pretrain_path": "--weights",
    "resume_from": "--resume",
    "eval_freq": "--evaluate-every",
    "eval_period": "--evaluate-every",
    "eval_every": "--evaluate-every",
    "cpu": "--device cpu",
    "cuda": "--device cuda",
    "gpu": "--device cuda",
    "gpus": "--device cuda",
    "gpu_id": "--device cuda",
    "gpu_devices": "--device cuda",
    "amp": "--precision bf16",
    "bf16": "--precision bf16",
    "fp16": "--precision bf16",
    "fp32": "--precision fp32",
    "nproc": "--processes",
    "rerank_k1": "--k1",
    "rerank_k2": "--k2",
    "reranking": "--rerank",
    "re_ranking": "--rerank",
    "flip_test": "--flip",
    "batch_size": "--batch",  # where there is one
    "test_batch": "--batch",
    "threads": "--workers",
    "num_workers": "--workers",
    "output_json": "--json",
    "num_ids": "--ids",
}
"""Options by the names that other programs give them."""

ARGUMENTS = {
    "out": ("OUT", "FILE", "TO"),
    "data": ("DIR", "IMAGES"),
    "images": ("IMAGES", "PHOTO"),
    "image": ("IMAGES", "PHOTO"),
    "photo": ("PHOTO", "IMAGES"),
    "query": ("QUERY", "IMAGES", "PHOTO"),
    "model": ("MODEL",),
    "gallery": ("GALLERY", "URI"),
    "recipe": ("RECIPE",),
    "teacher": ("TEACHER",),
}
"""Arguments that one may take for an option of that name."""

WRITING = ("--report", "--sheet", "--picture", "--per-query", "--csv")
"""Options that write a file, of commands that have no `--out`."""

MANY = 4
"""An option that more commands have says nothing of what was meant."""

SENTENCES = {
    "config": "a recipe.json is the argument RECIPE",
    "config_file": "a recipe.json is the argument RECIPE",
    "cfg": "a recipe.json is the argument RECIPE",
    "eval_only": "use `reidkit evaluate`",
    "evaluate": "use `reidkit evaluate`",
    "test_only": "use `reidkit evaluate`",
    "num_workers": "OMP_NUM_THREADS=N sets how many threads it uses",
    "workers": "OMP_NUM_THREADS=N sets how many threads it uses",
}
"""Options of other programs whose remedy is more than a name."""


def no_command(name: str, path: str, known: Sequence[str]) -> UsageError:
    """Return the error for a command that does not exist; it names the nearest one only where it is near."""
    same = COMMANDS.get(name.lower(), "") if path == "reidkit" else ""
    near = [same] if same else difflib.get_close_matches(name.lower(), known, n=1, cutoff=NEAR)
    if near:
        return UsageError(f"there is no `{path} {name}`; did you mean `{path} {near[0]}`?")
    if path == "reidkit" and name in recipe_names():
        return UsageError(f"{name} is a recipe, not a command: `reidkit train {name} --data DIR` trains it")
    return UsageError(f"there is no `{path} {name}`: `{path} --help` lists what there is")


def no_option(
    option: str,
    words: Sequence[str],
    path: str,
    commands: Mapping[str, Sequence[str]],
    arguments: Sequence[str] = (),
) -> str:
    """Return the sentence for an option that does not exist.

    Args:
        option: as it was written, `--lr`.
        words: those of the command line.
        path: the command, `reidkit train`.
        commands: the options of every command, by its path.
        arguments: those of the command, in their order; `[NAME]` may be left out.
    """
    name = option.lstrip("-").replace("-", "_").lower()
    known = commands.get(path, ())
    remedies = (
        _file(option, words),
        _renamed(name, known),
        _argument(name, path, arguments),
        _weights(name, _value(option, words), known),
        _field(name, _value(option, words)) if "--set" in known else "",
        SENTENCES.get(name, ""),
        _nearest(option, known),
        _writing(name, known),
        _elsewhere(option, path, commands),
        _field(name, _value(option, words)),
    )
    remedy = next(filter(None, remedies), "")
    return f"`{path}` has no option {option}{remedy and '; '}{remedy} (see `{path} --help`)"


def _file(option: str, words: Sequence[str]) -> str:
    """Say how a file is named whose name looks like the option."""
    there = (word for word in words if word.startswith(option) and os.path.lexists(word))
    return next((f"the file of that name is {shlex.quote(f'./{word}')}" for word in there), "")


def data_by_position(word: str, path: str) -> UsageError:
    """Return the error for a data set that stands where an option is expected, as in `reidkit evaluate MODEL DIR`."""
    return UsageError(f"`{path}` takes the data set by an option: --data {shlex.quote(word)} (see `{path} --help`)")


def recipe_names() -> list[str]:
    """Return every recipe that `train` knows by name."""
    from reidkit.recipes import by_name

    return list(by_name())


def families() -> list[str]:
    """Return every layout of keys that `import` knows by name."""
    from reidkit.model.convert.families import FAMILIES

    return [family.name for family in FAMILIES if not family.unsupported]


def recipe_keys() -> dict[str, Any]:
    """Return every key that `--set` takes, with its default."""
    from reidkit.recipe import Recipe, leaves

    return {key: value for key, value in leaves(Recipe()).items() if "." in key}


def _renamed(name: str, known: Sequence[str]) -> str:
    """Return an option of the same command that means this."""
    words = OPTIONS.get(name, "")
    return f"write {words}" if words and words.split()[0] in known else ""


def _nearest(option: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(option, known, n=1, cutoff=NEAR)
    return f"did you mean {near[0]}?" if near else ""


def _plain(name: str) -> str:
    """Return the name that reidkit has for an option of other programs, without its dashes."""
    return OPTIONS.get(name, name).removeprefix("--")


def _argument(name: str, path: str, arguments: Sequence[str]) -> str:
    """Say that what was given by an option is an argument of the command."""
    known = [each.strip("[]") for each in arguments]
    place = next((each for each in ARGUMENTS.get(_plain(name), ()) if each in known), "")
    return f"write it as the argument {place}: `{path} {' '.join(arguments)}`" if place else ""


def _weights(name: str, value: str, known: Sequence[str]) -> str:
    """Say how a file or a run to start from is given, where it was given as the name of a network."""
    is_file = os.path.lexists(value) or "/" in value or value.endswith((".safetensors", ".pth", ".pt"))
    named = is_file and not value.startswith("timm:") and FIELDS.get(name, f"network.{name}") == "network.backbone"
    return f"to start from its weights, write --weights {shlex.quote(value)}" if named and "--weights" in known else ""


def _writing(name: str, known: Sequence[str]) -> str:
    """Return the options that write a file, where one was asked for and there is no `--out`."""
    found = [option for option in WRITING if option in known] if _plain(name) == "out" else []
    return f"what it writes is named by {' or '.join(found)}" if found else ""


def _elsewhere(option: str, path: str, commands: Mapping[str, Sequence[str]]) -> str:
    """Return the commands that have this option, of the same group if it has any; none where many have it."""
    others = [other for other, options in commands.items() if option in options]
    siblings = path.rpartition(" ")[0]
    group = [other for other in others if siblings != "reidkit" and other.rpartition(" ")[0] == siblings]
    found = [f"`{other}`" for other in group or others]
    if not found or len(found) > MANY:
        return ""
    return f"{comma_list(found, 'and')} {'has' if len(found) == 1 else 'have'} it"


def _field(name: str, value: str) -> str:
    """Return a field of the recipe that means this."""
    keys = [FIELDS[name]] if name in FIELDS else _keys(name)
    settings = _sizes(name, value) or [f"{key}={_as_json(key, value)}" for key in keys]
    joint = " " if _sizes(name, value) else " or "
    words = joint.join(f"--set {shlex.quote(setting)}" for setting in settings)
    return f"a recipe decides that: `reidkit train` takes {words}" if words else ""


def _keys(name: str) -> list[str]:
    """Return the keys of a recipe that are called so, with their section or without."""
    return [key for key in recipe_keys() if name in (key, key.replace(".", "_"), key.partition(".")[2])]


def _sizes(name: str, value: str) -> list[str]:
    """Two settings that others give as one number."""
    if name == "batch_size":
        images = int(value) if value.isdecimal() else 64
        return [f"batch.ids={max(images // 4, 1)}", "batch.images=4"]
    return ["images.height=256", "images.width=128"] if name in {"img_size", "input_size"} else []


def _value(option: str, words: Sequence[str]) -> str:
    """Return what was written behind the option; VALUE where that was nothing."""
    for word, following in zip(words, (*words[1:], ""), strict=False):
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
        if word == option and following and not following.startswith("--"):
            return following
    return "VALUE"


def _as_json(key: str, value: str) -> str:
    if isinstance(recipe_keys()[key], list) and value != "VALUE" and not value.startswith("["):
        return f"[{value}]"
    return value


def settings(incomplete: str) -> list[str]:
    """Return the keys for `--set`, and behind `KEY=` the values where they are few."""
    key, separator, _ = incomplete.partition("=")
    found = [f"{key}={value}" for value in _choices(key)] if separator else [f"{name}=" for name in recipe_keys()]
    return [word for word in found if word.startswith(incomplete)]


def _choices(key: str) -> list[str]:
    """Return the values of a field that has only a few."""
    from reidkit.recipe import Recipe

    if key not in recipe_keys():
        return []
    section, leaf = key.split(".")
    hint = get_type_hints(get_type_hints(Recipe)[section])[leaf]
    if hint is bool:
        return ["true", "false"]
    return [str(value) for value in get_args(hint)] if get_origin(hint) is Literal else []
