from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reidkit import recipe as recipes
from reidkit.errors import UsageError
from reidkit.recipe import Erasing, Network, Optim, Recipe

if TYPE_CHECKING:
    from pathlib import Path


def changed(setting: str) -> Recipe:
    return recipes.override(Recipe(), [setting])


def test_override_replaces_one_leaf() -> None:
    expected = Recipe(optim=Optim(lr=1e-3))
    assert changed("optim.lr=1e-3") == expected
    assert changed(" optim.lr = 1e-3 ") == expected


def test_later_settings_win() -> None:
    assert recipes.override(Recipe(), ["batch.ids=8", "batch.ids=4"]).batch.ids == 4


def test_values_are_json_or_bare_words() -> None:
    assert changed("network.neck=bnneck").network.neck == "bnneck"
    assert changed('network.neck="bnneck"').network.neck == "bnneck"
    assert changed("optim.drops=[1,5]").optim.drops == (1, 5)
    assert changed("optim.drops=[]").optim.drops == ()
    assert changed("network.stem_relu=false").network.stem_relu is False
    assert changed("erasing.aspect=[0.5, 2]").erasing.aspect == (0.5, 2.0)
    assert changed("name=mine").name == "mine"
    assert changed("name=2024").name == changed('name="2024"').name == "2024"
    assert changed("name=true").name == "true"


def test_settings_from_python_are_values() -> None:
    settings = {"optim.epochs": 60, "optim.drops": (40, 50), "network.neck": "bnneck", "name": "mine"}
    expected = Recipe(name="mine", network=Network(neck="bnneck"), optim=Optim(epochs=60, drops=(40, 50)))
    assert recipes.override(Recipe(), settings) == expected
    with pytest.raises(UsageError, match=r"there is no optim\.epoch; did you mean optim\.epochs\?"):
        recipes.override(Recipe(), {"optim.epoch": 3})
    with pytest.raises(UsageError, match="optim is a section: set its keys one by one"):
        recipes.override(Recipe(), {"optim": {"epochs": 3}})


def test_a_setting_that_does_not_fit_names_its_key_as_the_argument() -> None:
    """The command line prints `--set optim.epochs=...` behind it."""
    with pytest.raises(UsageError) as caught:
        changed("optim.epochs=0")
    assert (str(caught.value), caught.value.argument) == ("optim.epochs must be at least 1", "optim.epochs")


def test_override_leaves_its_argument_alone() -> None:
    start = Recipe()
    recipes.override(start, ["batch.ids=2"])
    assert start == Recipe()


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("optim.lr", "optim.lr is no setting: write it as KEY=VALUE, as in optim.lr=1e-3"),
        ("optim.rl=1", "there is no optim.rl; did you mean optim.lr?"),
        ("lr=1", "there is no lr; "),
        ("optim=1", "optim is a section: set its keys one by one, as optim.lr"),
        ("optim.lr.deep=1", "there is no optim.lr.deep; "),
        ("=1", "there is no ; "),
        ("x.y.z=1", "there is no x.y.z; "),
        ("optim.lr=fast", "optim.lr must be a number, not fast"),
        ("optim.epochs=1.5", "optim.epochs must be a whole number, not 1.5"),
        (f"optim.epochs={'9' * 5000}", "optim.epochs must be a whole number, not "),
        (f"optim.epochs={'[' * 100_000}", "optim.epochs must be a whole number, not "),
        ("network.neck=bnnek", "network.neck must be none, bnneck, l2 or bn-relu, not bnnek; did you mean bnneck?"),
        ("erasing.area=[0.1]", "erasing.area must be a list of 2 numbers, not [0.1]"),
    ],
)
def test_a_wrong_setting_is_named(setting: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        changed(setting)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    "setting",
    [
        "network.width=0",
        "network.width=5",
        "images.height=31",
        "images.width=16",
        "images.pad=-1",
        "images.flip=1.5",
        "erasing.probability=-0.1",
        "erasing.area=[0.4,0.2]",
        "erasing.area=[0,0.2]",
        "erasing.aspect=[0,1]",
        "batch.ids=1",
        "batch.images=1",
        "identity.smoothing=1",
        "identity.sampled=15",
        "identity.sampled=-16",
        "identity.weight=-1",
        "center.weight=-1",
        "center.lr=-1",
        "triplet.margin=-0.1",
        "optim.lr=0",
        "optim.lr=-1",
        "optim.lr=NaN",
        "optim.lr=Infinity",
        "optim.weight_decay=-1",
        "optim.weight_decay=NaN",
        "triplet.margin=NaN",
        "erasing.aspect=[0.5,Infinity]",
        "optim.gamma=0",
        "optim.epochs=0",
        "optim.warmup_epochs=-1",
        "optim.drops=[70,40]",
        "optim.drops=[40,40]",
    ],
)
def test_a_value_out_of_range_is_refused_in_a_sentence_that_names_it(setting: str) -> None:
    with pytest.raises(UsageError, match=r"must|exclude") as caught:
        changed(setting)
    words = ["finite", *setting.partition("=")[0].split(".")]
    assert any(word in str(caught.value) for word in words)


def test_some_loss_is_needed() -> None:
    with pytest.raises(UsageError, match="cannot both be 0"):
        recipes.override(Recipe(), ["identity.weight=0", "triplet.weight=0"])


