"""Every head, and every kind of backbone, block, pooling and neck, as ONNX: ONNX Runtime computes what torch does."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import onnxruntime
import pytest
import torch

from reidkit.encoder import InputSpec
from reidkit.export.graph import ExportedNetwork
from reidkit.export.onnx_file import to_onnx
from reidkit.export.presets import FRONTS
from reidkit.model.backbones.vit import ViT
from reidkit.model.network import build_network
from reidkit.recipe import BACKBONES, Network
from reidkit.recipe.network_section import BlocksName, HeadName

PLAIN = FRONTS["plain"]
SMALL: dict[str, Any] = {"width": 0.125, "last_stride": 1, "neck": "bnneck", "embedding": 8}
NETWORKS: dict[HeadName, dict[str, Any]] = {
    "single": {"backbone": "resnet50-ibn-b", "pool": "gem", "blocks": "nonlocal", "neck": "bn-relu"},
    "pcb": {"backbone": "osnet-x0_25", "unit": True},
    "rpp": {"backbone": "resnet18", "stem_pool": "ceil", "stem_relu": False},
    "mgn": {"backbone": "resnet18-ibn-a"},
    "bdb": {"backbone": "osnet-ibn-x1_0", "pool": "max"},
    "pyramid": {"backbone": "resnet18", "neck": "l2"},
    "trinet": {"backbone": "seresnet50", "pool": "mean+max"},
    "svdnet": {"backbone": "osnet-ain-x0_25", "neck": "none"},
    "aligned": {"backbone": "resnet50", "embedding": 0, "blocks": "nonlocal-as-published"},
    "scpnet": {"backbone": "seresnext50", "embedding": 0, "reduced": 4},
    "mancs": {"backbone": "resnet50", "embedding": 0, "blocks": "attention"},
    "token": {"backbone": "vit-tiny", "width": 0.25, "patch_stride": 12, "embedding": 0},
    "jigsaw": {"backbone": "vit-tiny", "width": 0.25, "cameras": 2, "embedding": 0},
    "windows": {"backbone": "hacnn", "width": 0.25, "pool": "gem-3"},
}
"""Each head, and with it backbones and settings that are found nowhere else."""


def shortened(network: Any) -> Any:
    """Leave one block in each stage of a ResNet or an OSNet, and two in a transformer: the others are like them."""
    backbone = network.backbone
    for stage in ("layer1", "layer2", "layer3", "layer4", "conv2", "conv3", "conv4"):
        found = getattr(backbone, stage, None)
        if isinstance(found, torch.nn.Sequential) and len(found):
            behind = list(found)[2:] if stage.startswith("conv") else []
            setattr(backbone, stage, torch.nn.Sequential(found[0], *behind))
    if isinstance(backbone, ViT):
        backbone.blocks = torch.nn.Sequential(*list(backbone.blocks)[:2])
    return network


@pytest.mark.parametrize("head", NETWORKS)
def test_onnx_computes_what_torch_does(head: HeadName) -> None:
    torch.manual_seed(0)
    size = (160, 64) if head == "windows" else (64, 32)
    network = shortened(build_network(Network(head=head, **{**SMALL, **NETWORKS[head]}))).train()
    with torch.no_grad():
        network(torch.randn(8, 3, *size) + 0.5)  # norms and a neck that have moved
    network.eval()
    exported = ExportedNetwork(network, InputSpec(height=size[0], width=size[1]), PLAIN).eval()
    session = onnxruntime.InferenceSession(to_onnx(exported, size, PLAIN).SerializeToString())
    pixels = torch.randn(3, 3, *size)
    with torch.inference_mode():
        wanted = network(pixels).f_i.numpy()
    (found,) = session.run(None, {PLAIN.input_name: pixels.numpy()})
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_nothing_of_the_zoo_is_left_out() -> None:
    """But for timm's, which are somebody else's; sizes of one kind differ in numbers alone."""
    regions = {"regions", "spreid", "glad", "pie"}  # heads over parts of the body are not tried here
    assert set(NETWORKS) == set(get_args(HeadName)) - regions
    tried = {made["backbone"] for made in NETWORKS.values()}
    for family, names in BACKBONES.items():
        assert family == "timm_models" or tried & set(names), family
    assert {made.get("blocks", "none") for made in NETWORKS.values()} == set(get_args(BlocksName))
