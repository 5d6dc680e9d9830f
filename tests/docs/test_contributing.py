"""CONTRIBUTING's recipes, each applied to a copy of the sources as the page shows it, and run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from reidkit.recipe import digest
from reidkit.recipes import ROWS
from tests.noise import draw_noise

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = {"loss": 3, "data set": 2, "backbone": 2, "head": 2, "method": 2, "re-ranking": 3}
"""How many files a recipe may touch."""


def blocks(recipe):
    """The blocks of a recipe: (kind, path, text)."""
    section = PAGE.split(f"## How to add a {recipe}\n")[1].split("\n## ")[0]
    return re.findall(r"```(python|diff)\n# (\S+)\n(.*?)```", section, re.DOTALL)


def edited(text, diff):
    """`text` with one edit: its lines without a mark or with `-` stand in it once, one after the other."""
    lines = diff.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    assert text.count(before) == 1, f"{before!r} stands {text.count(before)} times"
    return text.replace(before, after)


def apply(recipe, copy):
    for kind, path, text in blocks(recipe):
        file = copy / path
        if kind == "python":
            assert not file.exists(), path
            file.write_text(text, encoding="utf-8")
        else:
            file.write_text(edited(file.read_text(encoding="utf-8"), text), encoding="utf-8")


def copied(folder, *recipes):
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for recipe in recipes:
        apply(recipe, folder)
    return folder


def python(copy, *words):
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(
        [sys.executable, *words], check=False, cwd=copy, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_an_edit_by_hand():
    assert edited("a\nb\nc\n", " a\n-b\n+B\n+d\n") == "a\nB\nd\nc\n"
    with pytest.raises(AssertionError, match="stands 0 times"):
        edited("a\nb\n", " b\n-a\n+c\n")
    with pytest.raises(AssertionError, match="stands 2 times"):
        edited("a\na\n", " a\n+b\n")


@pytest.mark.parametrize(("recipe", "most"), FILES.items())
def test_a_recipe_touches_few_files(recipe, most):
    paths = {path for _, path, _ in blocks(recipe)}
    assert len(paths) == most
    assert sum(kind == "python" for kind, _, _ in blocks(recipe)) == 1


# Features 0, 3, 1 on a line, ids 0, 0, 1, margin 2: d^2 = 9 within id 0; (2 - 2)^2 = 0 and (2 - 1)^2 = 1 between ids.
LOSS = """
import torch
from reidkit.losses import build_objective
from reidkit.losses.contrastive import contrastive
from reidkit.recipe import digest
from reidkit.recipes import get_recipe

feat, label = torch.tensor([[0.0], [3.0], [1.0]], requires_grad=True), torch.tensor([0, 0, 1])
assert abs(float(contrastive(feat, label, margin=2.0)) - 10 / 3) < 1e-6
assert set(build_objective(get_recipe("strong-baseline"), {"": slice(0, 1)}, 2)(feat, feat, label)) == {
    "identity", "triplet", "center"}
recipe = get_recipe("strong-baseline", {"contrastive.weight": 0.5, "contrastive.margin": 2})
terms = build_objective(recipe, {"": slice(0, 1)}, 2)(feat, feat, label)
assert abs(float(terms["contrastive"]) - 5 / 3) < 1e-6
print(digest(get_recipe("strong-baseline")))
"""

DATA = """
from pathlib import Path
import reidkit as rk

found = rk.load_dataset(Path("viper"))
assert found.name == "two-cameras"
assert [(sample.pid, sample.camid) for sample in found.query] == [(0, 0), (1, 0)]
assert [(sample.pid, sample.camid) for sample in found.gallery] == [(0, 1), (7, 1)]
assert rk.load_dataset(Path("prid")).name == "prid"
"""

BACKBONE = """
import torch
from reidkit.model import build_network, fuse_batch_norms
from reidkit.recipes import get_recipe

network = build_network(get_recipe("strong-baseline", {"network.backbone": "plain4", "network.width": 0.25}).network)
images = torch.rand(2, 3, 64, 32)
assert network.backbone(images).shape == (2, 128, 4, 2)
assert network(images).f_i.shape == (2, 128)
torch.testing.assert_close(fuse_batch_norms(network)(images).f_i, network.eval()(images).f_i, rtol=1e-3, atol=1e-4)
"""

HEAD = """
import torch
from reidkit.losses import build_objective
from reidkit.model import build_network
from reidkit.recipes import get_recipe

