"""TransReID's head by hand, and in a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from reidkit import recipe
from reidkit.errors import UsageError
from reidkit.model.chance import DropPath
from reidkit.model.heads.jigsaw import shuffle
from reidkit.model.network import build_network
from reidkit.model.weights import load_backbone

if TYPE_CHECKING:
    from pathlib import Path

NETWORK = recipe.Network(backbone="vit-tiny", width=0.125, head="jigsaw", neck="bnneck")


def numbers(count: int) -> Tensor:
    return torch.arange(1, count + 1).view(1, count, 1)


@pytest.mark.parametrize(
    ("count", "shift", "wanted"),
    [
        (8, 4, [5, 1, 6, 2, 7, 3, 8, 4]),
        (9, 4, [5, 1, 6, 2, 7, 3, 8, 4, 9, 3]),
        (8, 5, [6, 2, 7, 3, 8, 4, 1, 5]),
    ],
)
def test_a_shuffle_by_hand(count: int, shift: int, wanted: list[int]) -> None:
    """As published, 4 places; with an odd count, where the last but one comes twice; and as meant, 5 places."""
    assert shuffle(numbers(count), shift).flatten().tolist() == wanted


def test_five_features_of_class_tokens_by_definition() -> None:
    """128x64 at stride 16: 8x4 patches in quarters of 8."""
    torch.manual_seed(0)
    network, images = build_network(NETWORK).train(), torch.randn(2, 3, 128, 64)
    for module in network.modules():
        if isinstance(module, DropPath):
            module.probability = 0.0
    dim = network.channels // 5
    assert dim == 24
    assert [name for name in network.spans if name] == ["whole", "one", "two", "three", "four"]
    head = network.head
    tokens = network.backbone(images)[:, :, 0].transpose(1, 2)
    wanted = [head.whole(tokens)[:, 0]]  # type: ignore[operator]
    shuffled = shuffle(tokens[:, 1:], 4)
    for i in range(4):
        part = torch.cat([tokens[:, :1], shuffled[:, 8 * i : 8 * i + 8]], dim=1)
        wanted.append(head.part(part)[:, 0])  # type: ignore[operator]
    torch.testing.assert_close(network(images).f_t, torch.cat(wanted, dim=1))


def test_in_evaluation_the_quarters_are_divided_by_four() -> None:
    torch.manual_seed(0)
    network, images = build_network(recipe.Network(**{**vars(NETWORK), "drop_path": 0.0})), torch.randn(2, 3, 64, 64)
    dim, learned = network.channels // 5, network.train()(images).f_t
    searched = network.eval()(images).f_t
    torch.testing.assert_close(searched[:, :dim], learned[:, :dim], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(4 * searched[:, dim:], learned[:, dim:], rtol=1e-3, atol=1e-4)


def test_both_copies_of_the_last_block_get_the_weights_of_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = build_network(recipe.Network(backbone="vit-tiny", width=0.125, head="token"))
    torch.save({"model": plain.backbone.state_dict()}, tmp_path / "vit.pth")
    network = build_network(NETWORK)
    load_backbone(network, tmp_path / "vit.pth")
    images = torch.randn(2, 3, 64, 32)
    whole = network.spans["whole"]
    torch.testing.assert_close(network.eval()(images).f_t[:, whole], plain.eval()(images).f_t)
    filled = {name.partition(".blocks.")[0] for name in network.filled if ".blocks.11." in name}
    assert filled == {"head.whole", "head.part"}


def test_it_needs_tokens() -> None:
    with pytest.raises(UsageError, match="vision transformer"):
        recipe.Network(backbone="resnet18", head="jigsaw")
