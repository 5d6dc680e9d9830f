from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reidkit.encoder import Model, embed
from reidkit.encoder import torch_model as module
from reidkit.gallery import open_gallery
from reidkit.hardware import choose_batch
from reidkit.model.contracts import Features
from reidkit.model.fuse import fuse_batch_norms
from reidkit.model.network import Network, build_network
from tests.train.tiny import RECIPE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def network() -> Network:
    """With a neck that has moved, so that both features and both modes differ."""
    torch.manual_seed(0)
    made = build_network(RECIPE.network)
    made.train()
    with torch.no_grad():
        for _ in range(3):
            made(torch.randn(16, 3, 32, 32) + 1)
    return made.eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(10, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_features_come_in_the_order_of_the_images(network: Network, images: Tensor) -> None:
    with torch.inference_mode():
        one_by_one = np.concatenate([network(image[None]).f_i.numpy() for image in images])
    found = embed(network, images.split(4))
    assert found.shape == (10, network.channels)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, one_by_one, rtol=1e-4, atol=1e-5)
    assert not np.allclose(found[0], found[1])


def test_the_feature_before_and_after_the_neck(network: Network, images: Tensor) -> None:
    with torch.inference_mode():
        metric, search, _ = network(images)
    np.testing.assert_allclose(embed(network, [images], feature="before"), metric.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(embed(network, [images], feature="after"), search.numpy(), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(metric, search)


def test_flip_takes_the_mean_with_the_mirror_image(network: Network, images: Tensor) -> None:
    mirrored = torch.from_numpy(images.numpy()[:, :, :, ::-1].copy())
    plain, other = embed(network, [images]), embed(network, [mirrored])
    assert not np.allclose(plain, other)
    np.testing.assert_allclose(embed(network, [images], flip=True), (plain + other) / 2, rtol=1e-6)


def test_a_network_that_only_adds_up() -> None:
    """The feature is the first column: of (1, 2, 3) it is 1, of its mirror image 3, the mean is 2."""

    class First(nn.Module):
        channels = 1

        def forward(self, images: Tensor) -> Features:
            return Features(images[:, 0, 0, :1], 10 * images[:, 0, 0, :1])

    row = torch.tensor([1.0, 2.0, 3.0]).expand(1, 3, 1, 3)
    network: Network = First()  # type: ignore[assignment]
    assert embed(network, [row], feature="before").tolist() == [[1]]
    assert embed(network, [row], feature="before", flip=True).tolist() == [[2]]
    assert embed(network, [row], flip=True).tolist() == [[20]]


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(network: Network, images: Tensor, training: bool) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    wanted = embed(network, [images])
    network.train(training)
    np.testing.assert_array_equal(embed(network, [images]), wanted)
    assert all(part.training is training for part in network.modules())
    after = network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    network.eval()


@pytest.mark.parametrize("rows", [1, 4, 5, 9, 1000])
def test_features_are_copied_some_at_a_time(
    network: Network, images: Tensor, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the boundary falls, none is lost and none comes twice."""
    wanted = embed(network, images.split(2))
    monkeypatch.setattr(module, "CHUNK", rows * network.channels * 4)
    np.testing.assert_array_equal(embed(network, images.split(2)), wanted)


def test_batches_by_device() -> None:
    assert choose_batch(torch.device("cpu")) < choose_batch(torch.device("cuda"))


def test_nothing_in_nothing_out(network: Network) -> None:
    assert embed(network, []).shape == (0, network.channels)


def test_progress_counts_images(network: Network, images: Tensor) -> None:
    told: list[int] = []
    embed(network, images.split(4), progress=told.append)
    assert told == [4, 4, 2]


def test_float32_on_a_gpu_is_float32() -> None:
    """As far as a machine without one can tell: torch's default for convolutions there is TF32."""
    convolutions: Any = getattr(torch.backends.cudnn, "conv", torch.backends.cudnn)
    name, exact = ("fp32_precision", "ieee") if hasattr(convolutions, "fp32_precision") else ("allow_tf32", False)
    gpu, before = torch.device("cuda"), getattr(convolutions, name)
    assert before != exact
    with module.computing(gpu, torch.float32):
        assert getattr(convolutions, name) == exact
    cpu = torch.device("cpu")
    with torch.autocast("cpu"), module.computing(cpu, torch.float32):  # a caller's own is not that of the options
        assert getattr(convolutions, name) == before
        assert not torch.is_autocast_enabled("cpu")
    assert getattr(convolutions, name) == before


def test_bf16_gives_float32_features_close_to_them(network: Network, images: Tensor) -> None:
    exact, rough = embed(network, [images]), embed(network, [images], torch.bfloat16)
    assert rough.dtype == np.float32
    assert not np.array_equal(exact, rough)
    cosine = (exact * rough).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rough, axis=1)
    assert cosine.min() > 0.99


def test_a_gallery_makes_the_network_ready_once(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes longer than the images of a call, and changes no bit of a feature."""
    model = Model(network, RECIPE, "made up")
    pixels = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    expected = model.embed(pixels)
    fused: list[nn.Module] = []

    def fuse(given: Network) -> Network:
        fused.append(given)
        return fuse_batch_norms(given)

    monkeypatch.setattr(module, "fuse_batch_norms", fuse)
    with open_gallery("memory", model) as gallery:
        found = [gallery.embed([*pixels]) for _ in range(3)]
    assert len(fused) == 1
    for each in found:
        np.testing.assert_array_equal(each, expected)
    ready = model.made_ready()
    assert (ready.fingerprint, ready.dim, ready.input) == (model.fingerprint, model.dim, model.input)
    assert np.array_equal(ready.embed(pixels, feature="f_t", flip=True), model.embed(pixels, feature="f_t", flip=True))


FORKED = """
import os
import signal

import numpy as np
import torch

from reidkit.encoder import Model
from reidkit.model.network import build_network
from tests.train.tiny import RECIPE

model = Model(build_network(RECIPE.network), RECIPE)
images = np.full((64, 32, 32, 3), 9, np.uint8)
wanted = model.embed(images)
if child := os.fork():
    print(torch.get_num_threads(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
else:
    signal.alarm(30)
    found = model.embed(images)
    os._exit(0 if torch.get_num_threads() == 1 and np.allclose(found, wanted, atol=1e-4) else 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_embeds() -> None:
    """It waited for ever for threads that torch had in its parent."""
    words, several = [sys.executable, "-c", FORKED], {**os.environ, "OMP_NUM_THREADS": "2"}
    ended = subprocess.run(words, env=several, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "2 0\n"