recipe = get_recipe("small-strong-baseline", {"network.head": "halves"})
network = build_network(recipe.network).eval()
rows = torch.tensor([1.0, 2.0, 6.0])[None, None, :, None].expand(1, network.channels // 2, 3, 1)
f_t, *_ = network.head(rows)
assert f_t[0, 0] == 1.5 and f_t[0, -1] == 4  # the mean of rows 1 and 2, then of 2 and 3
assert list(network.spans) == ["", "upper", "lower"]
terms = build_objective(recipe, network.spans, 2)(f_t, f_t, torch.tensor([0]))
assert {"identity.upper", "identity.lower", "triplet"} <= set(terms)
"""


METHOD = """
from reidkit.recipe import changes
from reidkit.recipes import ROWS, TABLES, get_recipe

assert changes(get_recipe("powers"), get_recipe("strong-baseline")) == {"network.pool": ("gem", "mean")}
assert get_recipe("small-powers").optim.epochs == 40
assert {"powers", "small-powers"} <= {row.name for row in ROWS}
row = next(row for row in TABLES["beyond"].rows if row.name == "powers")
assert row.parent == "strong-baseline"
"""


# Images at (1, 0) and (0.6, 0.8) become 2 (1, 0) + (0.6, 0.8) and 2 (0.6, 0.8) + (1, 0), of the length sqrt(7.4).
RERANKING = """
import numpy as np
import reidkit as rk

gallery = rk.Embeddings([[1, 0], [0.6, 0.8]], pids=[7, 8], camids=[2, 2])
query = rk.Embeddings([[2, 0]], pids=[8], camids=[1])
np.testing.assert_allclose(rk.rerank(query, gallery, "augmentation"), 1 - np.array([[2.6, 2.2]]) / 7.4**0.5, atol=1e-6)
assert rk.score(query, gallery, rerank="augmentation").map == 0.5
"""


@pytest.mark.parametrize(
    ("recipe", "check"),
    [
        ("loss", LOSS),
        ("data set", DATA),
        ("backbone", BACKBONE),
        ("head", HEAD),
        ("method", METHOD),
        ("re-ranking", RERANKING),
    ],
)
def test_a_recipe_does_what_the_page_says(tmp_path, recipe, check):
    for path in ("cam_a/000_45.png", "cam_a/001_90.png", "cam_b/000_0.png", "cam_b/007_180.png"):
        (tmp_path / "viper" / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 32)).save(tmp_path / "viper" / path)
    for path in ("cam_a/person_0001.png", "cam_b/person_0001.png"):
        (tmp_path / "prid" / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 32)).save(tmp_path / "prid" / path)
    python(copied(tmp_path, recipe), "-c", check)


def test_all_recipes_together_are_what_ruff_asks_for(tmp_path):
    copy = copied(tmp_path, *FILES)
    shutil.copy(ROOT / "pyproject.toml", copy)
    for words in (("check",), ("format", "--check")):
        run = subprocess.run(
            [sys.executable, "-m", "ruff", *words, "--no-cache", "src"],
            check=False,
            cwd=copy,
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stdout


TRAIN = """
from reidkit.cli.main import main
from reidkit.recipe import digest
from reidkit.recipes import ROWS

print(*(digest(row.recipe) for row in ROWS), flush=True)
main()
"""


def test_all_recipes_together_train_and_change_no_digest(tmp_path):
    copy = copied(tmp_path, *FILES)
    settings = {
        "network.backbone": "plain4",
        "network.head": "halves",
        "network.width": 0.125,
        "contrastive.weight": 0.5,
        "images.height": 32,
        "images.width": 32,
        "batch.ids": 4,
        "batch.images": 2,
        "optim.epochs": 1,
        "optim.drops": [],
        "optim.warmup_epochs": 0,
    }
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    data = draw_noise(tmp_path / "market")
    words = ["train", "small-strong-baseline", "--data", str(data), "--out", "run", *words]
    digests = python(copy, "-c", TRAIN, *words).splitlines()[0].split()
    ours = [digest(row.recipe) for row in ROWS]
    assert [each for each in digests if each in ours] == ours
    assert len(digests) == len(ours) + 2, "a method and its twin"
    steps = [json.loads(line) for line in (copy / "run" / "log.jsonl").read_text().splitlines()]
    logged = next(line for line in steps if line["kind"] == "step")
    assert {"identity.upper", "identity.lower", "contrastive", "triplet"} <= set(logged)
