"""Every method beside the baseline: its recipe trains, is resumed, saved, loaded, evaluated and embeds images."""

from __future__ import annotations

import numpy as np
import pytest

from reidkit.encoder import load_model
from reidkit.metrics import score
from reidkit.model.weights import save_model
from reidkit.recipe import digest, from_json, override, to_json
from reidkit.recipes import ROWS, TABLES, beyond, get_recipe
from reidkit.train.checkpoint import StoppedError
from reidkit.types import Embeddings
from tests.train.tiny import Run, same_weights

METHODS = {row.name: row for row in beyond.METHODS}
TINY = {
    "network.width": 0.125,
    "images.height": 64,
    "images.width": 32,
    "batch.ids": 4,
    "batch.images": 2,
    "batch.visits": "once",
    "optim.epochs": 1,
    "optim.drops": [],
    "optim.warmup_epochs": 0,
    "optim.flat": 0,
}
OWN = {"hacnn": {"images.height": 160, "images.width": 64}}
"""HA-CNN's windows have the size of its maps."""
MASKED = {row.name for row in beyond.METHODS if row.recipe and row.recipe.network.masks != "none"}
TRIED = [name for name in METHODS if name not in {"osnet-x1_0", "osnet-x0_75", "osnet-x0_5"} | MASKED]
"""OSNets of other widths differ in numbers of channels alone; those with masks are in `tests.train.test_masks`."""


def tiny(name):
    row = METHODS[name]
    made = override(beyond.small(row.recipe), TINY | OWN.get(name, {}))
    return override(made, {"network.embedding": 8}) if made.network.embedding else made


@pytest.mark.parametrize("name", TRIED)
def test_two_steps_a_crash_a_resume_a_file_and_scores(tmp_path, name):
    """Broken off after the first step and gone on with, the weights are those of the unbroken run."""
    recipe = tiny(name)
    whole = Run(tmp_path / "whole", recipe)
    whole.folder.mkdir()
    network = whole.go()
    broken = Run(tmp_path / "broken", recipe)
    broken.folder.mkdir()
    with pytest.raises(StoppedError, match="step 1 of epoch 1"):
        broken.go(stop_before(2))
    assert same_weights(broken.go(), network)
    losses = [row["loss"] for row in whole.rows("step")]
    assert len(losses) == 2
    assert np.isfinite(losses).all()

    save_model(tmp_path / "model.safetensors", network, recipe)
    model = load_model(tmp_path / "model.safetensors")
    images = list(np.random.default_rng(0).integers(0, 256, (6, 64, 32, 3), dtype=np.uint8))
    vectors = model.embed(images, device="cpu", precision="fp32")
    assert vectors.shape == (6, model.dim)
    assert np.isfinite(vectors).all()
    pids = np.array([1, 2, 3, 1, 2, 3])
    query, gallery = (
        Embeddings(vectors[half], pids[half], np.full(3, camera)) for camera, half in enumerate((slice(3), slice(3, 6)))
    )
    assert 0 <= score(query, gallery).map <= 1


def stop_before(step):
    """Ask the run to stop before that step, so that it saves its state."""

    def fault(run, now):
        if now == step:
            run.interrupt.requested = True

    return fault


def test_names_of_methods_are_those_of_their_recipes():
    for row in (*beyond.METHODS, *beyond.SMALL):
        assert row.recipe.name == row.name
        assert get_recipe(row.name) == row.recipe
        assert from_json(to_json(row.recipe)) == row.recipe


def test_no_two_recipes_are_the_same():
    """But for those of the paper's table of backbones."""
    named = {}
    for row in ROWS:
        assert named.setdefault(digest(row.recipe), row.recipe.name) == row.recipe.name


def test_the_twins_of_a_table_have_one_length_and_one_size():
    small = [beyond.small(row.recipe) for row in beyond.ROWS]
    assert {recipe.optim.epochs for recipe in small} == {40}
    assert {recipe.images.size for recipe in small} == {(128, 64), (160, 64)}
    assert {recipe.network.width for recipe in small} == {0.25}
    short = [beyond.brief(row.recipe) for row in beyond.ROWS]
    assert {recipe.optim.epochs for recipe in short} == {24}
    assert {recipe.images.size for recipe in short} == {(128, 64), (160, 64)}


def test_each_method_of_table_4_stands_there_as_published_and_as_a_plug_in():
    rows = {row.name: row for row in TABLES["table4"].rows}
    assert rows["pcb"].recipe is None
    assert rows["pcb-plugin"].recipe == get_recipe("pcb")
    assert TABLES["table4"].twin(get_recipe("pcb"), "small") == beyond.small(get_recipe("pcb"))
    published = [name for name, row in rows.items() if row.recipe is None]
    assert len(published) == 20
    alike = {"bfe": "bdb", "ha-cnn": "hacnn", "pyramid-21": "pyramid", "pyramid-1": "pyramid", "alignedreid": "aligned"}
    without = [name for name in published if f"{alike.get(name, name)}-plugin" not in rows]
    assert without == ["duatm", "pn-gan"]
    assert all(any(name.lower() in note.lower() for note in TABLES["table4"].notes) for name in without)


def test_scores_on_msmt17_say_what_was_trained_on():
    for row in beyond.ROWS:
        if "msmt17" in row.published:
            assert "MSMT17" in row.note, row.name
