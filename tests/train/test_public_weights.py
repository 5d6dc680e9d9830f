"""Fetching weights: from a server on this machine, which also cuts, refuses and lies."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
import torch

from reidkit import get_recipe, train
from reidkit.errors import UsageError, WeightsError
from reidkit.model.network import build_network
from reidkit.train import public_weights
from reidkit.train.public_weights import PUBLIC, PublicWeights, fetch, find_weights
from tests.commands import SIZE
from tests.server import served


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights of a ResNet-18 under the name that torch would give them."""
    folder = tmp_path_factory.mktemp("site")
    recipe = get_recipe("strong-baseline", {"network.backbone": "resnet18"})
    torch.save(build_network(recipe.network).backbone.state_dict(), folder / "new.pth")
    digest = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()[:8]
    (folder / "new.pth").rename(folder / f"resnet18-{digest}.pth")
    return folder


def offered(site: Path, url: str) -> PublicWeights:
    return PublicWeights(url, next(site.iterdir()).name)


def test_a_file_is_fetched_once(site: Path, tmp_path: Path) -> None:
    with served(site) as server:
        wanted = offered(site, server.url)
        told: list[tuple[str, int, int]] = []
        path = fetch(wanted, tmp_path, lambda *call: told.append(call))
        assert path.read_bytes() == next(site.iterdir()).read_bytes()
        assert told[-1] == ("weights", path.stat().st_size, path.stat().st_size)
        server.gone = True
        assert fetch(wanted, tmp_path) == path
        path.write_bytes(b"damaged")
        with pytest.raises(WeightsError, match=r"cannot be fetched \(.*Service Unavailable\): fetch http"):
            fetch(wanted, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_another_file_is_not_taken(site: Path, tmp_path: Path) -> None:
    with served(site) as server:
        (site / "other-00000000.pth").write_bytes(b"something else")
        wanted = PublicWeights(server.url, "other-00000000.pth")
        with pytest.raises(WeightsError, match=r"gives another file \(its SHA-256 begins with [0-9a-f]{8}\): fetch"):
            fetch(wanted, tmp_path)
        (site / "other-00000000.pth").unlink()
        with pytest.raises(WeightsError, match="cannot be fetched"):
            fetch(wanted, tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_a_network_a_sentence_says_what_to_do(tmp_path: Path) -> None:
    wanted = PublicWeights("http://127.0.0.1:9", "resnet50-0676ba61.pth")
    with pytest.raises(WeightsError, match=r"fetch http://127\.0\.0\.1:9/resnet50-0676ba61\.pth on a machine that can"):
        fetch(wanted, tmp_path)


def test_a_run_begins_with_them(site: Path, tmp_path: Path, noise: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    small = {key: value for key, value in SIZE.items() if key != "network.width"}
    small |= {"optim.drops": [], "optim.warmup_epochs": 0, "optim.epochs": 1}
    with served(site) as server:
        monkeypatch.setitem(PUBLIC, "resnet18", offered(site, server.url))
        run = train(get_recipe("strong-baseline", small), noise, weights="imagenet", out=tmp_path / "run")
    assert run.model.recipe.network.backbone == "resnet18"
    assert (tmp_path / "cache" / "reidkit" / "weights" / PUBLIC["resnet18"].name).is_file()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["weights"] != "none"


def test_what_there_is_none_for() -> None:
    assert find_weights(None, "resnet50") is None
    assert find_weights("some/file.pth", "osnet-x1_0") == Path("some/file.pth")
    with pytest.raises(UsageError, match="no public ImageNet weights are known for osnet-x1_0: give a file"):
        find_weights("imagenet", "osnet-x1_0")
    with pytest.raises(UsageError, match="resnet18 of another width"):
        find_weights("imagenet", "resnet18", 0.25)


def test_every_name_ends_in_its_hash() -> None:
    for weights in PUBLIC.values():
        assert re.fullmatch(r"[0-9a-f]{8}", weights.digest)
        assert weights.url.startswith("https://")
    assert public_weights.PUBLIC["resnet50"].digest == "0676ba61"


def test_the_readme_names_them() -> None:
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    for name in ("resnet18", "resnet50", "resnet101", "resnet50-ibn-a"):
        assert PUBLIC[name].url in text
        assert f"`{PUBLIC[name].digest}`" in text
