"""Pictures to features at once: the same as `Model.embed` gives, mirror images too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from reidkit.encoder import InputSpec
from reidkit.errors import DivergedError
from reidkit.serve.embedder import Embedder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.encoder import Model


class Corner:
    """An encoder that is no network of ours: its features are the colour of the pixel at the top left."""

    dim = 3
    fingerprint = "corner"
    input = InputSpec(height=2, width=4)

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return images[:, 0, 0].astype(np.float32)


def noise(model: Model) -> NDArray[np.uint8]:
    shape = (3, model.input.height, model.input.width, 3)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("feature", ["f_i", "f_t"])
@pytest.mark.parametrize("flip", [False, True])
def test_features_are_those_of_embed(model: Model, feature: str, flip: bool) -> None:
    images = noise(model)
    wanted = model.embed(images, feature=feature, flip=flip)
    found = Embedder(model, feature=feature, flip=flip)(list(images))
    # In bfloat16 the two differ by the order of sums; without the mirror image the difference is ten times as large.
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()
    if flip:
        one_sided = Embedder(model, feature=feature)(list(images))
        assert np.abs(one_sided - wanted).max() > 0.1 * np.abs(wanted).max()


def test_another_encoder_sees_the_mirror_image_too() -> None:
    images = np.zeros((1, 2, 4, 3), np.uint8)
    images[0, 0, 0], images[0, 0, 3] = (200, 100, 0), (0, 100, 50)
    assert Embedder(Corner())(list(images)).tolist() == [[200, 100, 0]]
    assert Embedder(Corner(), flip=True)(list(images)).tolist() == [[100, 100, 25]]


def test_features_that_are_no_numbers_are_refused() -> None:
    class Diverged(Corner):
        def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
            return np.full((len(images), 3), np.nan, np.float32)

    with pytest.raises(DivergedError, match="NaN or infinity for 1 of 1 images"):
        Embedder(Diverged())([np.zeros((2, 4, 3), np.uint8)])


def test_a_picture_is_fitted_to_the_size_of_the_network() -> None:
    picture = np.full((20, 10, 3), (10, 20, 30), np.uint8)
    fitted = Embedder(Corner()).fitted(picture)
    assert fitted.shape == (2, 4, 3)
    assert fitted.reshape(-1, 3).tolist() == [[10, 20, 30]] * 8