def test_json_and_back() -> None:
    start = Recipe(name="x", network=Network(neck="bnneck"), erasing=Erasing(probability=0.5, area=(0.1, 0.3)))
    assert recipes.from_json(json.loads(json.dumps(recipes.to_json(start)))) == start


def test_missing_fields_take_their_defaults() -> None:
    assert recipes.from_json({"optim": {"epochs": 7}}) == Recipe(optim=Optim(epochs=7))


def test_an_unknown_key_is_not_ignored() -> None:
    with pytest.raises(UsageError, match=r"^mine: there is no optim\.epoch; did you mean optim\.epochs\?$"):
        recipes.from_json({"optim": {"epoch": 7}}, where="mine")


@pytest.mark.parametrize("value", [None, 3, [], "strong-baseline", {"optim": 3}, {"name": 3}])
def test_what_is_no_recipe_is_refused(value: object) -> None:
    with pytest.raises(UsageError):
        recipes.from_json(value)


def test_load(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text('{"name": "mine", "batch": {"ids": 2}}')
    assert recipes.load(path).batch.ids == 2


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 5000, b"\x00" * 10])
def test_load_refuses_what_is_not_json(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recipe.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"recipe\.json"):
        recipes.load(path)


def test_load_names_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        recipes.load(tmp_path / "recipe.json")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        recipes.load(tmp_path)


def leaves() -> list[tuple[str, str, object]]:
    whole = recipes.to_json(Recipe())
    return [(s, key, value) for s, inner in whole.items() if isinstance(inner, dict) for key, value in inner.items()]


@given(st.sampled_from(leaves()), st.floats(1e-6, 1e-4))
def test_digest_and_differences_see_every_number(leaf: tuple[str, str, object], share: float) -> None:
    section, key, value = leaf
    if not isinstance(value, float):
        return
    part = dataclasses.replace(getattr(Recipe(), section), **{key: value + share})
    other = dataclasses.replace(Recipe(), **{section: part})
    assert recipes.digest(other) != recipes.digest(Recipe())
    assert recipes.differences(other, Recipe()) == [f"{section}.{key}: {value + share}, not {value}"]


def test_the_name_changes_nothing() -> None:
    assert recipes.digest(Recipe(name="a")) == recipes.digest(Recipe(name="b"))
    assert recipes.differences(Recipe(name="a"), Recipe(name="b")) == []


def test_the_digest_outlives_the_process() -> None:
    """A resumed run compares it with one that another process, perhaps of a later release, has written."""
    assert recipes.digest(Recipe()) == recipes.digest(recipes.from_json({}))
    assert len(recipes.digest(Recipe())) == 16


@pytest.mark.parametrize("text", ["40,70", "(40, 70)", "[40, 70]", " (40,70,) "])
def test_a_list_may_be_written_as_others_write_it(text: str) -> None:
    assert changed(f"optim.drops={text}").optim.drops == (40, 70)
    assert changed("optim.drops=40").optim.drops == (40,)


@pytest.mark.parametrize(
    ("setting", "remedy"),
    [
        ("SOLVER.BASE_LR=0.01", "did you mean optim.lr?"),
        ("lr=1", "did you mean optim.lr or center.lr?"),
        ("images.size=[256,128]", "did you mean images.height and images.width?"),
        ("INPUT.SIZE_TRAIN=[256,128]", "did you mean images.height and images.width?"),
        ("SOLVER.MAX_EPOCHS=3", "did you mean optim.epochs?"),
        ("network.neck=BNNeck", "not BNNeck; did you mean bnneck?"),
        ("network.backbone=resnet50_ibn_a", "did you mean resnet50-ibn-a?"),
        ("optim.betas=0.9", "optim has lr, weight_decay, epochs"),
        ("erasing.fill=imagenet_mean", "did you mean imagenet-mean?"),
        ("batch.ids=true", "batch.ids must be a whole number, not true"),
        ("optim.lr=true", "optim.lr must be a number, not true"),
    ],
)
def test_foreign_words_end_in_ours(setting: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        changed(setting)
    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    "setting",
    [
        f"batch.ids={10**15}",
        f"optim.epochs={10**12}",
        "optim.lr=1e300",
        "images.height=100000",
        "images.pad=5000",
        "batch.ids=1000000",
        f"optim.drops=[1,{2**40}]",
        f"name={'a' * 300}",
        'name="a\\nb"',
    ],
)
def test_numbers_and_names_without_end(setting: str) -> None:
    with pytest.raises(UsageError) as caught:
        changed(setting)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("c.json", b'// mine\n{"name": "x"}', r"line 1, column 1.*no\s+comments"),
        ("c.yml", b"MODEL:\n  NAME: x\n", r"is YAML.*reidkit recipes strong-baseline > mine\.json"),
        ("c.json", b'{"optim": {"lr": 1, "lr": 2}}', "'lr' twice"),
        ("c.json", b'{"optim": {"lr": NaN}}', "NaN"),
        ("c.json", b'{"optim": {"lr": 1e999}}', "too large"),
    ],
)
def test_a_file_that_is_no_recipe_says_why(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=words):
        recipes.load(tmp_path / name)


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    (tmp_path / "bom.json").write_bytes(b'\xef\xbb\xbf{"name": "mine"}')
    assert recipes.load(tmp_path / "bom.json").name == "mine"
