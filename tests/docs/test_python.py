"""Every Python block of the README and the pages runs as it stands, on a small data set of noise.

The recipes are those of their names on small images with a small network: nobody could wait for the real ones.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from reidkit import recipes
from reidkit.comparison import calibrate
from reidkit.data.formats.detect import load_dataset
from reidkit.encoder import load_model
from reidkit.model.network import build_network
from reidkit.model.weights import save_model
from reidkit.recipe import override
from tests.commands import SIZE, settings
from tests.encoder.files import mean_colour
from tests.model.convert.families import fast_reid_bot
from tests.noise import draw_noise

if TYPE_CHECKING:
    from reidkit.recipe import Recipe

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


BLOCKS = [
    pytest.param(page, block, id=f"{page.stem}-{number}")
    for page in PAGES
    if page.name != "tutorial.md"  # its blocks need what its commands made: test_tutorial.py
    for number, block in enumerate(blocks(page), 1)
]

_BY_NAME = recipes.by_name


def small() -> dict[str, Recipe]:
    """The recipes, those of the ladder for images of 32 x 32 pixels and a network of an eighth of the width."""
    given = _BY_NAME()
    ladder = {name for name in given if name.endswith(("strong-baseline", "standard-baseline"))}
    return {name: override(recipe, settings(SIZE)) if name in ladder else recipe for name, recipe in given.items()}


def prepared() -> dict[str, Any]:
    """What a block finds: features of somebody's own, two of each of four ids, by two cameras."""
    pids, camids = np.repeat(np.arange(1, 5), 2), np.tile([1, 2], 4)
    vectors = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
    own = {"vectors": vectors, "pids": pids, "camids": camids}
    return {**own, **{f"query_{name}": values for name, values in own.items()}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with all that the pages name."""
    folder = tmp_path_factory.mktemp("reader")
    market = draw_noise(folder / "Market-1501-v15.09.15", people=range(1, 9), evaluated=range(11, 31))
    for number, name in enumerate(("a.jpg", "b.jpg", "who.jpg")):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)
    for image in sorted((market / "query").iterdir()):
        own = folder / "shop" / image.name[:4]
        own.mkdir(parents=True)
        shutil.copy(image, own / "1.jpg")
        shutil.copy(folder / "a.jpg", own / "2.jpg")
    recipe = small()["strong-baseline"]
    torch.manual_seed(0)
    for name in ("strong", "calibrated"):
        (folder / "runs" / name).mkdir(parents=True)
        save_model(folder / "runs" / name / "model.safetensors", build_network(recipe.network), recipe)
    calibrate(load_model(folder / "runs" / "calibrated"), load_dataset(market), far=0.1)
    shutil.copy(folder / "runs" / "strong" / "model.safetensors", folder / "resnet50.safetensors")
    torch.save(fast_reid_bot().state, folder / "fastreid_bot.pth")
    mean_colour(folder / "osnet_x0_25.onnx", size=(32, 16))
    return folder


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_a_block_runs_as_it_stands(
    page: Path, block: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    if "rk.train(" in block.partition("rk.load_model(")[0]:
        shutil.rmtree(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipes, "by_name", small)
    exec(compile(block, f"{page.name}, a block of Python", "exec"), {"__name__": "__main__", **prepared()})  # noqa: S102


def test_there_are_blocks_to_run() -> None:
    assert len(blocks(ROOT / "docs" / "python.md")) >= 6
    assert len(BLOCKS) >= 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_stands_in_blocks_that_are_run(page: Path) -> None:
    """A block without its language, or with another word for it, would not be found."""
    fence, inside = "", False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            fence, inside = line, not inside
        elif inside and re.match(r"(import|from) \w+", line):
            assert fence == "```python", line
