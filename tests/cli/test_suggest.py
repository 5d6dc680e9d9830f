from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reidkit.cli import suggest
from reidkit.recipe.text import FIELDS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Nursery

KNOWN = ("recipes", "data", "shard", "synth", "train", "evaluate", "score", "calibrate", "paper", "doctor", "show")
TRAIN = ("--data", "--set", "--out", "--weights", "--device", "--precision", "--resume", "--seed", "--evaluate-every")
COMMANDS = {
    "reidkit train": TRAIN,
    "reidkit evaluate": ("--data", "--batch", "--flip", "--rerank", "--metric", "--device"),
    "reidkit score": ("--rerank", "--metric"),
}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("trian", "train"),
        ("trani", "train"),
        ("Train", "train"),
        ("evalute", "evaluate"),
        ("eval", "evaluate"),
        ("shrad", "shard"),
        ("recipe", "recipes"),
        ("scores", "score"),
        ("callibrate", "calibrate"),
        ("judge", "evaluate"),
    ],
)
def test_a_misspelt_command(name: str, meant: str) -> None:
    said = str(suggest.no_command(name, "reidkit", KNOWN))
    assert said == f"there is no `reidkit {name}`; did you mean `reidkit {meant}`?"


@pytest.mark.parametrize(
    "name",
    ["embed", "compare", "gallery", "serve", "export", "import", "adapt", "distil", "reduce", "video", "x", "", "zzz"],
)
def test_a_command_that_is_no_other_one(name: str) -> None:
    said = str(suggest.no_command(name, "reidkit", KNOWN))
    assert said == f"there is no `reidkit {name}`: `reidkit --help` lists what there is"


def test_a_recipe_is_no_command() -> None:
    said = str(suggest.no_command("strong-baseline", "reidkit", KNOWN))
    assert "`reidkit train strong-baseline --data DIR`" in said


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["--lr", "3"], "--set optim.lr=3"),
        (["--lr=1e-3"], "--set optim.lr=1e-3"),
        (["--learning-rate", "3e-4"], "--set optim.lr=3e-4"),
        (["--lr"], "--set optim.lr=VALUE"),
        (["--lr", "--json"], "--set optim.lr=VALUE"),
        (["--optim.lr", "3"], "--set optim.lr=3"),
        (["--epochs", "60"], "--set optim.epochs=60"),
        (["--max_epoch", "60"], "--set optim.epochs=60"),
        (["--steps", "40,70"], "--set 'optim.drops=[40,70]'"),
        (["--margin", "0.5"], "--set triplet.margin=0.5"),
        (["--height", "384"], "--set images.height=384"),
        (["--batch-size", "128"], "--set batch.ids=32 --set batch.images=4"),
        (["--weight-decay", "0"], "--set optim.weight_decay=0"),
        (["--output", "x"], "write --out"),
        (["--root", "x"], "write --data"),
        (["--gpu", "0"], "write --device cuda"),
        (["--eval-freq", "5"], "write --evaluate-every"),
        (["--model", "runs/x"], "to start from its weights, write --weights runs/x"),
        (["--backbone", "model.safetensors"], "write --weights model.safetensors"),
        (["--arch", "resnet18"], "--set network.backbone=resnet18"),
        (["--model", "timm:x/y"], "--set network.backbone=timm:x/y"),
        (["--config-file", "x"], "a recipe.json is the argument RECIPE"),
        (["--eval-only"], "use `reidkit evaluate`"),
        (["--wieghts", "x"], "did you mean --weights?"),
        (["--rerank"], "`reidkit evaluate` and `reidkit score` have it"),
    ],
)
def test_an_option_of_training(words: list[str], remedy: str) -> None:
    option = words[0].partition("=")[0]
    said = suggest.no_option(option, ["train", "x", *words], "reidkit train", COMMANDS)
    assert said.startswith(f"`reidkit train` has no option {option}; ")
    assert remedy in said
    assert said.endswith(" (see `reidkit train --help`)")


