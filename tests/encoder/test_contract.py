"""What every encoder does: a runtime of another kind is added to `ENCODERS`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from reidkit.comparison import compare
from reidkit.encoder import Encoder, InferenceOptions, Model, as_image_encoder, embed_samples, read_images
from reidkit.encoder.onnx_runtime import OnnxEncoder
from reidkit.encoder.openvino_runtime import OpenVinoEncoder
from reidkit.errors import DataError, UsageError
from reidkit.evaluation import EvaluationProtocol, evaluate
from reidkit.gallery import open_gallery
from reidkit.model.network import build_network
from reidkit.types import Sample
from tests.colours import Colours
from tests.encoder.files import mean_colour, to_openvino
from tests.train.tiny import RECIPE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


def in_torch(_: Path) -> Encoder:
    torch.manual_seed(0)
    return Model(build_network(RECIPE.network).eval(), RECIPE, "0123456789abcdef")


def in_onnx(folder: Path) -> Encoder:
    return OnnxEncoder(mean_colour(folder / "any.onnx"), "raw")


def in_onnx_one_by_one(folder: Path) -> Encoder:
    return OnnxEncoder(mean_colour(folder / "one.onnx", batch=1), "raw")


def in_onnx_by_twos(folder: Path) -> Encoder:
    return OnnxEncoder(mean_colour(folder / "two.onnx", batch=2, channels_last=True), "torchreid")


def in_openvino(folder: Path) -> Encoder:
    return OpenVinoEncoder(to_openvino(mean_colour(folder / "vino.onnx", batch=1)), "openvino-retail")


ENCODERS: dict[str, Callable[[Path], Encoder]] = {
    "torch": in_torch,
    "onnx": in_onnx,
    "onnx one by one": in_onnx_one_by_one,
    "onnx by twos": in_onnx_by_twos,
    "openvino": in_openvino,
    "own": lambda _: Colours(),
}


@pytest.fixture(params=ENCODERS, scope="module")
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return ENCODERS[request.param](tmp_path_factory.mktemp("encoder"))


def draw(encoder: Encoder, count: int) -> NDArray[np.uint8]:
    shape = (count, encoder.input.height, encoder.input.width, 3)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def test_each_image_has_one_feature_whatever_it_is_encoded_with(encoder: Encoder) -> None:
    pixels = draw(encoder, 5)
    features = encoder.encode(pixels)
    assert features.dtype == np.float32
    assert features.shape == (5, encoder.dim)
    assert np.isfinite(features).all()
    assert not np.allclose(features[0], features[1])
    scale = np.abs(features).max()
    for index in range(5):
        alone = encoder.encode(pixels[index : index + 1])
        np.testing.assert_allclose(alone[0], features[index], atol=0.02 * scale)  # bf16 where the processor has it
    np.testing.assert_allclose(encoder.encode(pixels[::-1]), features[::-1], atol=0.02 * scale)


def test_no_images_have_no_features(encoder: Encoder) -> None:
    assert encoder.encode(draw(encoder, 0)).shape == (0, encoder.dim)


def test_an_encoder_says_what_it_takes_and_who_it_is(encoder: Encoder) -> None:
    spec = encoder.input
    assert spec.height > 0
    assert spec.width > 0
    assert len(spec.mean) == len(spec.std) == 3
    assert re.fullmatch("[0-9a-f]{16}", encoder.fingerprint)


def test_images_are_read_at_the_size_of_the_encoder(encoder: Encoder, tmp_path: Path) -> None:
    """A grey square of any size is grey at every size."""
    Image.new("RGB", (9, 17), (7, 8, 9)).save(tmp_path / "grey.png")
    for image in (str(tmp_path / "grey.png"), tmp_path / "grey.png", Image.new("RGB", (3, 5), (7, 8, 9))):
        (pixels,) = read_images([image], encoder.input)
        assert pixels.shape == (1, encoder.input.height, encoder.input.width, 3)
        assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [[7, 8, 9]]


def test_images_and_samples_are_embedded_alike(encoder: Encoder, tmp_path: Path) -> None:
    """Of paths, pixels and samples, in batches of any size, come the features that `encode` gives."""
    pixels = draw(encoder, 5)
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path, one in zip(paths, pixels, strict=True):
        Image.fromarray(one).save(path)
    options = InferenceOptions(device="cpu", precision="fp32", batch=2)
    samples = [Sample(path, number, 1) for number, path in enumerate(paths)]
    found = embed_samples(encoder, samples, "images", options)
    assert found.model == encoder.fingerprint
    assert found.pids.tolist() == [0, 1, 2, 3, 4]
    full = as_image_encoder(encoder)
    scale = np.abs(found.vectors).max()
    np.testing.assert_allclose(found.vectors, encoder.encode(pixels), atol=0.02 * scale)
    np.testing.assert_allclose(full.embed([*paths[:3], *pixels[3:]]), found.vectors, atol=0.02 * scale)
    mirrored = encoder.encode(np.ascontiguousarray(pixels[:, :, ::-1]))
    flipped = embed_samples(encoder, samples, "images", options, flip=True).vectors
    np.testing.assert_allclose(flipped, (encoder.encode(pixels) + mirrored) / 2, atol=0.02 * scale)


def test_features_before_the_neck_are_those_of_torch_alone(encoder: Encoder) -> None:
    full = as_image_encoder(encoder)
    if isinstance(full, Model):
        assert full.embed(list(draw(encoder, 1)), feature="f_t").shape == (1, encoder.dim)
        return
    with pytest.raises(UsageError, match="f_t is inside the network, which only the run folder"):
        full.embed(list(draw(encoder, 1)), feature="f_t")


def test_pixels_of_another_size_are_refused(encoder: Encoder) -> None:
    if isinstance(encoder, Colours):
        return
    wrongs: list[Any] = [np.zeros((1, 9, 9, 3), np.uint8), draw(encoder, 1).astype(np.float32)]
    for wrong in wrongs:
        with pytest.raises(UsageError, match=r"are not uint8 \[N, .*model.embed resizes"):
            encoder.encode(wrong)


def test_every_encoder_is_evaluated_compared_and_put_into_a_gallery(encoder: Encoder, noise: Path) -> None:
    evaluation = evaluate(encoder, noise, EvaluationProtocol(), InferenceOptions(device="cpu", precision="fp32"))
    assert 0 <= evaluation.scores.map <= 1
    assert evaluation.query.model == encoder.fingerprint
    path = evaluation.query.paths[0]
    assert compare(encoder, path, path).similarity == pytest.approx(1, abs=1e-5)
    people = open_gallery("memory", encoder)
    people.add(evaluation.gallery.paths[:3])
    assert [hit.key for hit in people.search(evaluation.gallery.paths[1], top=1)] == [evaluation.gallery.paths[1]]


def test_an_unreadable_image_is_named(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.jpg"):
        as_image_encoder(encoder).embed([tmp_path / "bad.jpg"])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dim": 4}, r"gives features \[2, 3\] of 2 images, and its dim is 4: let it give \[2, 4\]"),
        ({"encode": lambda _, images: images.mean(axis=(1, 2, 3))}, r"gives features \[2\] of 2 images"),
        ({"encode": lambda _, images: images[:1].mean(axis=(1, 2))}, r"gives features \[1, 3\] of 2 images"),
        ({"input": (2, 1)}, r"the input of Mine is a tuple: make it an InputSpec\("),
    ],
)
def test_an_encoder_of_ones_own_that_is_none(changes: dict[str, Any], sentence: str) -> None:
    mine = type("Mine", (Colours,), changes)()
    with pytest.raises(UsageError, match=sentence):
        as_image_encoder(mine).embed(np.zeros((2, 2, 1, 3), np.uint8))
