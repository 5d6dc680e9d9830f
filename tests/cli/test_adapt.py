"""`reidkit adapt` and `reidkit distil` as users call them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from reidkit.model.network import build_network
from reidkit.model.weights import save_model
from tests.commands import SIZE
from tests.train.test_cluster_contrast import TINY
from tests.train.tiny import RECIPE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Nursery


def set_(settings: dict[str, object]) -> list[str]:
    return [word for key, value in settings.items() for word in ("--set", f"{key}={json.dumps(value)}")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, build_network(RECIPE.network), RECIPE)
    return path


def test_adapts_and_prints_before_and_after(nursery: Nursery, model: Path, noise: Path, tmp_path: Path) -> None:
    words = ["adapt", model, "--data", noise, "--out", tmp_path / "run", "--no-cache", *set_(TINY)]
    done = nursery.run(*words, "--json")
    found = done.json()
    assert found["before"]["queries"] == found["queries"] == 4
    assert "epoch 2/2  " in done.err
    assert "clusters, " in done.err
    assert (tmp_path / "run" / "report.html").is_file()
    again = nursery.run(*words)
    assert again.status == 2
    assert again.line().endswith("(--resume, --out)")
    scores = nursery.run("evaluate", tmp_path / "run", "--data", noise, "--no-cache", "--json").json()
    assert scores["map"] == pytest.approx(found["map"], abs=1e-6)


def test_failures_name_the_option(nursery: Nursery, model: Path, noise: Path, tmp_path: Path) -> None:
    words = ["adapt", model, "--data", noise, "--out", tmp_path / "run", "--no-cache"]
    none = nursery.run(*words, *set_({**TINY, "adapt.eps": 0.3, "adapt.min_images": 16}))
    assert none.status == 1
    assert none.line().endswith("(--set adapt.eps=...)")
    best = nursery.run(*words, "--set", "optim.best_every=1")
    assert (best.status, "last epoch" in best.line()) == (2, True)
    unknown = nursery.run(*words, "--set", "adapt.epochs=3")
    assert "there is no adapt.epochs" in unknown.line()


def test_distils_into_another_network(nursery: Nursery, model: Path, noise: Path, tmp_path: Path) -> None:
    made = {**SIZE, "optim.epochs": 1, "optim.drops": [], "optim.warmup_epochs": 0, "network.width": 0.25}
    words = ["strong-baseline", "--data", noise, "--out", tmp_path / "run", "--no-cache", *set_(made)]
    done = nursery.run("distil", model, *words, "--save-classifier", "--json")
    assert done.json()["queries"] == 4
    assert "  similarity " in done.err
    assert (tmp_path / "run" / "classifier.safetensors").is_file()
    without = nursery.run("distil", model, *words[:3], "--out", tmp_path / "b", *set_(made), "--set", "distil.logits=1")
    assert without.line().endswith("(--set distil.logits=...)")