def test_what_is_said_of_a_recipe_where_none_is_given() -> None:
    said = suggest.no_option("--lr", ["evaluate", "x", "--lr", "3"], "reidkit evaluate", COMMANDS)
    assert "a recipe decides that: `reidkit train` takes --set optim.lr=3" in said
    assert "`reidkit evaluate` has it" in suggest.no_option("--flip", ["--flip"], "reidkit score", COMMANDS)
    assert "write --batch " in suggest.no_option("--batch-size", [], "reidkit evaluate", COMMANDS)


def test_nothing_wrong_is_said_of_an_option_that_means_nothing() -> None:
    said = suggest.no_option("--frobnicate", ["--frobnicate"], "reidkit train", COMMANDS)
    assert said == "`reidkit train` has no option --frobnicate (see `reidkit train --help`)"


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("gallery export a.db --out x.npz", "write it as the argument FILE: `reidkit gallery export GALLERY FILE`"),
        ("gallery copy a.db --output b.db", "write it as the argument TO: `reidkit gallery copy FROM TO`"),
        ("evaluate --model m --data d", "write it as the argument MODEL: `reidkit evaluate MODEL`"),
        ("distil small --teacher m", "write it as the argument TEACHER: `reidkit distil TEACHER RECIPE`"),
        ("serve --gallery a.db", "write it as the argument URI: `reidkit serve URI [NAME]`"),
        ("evaluate m --data d --out x", "what it writes is named by --report or --per-query"),
        ("gallery search a.db a.jpg --out x.png", "what it writes is named by --sheet"),
        (
            "gallery info a.db --camera 3",
            "`reidkit gallery add`, `reidkit gallery remove`, `reidkit gallery search` and `reidkit gallery export` "
            "have it",
        ),
        ("embed m d --output-dir x", "write --out"),
    ],
)
def test_what_helps_where_another_command_has_the_option(nursery: Nursery, words: str, remedy: str) -> None:
    done = nursery.run(*words.split())
    assert done.status == 2
    assert f"; {remedy} (see `" in done.line()


def test_nothing_is_said_of_an_option_that_many_commands_have(nursery: Nursery) -> None:
    assert nursery.run("gallery", "export", "a.db", "a.npz", "--device", "cpu").line() == (
        "`reidkit gallery export` has no option --device (see `reidkit gallery export --help`)"
    )


def test_a_file_whose_name_looks_like_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-x y.jpg").touch()
    said = suggest.no_option("-x", ["embed", "m", "-x y.jpg"], "reidkit embed", COMMANDS)
    assert (
        said == "`reidkit embed` has no option -x; the file of that name is './-x y.jpg' (see `reidkit embed --help`)"
    )


def test_every_suggestion_exists() -> None:
    assert set(FIELDS.values()) <= set(suggest.recipe_keys())


@pytest.mark.parametrize("words", [("evaluate", "model"), ("train", "strong-baseline"), ("calibrate", "model")])
def test_a_data_set_in_the_place_of_an_argument(nursery: Nursery, words: tuple[str, ...]) -> None:
    done = nursery.run(*words, "my data")
    assert done.status == 2
    assert done.line() == (
        f"`reidkit {words[0]}` takes the data set by an option: --data 'my data' (see `reidkit {words[0]} --help`)"
    )
    assert "Missing option '--data'" in nursery.run(*words).line()


@pytest.mark.parametrize(
    ("words", "option", "command"),
    [
        ("evaluate gone --data a --data b", "--data", "evaluate"),
        ("evaluate gone --data a --keypoints b --masks c", "--masks", "evaluate"),
        ("show ranks gone --data a --out=b.png --out c.png", "--out", "show ranks"),
    ],
)
def test_an_option_that_takes_one_value_is_not_given_twice(
    nursery: Nursery, tmp_path: Path, words: str, option: str, command: str
) -> None:
    done = nursery.run(*words.split(), folder=tmp_path)
    assert done.status == 2
    assert done.line() == f"{option} is given 2 times, and `reidkit {command}` takes one: leave out the others"


def test_options_of_several_values_and_flags_may_be_repeated(nursery: Nursery, tmp_path: Path) -> None:
    words = "train bnneck --data a --data b --set optim.lr=1e-3 --set optim.epochs=2 --resume --resume"
    assert nursery.run(*words.split(), folder=tmp_path).line().startswith("a is not there")
