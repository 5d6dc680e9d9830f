"""A network of each family trains, is broken off and goes on, is saved, loaded and used; parts change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from reidkit.distributed import ALONE
from reidkit.encoder import embed
from reidkit.losses.objective import build_objective
from reidkit.model.chance import reseed
from reidkit.model.network import build_network
from reidkit.model.weights import load_network, save_model
from reidkit.recipe import Batch, override
from reidkit.train.parallel import MicroBatches
from tests.train.tiny import RECIPE, CrashError, Run, same_weights

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.recipe import Recipe

SHORT = ["optim.epochs=2", "optim.drops=[]", "optim.warmup_epochs=0", "network.last_stride=1"]
FAMILIES = {
    "ibn-b": ["network.backbone=resnet18-ibn-b", "network.width=0.125", "network.mixstyle=0.5"],
    "nonlocal": ["network.width=0.125", "network.blocks=nonlocal", "network.stem_pool=ceil"],
    "attention": ["network.width=0.125", "network.blocks=attention"],
    "osnet": ["network.backbone=osnet-x0_25", "network.width=0.5", "network.mixstyle=0.5"],
    "osnet-ain": ["network.backbone=osnet-ain-x0_25", "network.width=0.5"],
    "hacnn": ["network.backbone=hacnn", "network.width=0.25", "network.head=windows", "network.neck=bn-relu"],
    "vit": ["network.backbone=vit-tiny", "network.width=0.125", "network.cameras=3", "network.patch_stride=12"],
    "jigsaw": ["network.backbone=vit-tiny", "network.width=0.125", "network.head=jigsaw"],
}


def recipe_of(family: str) -> Recipe:
    return override(RECIPE, [*SHORT, *FAMILIES[family]])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_goes_on_as_it_would_have_and_its_model_is_what_it_trained(family: str, tmp_path: Path) -> None:
    def crash(_: Run, step: int) -> None:
        if step == 2:
            raise CrashError

    runs = [Run(tmp_path / name, recipe_of(family)) for name in ("whole", "broken")]
    for run in runs:
        run.folder.mkdir()
    with pytest.raises(CrashError):
        runs[1].go(crash)
    whole, broken = (run.go() for run in runs)
    assert same_weights(whole, broken)
    assert runs[0].rows() == runs[1].rows()

    save_model(tmp_path / "model.safetensors", whole, recipe_of(family))
    loaded = load_network(tmp_path / "model.safetensors").network
    assert same_weights(loaded, whole)
    size = RECIPE.images.size
    images = torch.randn(5, 3, *size)
    camids = np.array([0, 1, 9, 1, 0]) if loaded.takes_cameras else None
    vectors = embed(loaded, iter([images[:3], images[3:]]), camids=camids)
    again = embed(whole, iter([images]), camids=camids)
    assert vectors.shape == (5, whole.channels)
    np.testing.assert_allclose(vectors, again, rtol=1e-3, atol=1e-4)


def test_the_camera_of_an_image_goes_with_it_through_embedding() -> None:
    torch.manual_seed(0)
    network = build_network(recipe_of("vit").network).eval()
    network.backbone.set_cameras(np.array([0, 1]))  # type: ignore[operator]
    images = torch.randn(1, 3, *RECIPE.images.size).expand(4, -1, -1, -1)
    by_camera = embed(network, iter([images[:3], images[3:]]), camids=np.array([0, 1, 5, 0]), flip=True)
    unknown = embed(network, iter([images]), flip=True)
    np.testing.assert_allclose(by_camera[0], by_camera[3], atol=1e-5)
    np.testing.assert_allclose(by_camera[2], unknown[0], atol=1e-5)
    assert not np.allclose(by_camera[0], by_camera[1], atol=1e-3)


def test_where_there_is_no_batch_norm_parts_change_nothing() -> None:
    """Neither features nor gradient, with branches that are left out and cameras that go with their images."""
    recipe = override(recipe_of("vit"), ["network.neck=none", "network.drop_path=0.5"])
    images = torch.randn(8, 3, *recipe.images.size, dtype=torch.float64)
    labels, found = torch.arange(4).repeat_interleave(2), []
    for parts in (1, 2):
        torch.manual_seed(0)
        network = build_network(recipe.network).double().train()
        network.backbone.set_cameras(np.array([0, 1]))  # type: ignore[operator]
        objective = build_objective(recipe, network.spans, 4).double()
        reseed(network, 0, 5)
        features = MicroBatches(network, Batch(ids=4, images=2, micro_batches=parts), ALONE)(
            images, torch.arange(8) % 3
        )
        torch.stack(list(objective(features.f_t, features.f_i, labels).values())).sum().backward()
        found.append([features.f_t.detach(), *(p.grad for p in network.parameters() if p.grad is not None)])
    assert len(found[0]) > 100
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(two, one)
