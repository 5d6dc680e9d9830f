"""AutoAugment's policies for ImageNet (Cubuk et al., arXiv:1805.09501, Table 9), as fast-reid's strongest recipes do.

Levels mean what they mean in timm and fast-reid: colour, contrast and sharpness are factors from 0.1 to 1.9,
posterizing keeps 4 to 7 bits, solarizing begins at a threshold, and what comes from outside the image is grey (128).
Which policy an image gets is drawn first, as a table of numbers; what it does to the pixels follows from them alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import PIL.Image
    from numpy.typing import NDArray

    Image = PIL.Image.Image
    Operation = tuple[str, float, int]

FILL = (128, 128, 128)

POLICIES: tuple[tuple[Operation, Operation], ...] = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 5)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 4), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 7)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 2)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 8), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 2)),
    (("equalize", 0.0, 7), ("equalize", 0.8, 8)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 8)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 9)),
    (("color", 0.4, 0), ("equalize", 0.6, 3)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 5)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
)
"""Two operations each, with their probability and their level from 0 to 10."""

_PROBABILITIES = np.array([[operation[1] for operation in policy] for policy in POLICIES])


@dataclass(frozen=True, eq=False)
class PolicyParams:
    """What is drawn for B images.

    `policy` int64 [B], the row of `POLICIES`, -1 for none; `applied` bool [B, 2], whether its two operations are;
    `negative` bool [B, 2] turns a rotation or a shear round; `bicubic` bool [B, 2] resamples by it, else bilinearly.
    """

    policy: NDArray[np.int64]
    applied: NDArray[np.bool_]
    negative: NDArray[np.bool_]
    bicubic: NDArray[np.bool_]

    def of(self, some: slice) -> PolicyParams:
        """Return what is drawn for some of the images."""
        return PolicyParams(self.policy[some], self.applied[some], self.negative[some], self.bicubic[some])


def sample_policies(rng: np.random.Generator, count: int, probability: float) -> PolicyParams:
    """Draw for `count` images, each of which gets a policy with this probability."""
    policy = np.where(rng.random(count) < probability, rng.integers(len(POLICIES), size=count), -1)
    applied = rng.random((count, 2)) < _PROBABILITIES[policy]
    negative, bicubic = rng.random((2, count, 2)) < 0.5
    return PolicyParams(policy, applied & (policy >= 0)[:, None], negative, bicubic)


def apply_policies(images_bhwc: NDArray[np.uint8], params: PolicyParams) -> None:
    """Do to images uint8 [B, H, W, 3] what was drawn for them, in place."""
    import PIL.Image

    for b in np.flatnonzero(params.applied.any(axis=1)).tolist():
        image = PIL.Image.fromarray(images_bhwc[b])
        for number, (name, _, level) in enumerate(POLICIES[params.policy[b]]):
            if params.applied[b, number]:
                image = apply(image, name, level, bool(params.negative[b, number]), bool(params.bicubic[b, number]))
        images_bhwc[b] = np.asarray(image)


def apply(image: Image, name: str, level: float, negative: bool = False, bicubic: bool = False) -> Image:
    """Return an RGB image after one operation of a level from 0 to 10."""
    from PIL import Image as Images
    from PIL import ImageEnhance, ImageOps

    share = level / 10
    sign = -1 if negative else 1
    by = Images.Resampling.BICUBIC if bicubic else Images.Resampling.BILINEAR
    shear = (1, 0.3 * share * sign, 0, 0, 1, 0)
    operations: dict[str, Callable[[], Image]] = {
        "rotate": lambda: image.rotate(30 * share * sign, by, fillcolor=FILL),
        "shear_x": lambda: image.transform(image.size, Images.Transform.AFFINE, shear, by, fillcolor=FILL),
        "posterize": lambda: ImageOps.posterize(image, min(8, int(4 * share) + 4)),
        "solarize": lambda: ImageOps.solarize(image, int(256 * share)),
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "invert": lambda: ImageOps.invert(image),
        "color": lambda: ImageEnhance.Color(image).enhance(0.1 + 1.8 * share),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(0.1 + 1.8 * share),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(0.1 + 1.8 * share),
    }
    return operations[name]()
