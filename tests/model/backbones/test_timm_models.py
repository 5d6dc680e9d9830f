"""Networks of timm, by stand-ins with its interface: timm itself asks for torchvision."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from reidkit import recipe
from reidkit.errors import UsageError
from reidkit.model.network import build_network
from reidkit.model.weights import load_backbone
from reidkit.recipe import family_of

if TYPE_CHECKING:
    from pathlib import Path


class StandIn(nn.Module):
    """What `timm.create_model` gives, as far as it is used: a stem, and features in one of timm's layouts."""

    classifier: str | tuple[str, ...] = "head.fc"

    def __init__(self, layout: str, classes: bool = False) -> None:
        super().__init__()
        self.num_features, self.num_prefix_tokens, self.layout = 6, 1, layout
        self.default_cfg = {"classifier": self.classifier}
        self.stem = nn.Conv2d(3, 6, 16, 16)
        self.head = nn.ModuleDict({"norm": nn.LayerNorm(6), "fc": nn.Linear(6, 3) if classes else nn.Identity()})
        self.fc_norm = nn.Identity()

    def forward_features(self, images: Tensor) -> Tensor:
        if images.shape[2] % 16:
            raise AssertionError("Input height should be divisible by 16.")
        map_bchw: Tensor = self.stem(images)
        tokens = map_bchw.flatten(2).transpose(1, 2)
        layouts = {
            "map": map_bchw,
            "last": map_bchw.permute(0, 2, 3, 1),
            "tokens": torch.cat([tokens[:, :1], tokens], dim=1),
            "vector": tokens.mean(1),
        }
        return layouts[self.layout]


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A timm that notes how it is called, and knows no option of transformers for the other networks."""
    calls: list[dict[str, Any]] = []

    def create_model(name: str, **options: Any) -> StandIn:
        if "dynamic_img_size" in options and name != "tokens":
            raise TypeError("unexpected keyword argument 'dynamic_img_size'")
        calls.append({"name": name, **options})
        if name not in {"map", "last", "tokens", "vector"}:
            raise RuntimeError(f"Unknown model ({name})")
        return StandIn(name)

    module: Any = ModuleType("timm")
    module.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", module)
    return calls


@pytest.mark.parametrize("layout", ["map", "last", "tokens"])
def test_every_layout_becomes_one_map(layout: str, timm: list[dict[str, Any]]) -> None:
    torch.manual_seed(0)
    network = build_network(recipe.Network(backbone=f"timm:{layout}", neck="bnneck"))  # type: ignore[arg-type]
    images = torch.randn(2, 3, 64, 32)
    wanted = network.backbone.get_submodule("model.stem")(images)
    torch.testing.assert_close(network.backbone(images), wanted)
    assert network(images).f_i.shape == (2, 6)
    assert timm[-1]["pretrained"] is False


@pytest.mark.parametrize("classifier", ["head.fc", ("head.fc", "head_dist"), "head"])
def test_names_are_timms(
    classifier: str | tuple[str, ...], timm: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """timm's word for the classifier may be several, or what the network keeps a part of: `head.norm` is its own."""
    monkeypatch.setattr(StandIn, "classifier", classifier)
    network = build_network(recipe.Network(backbone="timm:map"))  # type: ignore[arg-type]
    names = {f"{of}.{what}" for of in ("stem", "head.norm") for what in ("weight", "bias")}
    assert set(network.state_dict()) == {f"backbone.{name}" for name in names}
    torch.save(StandIn("map", classes=True).state_dict(), tmp_path / "map.pth")
    assert "left out of the weights: head.fc.weight, head.fc.bias" in load_backbone(network, tmp_path / "map.pth")
    assert network.filled == {name for name, _ in network.named_parameters()}


def test_what_has_no_map_is_refused(timm: list[dict[str, Any]]) -> None:
    network = build_network(recipe.Network(backbone="timm:vector"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"gives \[2, 6\], and no map"):
        network(torch.zeros(2, 3, 32, 32))


def test_a_size_that_it_does_not_take_is_refused(timm: list[dict[str, Any]]) -> None:
    network = build_network(recipe.Network(backbone="timm:map"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"no images of 40x32 \(.*by 16\.\): set images.height and images.width"):
        network(torch.zeros(2, 3, 40, 32))


def test_an_unknown_name_is_refused(timm: list[dict[str, Any]]) -> None:
    with pytest.raises(UsageError, match=r"no network called 'resnetx' .*list_models"):
        build_network(recipe.Network(backbone="timm:resnetx"))  # type: ignore[arg-type]


def test_without_timm_its_installation_is_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match="pip install timm"):
        build_network(recipe.Network(backbone="timm:convnext_tiny"))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["timm:", "timm:NA ME", "tim:resnet50", "timm"])
def test_what_names_no_network(name: str) -> None:
    with pytest.raises(UsageError, match="timm:NAME"):
        recipe.Network(backbone=name)  # type: ignore[arg-type]


def test_the_family_of_a_backbone() -> None:
    assert [family_of(name) for name in ("osnet-x0_25", "timm:a.b_c", "resnet18")] == ["osnet", "timm_models", "resnet"]
