"""Vision transformers against their published size and names, positions, cameras and what a file brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from reidkit import recipe
from reidkit.errors import UsageError, WeightsError
from reidkit.model.backbones.vit import Attention, CameraEmbedding, ViT, resized
from reidkit.model.network import build_network
from reidkit.model.weights import load_backbone
from reidkit.train.optimizer import build_optimizer

if TYPE_CHECKING:
    from pathlib import Path


def tiny(**options: Any) -> ViT:
    return ViT("vit-tiny", width=0.125, **options).eval()


@pytest.mark.parametrize(
    ("name", "stride", "millions", "gflop"),
    [
        ("vit-base", 16, 85.8, 22.7),
        ("vit-base", 12, 85.8, 37.7),
        ("vit-small", 16, 21.67, 5.9),
        ("vit-small", 12, 21.67, 9.9),
    ],
)
def test_size_is_the_published_one(name: str, stride: int, millions: float, gflop: float) -> None:
    """DeiT's 86.57 and 22.05 million less their classifiers; GFLOP of a 256x128 image."""
    with torch.device("meta"):
        network = ViT(name, stride=stride).eval()
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
    counter = FlopCounterMode(display=False)
    with counter:
        patches = network(torch.empty(1, 3, 256, 128, device="meta"))
    assert patches.shape[2:] == ((16, 8) if stride == 16 else (21, 10))
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflop, rel=0.03)


def test_names_are_those_of_timm() -> None:
    with torch.device("meta"):
        state = ViT("vit-small").state_dict()
    assert state["pos_embed"].shape == (1, 197, 384)
    assert {
        "cls_token", "patch_embed.proj.weight", "blocks.0.norm1.weight", "blocks.11.attn.qkv.bias",
        "blocks.3.attn.proj.weight", "blocks.3.mlp.fc1.weight", "blocks.3.mlp.fc2.bias", "norm.weight",
    } <= set(state)  # fmt: skip
    assert len(state) == 3 + 1 + 12 * 12 + 2


def test_attention_is_its_definition() -> None:
    torch.manual_seed(0)
    module, x = Attention(8, 2), torch.randn(2, 5, 8)
    q, k, v = (part.view(2, 5, 2, 4) for part in module.qkv(x).split(8, dim=2))
    wanted = torch.zeros(2, 5, 2, 4)
    for b in range(2):
        for head in range(2):
            weights = (q[b, :, head] @ k[b, :, head].T / 2).softmax(dim=1)
            wanted[b, :, head] = weights @ v[b, :, head]
    torch.testing.assert_close(module(x), module.proj(wanted.flatten(2)))


def test_the_map_is_the_sequence_without_the_class_token() -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, 64, 32)
    as_map, as_sequence = tiny(), tiny(sequence=True)
    as_sequence.load_state_dict(as_map.state_dict())
    sequence = as_sequence(images)
    assert sequence.shape == (2, as_map.channels, 1, 1 + 4 * 2)
    torch.testing.assert_close(as_map(images).flatten(2), sequence[:, :, 0, 1:])


def test_a_table_of_positions_by_hand() -> None:
    """Bilinearly from 2 to 4 places: a quarter and three quarters between; the class token's stays."""
    table = torch.tensor([9.0, 0.0, 4.0]).view(1, 3, 1)
    assert resized(table, (2, 1), (4, 1)).flatten().tolist() == [9, 0, 1, 3, 4]
    assert resized(table, (2, 1), (2, 1)) is table


