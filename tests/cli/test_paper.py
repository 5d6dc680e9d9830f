"""`reidkit paper` as people call it."""

import json
from pathlib import Path

import pytest

from reidkit.cli import options
from reidkit.cli.paper import _weights, paper
from reidkit.errors import UsageError
from tests.commands import training


def test_differences(nursery):
    result = nursery.run("paper", "differences")
    assert result.status == 0
    assert "identity.smoothing_over" in result.out
    assert "imagenet-mean" in result.out
    points = {point["topic"]: point for point in nursery.run("paper", "differences", "--json").json()["points"]}
    assert points["drops"]["values"]["fast-reid"] == [49, 99]
    assert points["stem"]["values"] == {
        "default": True,
        "paper-text": True,
        "official-code": False,
        "fast-reid": True,
    }


def test_published_table_without_data(nursery, tmp_path):
    found = nursery.run("paper", "table6", "--out", tmp_path, "--json").json()
    assert [row["row"] for row in found["rows"]] == ["256x128", "224x224", "384x128", "384x192"]
    assert found["rows"][1]["results"]["dukemtmc"]["map"]["paper"] == 0.722
    assert json.loads((tmp_path / "table6.json").read_text()) == found


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["tabel1"], "did you mean table1?"),
        (
            ["table1", "--data", "DIR"],
            "--data DIR: write it as --data market1501=DIR, or with a name of your own, as --data mine=DIR",
        ),
        (["table1", "--data", "my people"], "own, as --data mine='my people'"),
        (["1"], "there is no 1; choose of table1, table2, "),
        (["table1", "--data", "a/b=DIR"], "a name is of letters"),
        (["table1", "--data", "a=x", "--data", "a=y"], "--data a is given twice"),
        (["table1", "--small", "--short"], "exclude each other"),
        (["table1", "--as", "fastreid"], "did you mean fast-reid?"),
        (["table1", "--rows", "warmpu"], "did you mean warmup?"),
        (["table1", "--rows", ""], "--rows names no row: name some, or leave it out for all of them"),
        (["table1", "--rows", " , "], "--rows names no row"),
        (["table1", "--measured", "mine=94,85"], "--measured changes nothing of table1: leave it out"),
        (["differences", "--as", "fast-reid"], "--as changes nothing of differences: leave it out"),
        (["figure3", "--data", "a=x"], "--data changes nothing of figure3: leave it out"),
        (["figure3", "--format", "csv"], "--format changes nothing of figure3: leave it out"),
        (["figure6", "--seeds", "3"], "--seeds changes nothing of figure6: leave it out"),
        (["table1", "--set", "optim.epochs=0"], "optim.epochs must be at least 1"),
        (["table1", "--weights", "a.pth", "--weights", "b.pth"], "given twice"),
        (["table1", "--weights", "resnet-50=b.pth"], "there is no backbone resnet-50; did you mean resnet50?"),
    ],
)
def test_wrong_calls(nursery, tmp_path, words, line):
    result = nursery.run("paper", *words, "--out", tmp_path)
    assert result.status == 2
    assert line in result.line()


def test_weights_for_one_backbone_and_for_all():
    found = _weights(["resnet50-ibn-a=a.pth", "resnet18=none", "./x=1/b.pth"])
    assert found == {"resnet50-ibn-a": Path("a.pth"), "resnet18": None, "": Path("./x=1/b.pth")}


def test_a_failed_row_ends_in_one_line(nursery, tmp_path, noise):
    """Eight people are too few for 16 at a time."""
    words = (
        "--data",
        f"noise={noise}",
        "--out",
        tmp_path,
        "--rows",
        "16x4",
        "--no-cache",
        "--weights",
        "none",
        "--json",
    )
    result = nursery.run("paper", "table5", "--small", *words)
    assert result.status == 1
    assert "1 run failed (the training images show 8 ids and a batch takes 16" in result.line()
    assert "failed" in json.loads(result.out)["rows"][5]["results"]["noise"]


@pytest.mark.parametrize("what", ["table5", "figure4", "figure6"])
def test_data_is_read_in_the_format_that_is_named(nursery, tmp_path, noise, what):
    result = nursery.run("paper", what, "--data", f"noise={noise}", "--format", "cuhk03", "--out", tmp_path)
    assert result.status == 1
    assert "does not hold CUHK03" in result.line()


def test_train_as_a_reading(nursery, tmp_path, noise):
    """The settings come after the reading."""
    words = training(noise, tmp_path / "run", optim__epochs=1, optim__drops=[])
    result = nursery.run(*words, "--as", "official-code", "--set", "erasing.fill=random")
    assert result.status == 0, result.err
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert (recipe["network"]["stem_relu"], recipe["optim"]["warmup"]) == (False, "code")
    assert recipe["erasing"]["fill"] == "random"
    assert nursery.run(*words, "--as", "code").line().startswith("there is no interpretation code")


def test_help_names_every_table():
    assert paper.__doc__
    with pytest.raises(UsageError, match="table1, table2"):
        paper("zzz", machine=options.Machine())
