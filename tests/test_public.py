"""What `import reidkit` gives, and what it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
import tomllib
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

import reidkit as rk
from reidkit.encoder import InferenceChanges, InferenceOptions
from reidkit.export.exporter import ExportChanges, ExportOptions
from reidkit.gallery.query import Searching, SearchOptions

HEAVY = ("torch", "numpy", "numba", "matplotlib", "PIL", "scipy", "safetensors", "typer")

SCRIPT = """
from importlib import import_module
from pathlib import Path

import numpy as np
import reidkit as rk
from numpy.typing import NDArray


def use(folder: Path) -> float:
    market: rk.Dataset = rk.load_dataset(folder)
    mine = rk.Dataset("mine", [rk.Sample("a.jpg", 1, 1), rk.Sample(folder / "b.jpg", 1, 2)])
    print(mine.train[0].path.name)
    recipe: rk.Recipe = rk.get_recipe("strong-baseline", {"optim.epochs": 60})
    run: rk.Run = rk.train(recipe, market, weights="resnet50.safetensors", out=folder / "runs")
    print(run.model.fingerprint, run.evaluation)
    model = rk.load_model("runs/strong")
    vectors: NDArray[np.float32] = model.embed(["a.jpg", folder / "b.jpg"])
    query: rk.Embeddings = model.embed(market.query)
    gallery = model.embed(market.gallery, flip=True, feature="f_t")
    scores: rk.Scores = rk.score(query, gallery, rerank="k-reciprocal")
    print(vectors.shape, recipe.name, rk.evaluate(model, market, flip=True, device="cpu").scores.rank1)
    print(rk.compare(model, "a.jpg", "b.jpg").same, rk.calibrate(model, market, far=0.01).eer)
    people: rk.Gallery = rk.open_gallery("memory", model)
    people.add(["a.jpg", "b.jpg"], cameras=[1, 2])
    for hit in people.search("who.jpg", top=5):
        print(hit.key, hit.similarity, hit.probability)
    people.search("who.jpg", tops=5)  # type: ignore[call-arg]
    rk.embed_images(model, ["a.jpg"], "f.npz", bacth=5)  # type: ignore[call-arg]
    rk.export_model(model, int9=True)  # type: ignore[call-arg]
    return scores.map
"""


@pytest.mark.parametrize(
    ("changes", "options", "more"),
    [
        (InferenceChanges, InferenceOptions, {"group", "own_precision"}),
        (ExportChanges, ExportOptions, set()),
        (Searching, SearchOptions, {"cameras"}),
    ],
)
def test_fields_that_are_given_by_name_are_those_of_the_options(changes: type, options: type, more: set[str]) -> None:
    assert set(changes.__annotations__) ^ {field.name for field in fields(options)} == more


def test_importing_costs_nothing() -> None:
    asked = f"import sys, reidkit; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_takes_less_than_a_tenth_of_a_second() -> None:
    asked = "import time; start = time.process_time(); import reidkit; print(time.process_time() - start)"
    runs = [subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True) for _ in "123"]
    assert min(float(run.stdout) for run in runs) < 0.1


@pytest.mark.parametrize("name", rk.__all__)
def test_every_name_is_there_and_described(name: str) -> None:
    value = getattr(rk, name)
    if name != "__version__":
        assert inspect.isclass(value) or callable(value)
        assert (value.__doc__ or "").strip()
        assert getattr(value, "__module__", value.__name__).startswith("reidkit")  # `train` is a package, too


def test_the_names_are_few_sorted_and_listed() -> None:
    assert rk.__all__ == sorted(rk.__all__, key=str.swapcase) or rk.__all__ == sorted(rk.__all__)
    assert 20 <= len(rk.__all__) <= 40
    assert dir(rk) == sorted(rk.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'judge'"):
        _ = rk.judge


def test_what_type_checkers_see_is_what_is_loaded() -> None:
    """Each name stands three times: for type checkers, in `__all__` and with its module."""
    text = Path(inspect.getsourcefile(rk) or "").read_text(encoding="utf-8")
    block = text[text.index("if TYPE_CHECKING:") : text.index("__all__ = ")]
    seen = {
        (words[1], name.strip(","))
        for line in block.splitlines()
        if (words := line.split())[:1] == ["from"]
        for name in words[3:]
    }
    assert seen == {(module, name) for module, names in rk._NAMES.items() for name in names}
    assert {name for _, name in seen} | {"__version__"} == set(rk.__all__)


@pytest.mark.slow
def test_a_script_from_outside_passes_a_strict_type_checker(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    words = ["-m", "mypy", "--strict", "--config-file", "", "--cache-dir", str(tmp_path / "cache"), str(script)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout


def test_the_version_is_that_of_the_package() -> None:
    root = Path(__file__).parents[1]
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    file = root / settings["tool"]["hatch"]["version"]["path"]
    assert settings["project"]["dynamic"] == ["version"]
    assert f'__version__ = "{rk.__version__}"' in file.read_text(encoding="utf-8")


PACKAGES = ("data", "experiments", "gallery", "metrics", "serve", "train", "video")


@pytest.mark.parametrize("package", ["reidkit", *(f"reidkit.{name}" for name in PACKAGES)])
def test_every_lazy_name_of_a_package_is_where_its_table_says(package: str) -> None:
    module = import_module(package)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018