@pytest.mark.parametrize(("tokens", "grid"), [(197, (14, 14)), (198, (14, 14)), (129, (16, 8)), (211, (21, 10))])
def test_a_file_with_another_grid_fits(tokens: int, grid: tuple[int, int], tmp_path: Path) -> None:
    """A square one; one with DeiT's token for distillation; and two that are twice as high as wide."""
    settings = recipe.Network(backbone="vit-tiny", width=0.125, position_grid=(8, 4), head="single")
    network = build_network(settings)
    state = dict(build_network(settings).backbone.state_dict())
    state["pos_embed"] = torch.randn(1, tokens, network.channels)
    torch.save(
        {"model": {**state, "dist_token": torch.zeros(1, 1, 1), "head.weight": torch.zeros(2, 2)}},
        tmp_path / "deit.pth",
    )
    load_backbone(network, tmp_path / "deit.pth")
    kept = [0, *range(2 if tokens == 198 else 1, tokens)]
    wanted = resized(state["pos_embed"][:, kept], grid, (8, 4))
    torch.testing.assert_close(network.backbone.state_dict()["pos_embed"], wanted)
    assert {"backbone.pos_embed", "backbone.blocks.0.attn.qkv.weight"} <= network.filled


def test_positions_of_another_width_do_not_fit(tmp_path: Path) -> None:
    network = build_network(recipe.Network(backbone="vit-tiny", width=0.125))
    torch.save({**network.backbone.state_dict(), "pos_embed": torch.randn(1, 197, 7)}, tmp_path / "odd.pth")
    with pytest.raises(WeightsError, match="pos_embed"):
        load_backbone(network, tmp_path / "odd.pth")


def known(count: int = 3) -> CameraEmbedding:
    cameras = CameraEmbedding(2, count)
    nn.init.zeros_(cameras.table)
    cameras.table.data[0], cameras.table.data[1] = 1.0, 5.0
    return cameras


def test_cameras_by_hand() -> None:
    """3 times the row of the camera; of a camera that training has not seen, or of none, the mean of those it has."""
    cameras = known()
    cameras.assign(np.array([4, 70000001]))
    found = cameras(torch.tensor([70000001, 4, 5, -1]))
    assert found[:, 0, 0].tolist() == [15.0, 3.0, 9.0, 9.0]
    assert cameras(None).flatten().tolist() == [9.0, 9.0]


def test_more_cameras_than_rows_are_refused() -> None:
    with pytest.raises(UsageError, match=r"set network\.cameras=4"):
        known().assign(np.arange(4))


def test_the_camera_changes_the_map() -> None:
    torch.manual_seed(0)
    network, images = tiny(cameras=2), torch.randn(2, 3, 32, 32)
    assert network.cameras is not None
    network.cameras.assign(np.array([0, 1]))
    one, other, none = network(images, torch.zeros(2)), network(images, torch.ones(2)), network(images)
    assert not torch.allclose(one, other)
    assert not torch.allclose(one, none)
    torch.testing.assert_close(network(images, torch.full((2,), 7)), none)


@pytest.mark.parametrize("head", ["single", "jigsaw"])
def test_no_weight_decay_for_norms_biases_and_embeddings(head: Any) -> None:
    """All that has less than two axes, and the tables; in the copies of the last block, too."""
    network = build_network(recipe.Network(backbone="vit-tiny", width=0.125, cameras=2, head=head))
    optimizer = build_optimizer(network, nn.Linear(2, 2), recipe.Optim())
    undecayed = {id(p) for group in optimizer.param_groups if not group["weight_decay"] for p in group["params"]}
    tables = ("cls_token", "pos_embed", "cameras.table")
    for name, parameter in network.named_parameters():
        assert (id(parameter) in undecayed) == (parameter.dim() < 2 or name.endswith(tables)), name


def test_the_tail_is_the_last_block_and_the_norm() -> None:
    torch.manual_seed(0)
    network = tiny(sequence=True)
    images = torch.randn(1, 3, 32, 32)
    whole, names = network(images), set(network.state_dict())
    tail = network.take_tail()
    inner = network(images)[:, :, 0].transpose(1, 2)
    torch.testing.assert_close(tail(inner).transpose(1, 2).unsqueeze(2), whole)
    assert set(network.state_dict()) | set(tail.state_dict()) == names
