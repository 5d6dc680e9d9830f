"""The input of an encoder (size, colours and normalisation of its images), by name, as text and as JSON."""

from __future__ import annotations

import hashlib
import json
import math
import numbers
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from reidkit import strict_json
from reidkit.arguments import check_whole
from reidkit.data.decode import Filter
from reidkit.errors import UsageError
from reidkit.imagenet import MEAN, STD

if TYPE_CHECKING:
    from collections.abc import Mapping

Colour = Literal["rgb", "bgr"]

LARGEST = 4096
"""Pixels of a side, at most: larger images of one person do not exist."""


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What an encoder takes: images of `height` x `width` pixels, as (pixel / scale - mean) / std in each channel.

    Other sizes are resized by the filter `resize`. `mean` and `std` are in the order of `colour`. A network that takes
    pixels as they are has a scale of 1, means of 0 and deviations of 1. `output` names the output that is the feature,
    for files that have several; "" is the first that can be one.

    Raises:
        UsageError: a size, a scale or a deviation that there cannot be, or no such colour or filter.
    """

    height: int
    width: int
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    colour: Colour = "rgb"
    scale: float = 255.0
    resize: Filter = "bilinear"
    output: str = ""

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            side = check_whole(getattr(self, name), name)
            if not 1 <= side <= LARGEST:
                raise _wrong(f"the {name} of an image cannot be {side}: give 1 to {LARGEST} pixels")
            object.__setattr__(self, name, side)  # one of NumPy's numbers is in no JSON
        for name, choices in (("colour", get_args(Colour)), ("resize", get_args(Filter))):
            if getattr(self, name) not in choices:
                raise _wrong(f"there is no {name} {getattr(self, name)}: choose {' or '.join(choices)}")
        for name in ("mean", "std"):
            object.__setattr__(self, name, _channels(getattr(self, name), name))
        object.__setattr__(self, "scale", _number(self.scale))
        if not (math.isfinite(self.scale) and self.scale > 0 and all(value > 0 for value in self.std)):
            raise _wrong("the scale and the deviations of an image have to be above 0")

    def __str__(self) -> str:
        """The spec in words."""
        values = "0-255" if self.scale == 1 else f"0-{255 / self.scale:.3g}"
        text = f"{self.height}x{self.width} {self.colour.upper()} {values}"
        if self.mean != (0, 0, 0) or self.std != (1, 1, 1):
            text += f", mean {_numbers(self.mean)}, std {_numbers(self.std)}"
        return f"{text}, {self.resize}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    def digest_over(self, digest: str) -> str:
        """Return sixteen hexadecimal digits of a file's `digest` and of what differs from the defaults here."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = {name: value for name, value in own.items() if value != getattr(InputSpec, name, None)}
        text = json.dumps([digest, changed], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_AS_PIXELS: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}

PRESETS: dict[str, dict[str, Any]] = {
    "torchreid": {},
    "fast-reid": {"resize": "bicubic"},
    "openvino-retail": {**_AS_PIXELS, "colour": "bgr", "scale": 1.0},
    "deepstream": {"scale": 1.0, "mean": (123.675, 116.28, 103.53), "std": (57.63, 57.63, 57.63)},
    "half": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
    "ultralytics": _AS_PIXELS,
    "raw": {**_AS_PIXELS, "scale": 1.0},
    "bgr": {"colour": "bgr"},
}
"""What differs from ImageNet's RGB (torchreid, BoxMOT, OpenCV's zoo) in the inputs of others.

`openvino-retail`: BGR 0-255 (Open Model Zoo); `deepstream`: the single deviation of NVIDIA's configuration; `half`:
TransReID, CLIP-ReID, SOLIDER; `ultralytics`: RGB 0-1; `raw`: RGB 0-255; `bgr`: ImageNet's values, blue first.
"""

KEYS = ("size", "colour", "range", "mean", "std", "resize", "output")

HOW = (
    f"{'|'.join(PRESETS)}, or size=256x128,colour=rgb,range=1,mean=0.485,0.456,0.406,std=0.229,0.224,0.225,"
    "resize=bilinear"
)
"""What the text of a spec may be, for error messages."""


def parse_input_spec(text: str, size: tuple[int, int] | None = None) -> InputSpec:
    """Read a spec: the name of a preset, `key=value` with commas between them, or a name and then keys.

    `range` is the largest value of a pixel before the mean is taken off: 1 or 255. `mean` and `std` are three numbers,
    or one for all channels.

    Args:
        text: `openvino-retail`, `size=256x128,colour=bgr,range=255`, `torchreid,resize=bicubic`.
        size: Height and width, where the network says them itself.

    Raises:
        UsageError: no such name or key, or a value that there cannot be.
    """
    first, *rest = re.split(r",(?=\s*[a-zA-Z]+\s*=)", text.strip())
    pairs = rest if "=" not in first else [first, *rest]
    values: dict[str, Any] = {}
    if "=" not in first:
        if first.strip() not in PRESETS:
            raise _wrong(f"there is no input spec {first.strip()!r}: give {HOW}")
        values |= PRESETS[first.strip()]
    for pair in pairs:
        name, _, value = pair.partition("=")
        values |= _field(name.strip().lower(), value.strip())
    if "height" not in values:
        if size is None:
            raise _wrong("the network takes images of any size: say which by size=HEIGHTxWIDTH in the input spec")
        values |= {"height": size[0], "width": size[1]}
    return InputSpec(**values)


def spec_from_json(text: str) -> InputSpec:
    """Read what `InputSpec.to_json` gave, out of a file's metadata; keys of later versions are not accepted.

    Raises:
        UsageError: it is something else.
    """
    known = {field.name for field in fields(InputSpec)}
    try:
        value = strict_json.parse(text)
        if not isinstance(value, dict) or not value.keys() <= known:
            raise _wrong("the input spec in the file's metadata has keys that this reidkit does not know")
        if not all(isinstance(value.get(name), int) for name in ("height", "width")):
            raise _wrong("the input spec in the file's metadata has no height and width: pass input_spec")
        triples = {name: tuple(float(number) for number in value[name]) for name in ("mean", "std") if name in value}
        return InputSpec(**{**value, **triples})
    except (strict_json.JsonError, TypeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise _wrong(f"the input spec in the file's metadata is damaged ({error}): pass input_spec") from None


def refuse_other_size(spec: InputSpec, size: tuple[int | None, int | None]) -> None:
    """Refuse a spec whose size is not that of a file, where the file has one.

    Raises:
        UsageError: it is another one.
    """
    for name, ours, theirs in (("height", spec.height, size[0]), ("width", spec.width, size[1])):
        if theirs is not None and ours != theirs:
            raise _wrong(
                f"the file takes images of a {name} of {theirs} and the input spec says {ours}: leave the size out"
            )


def _field(name: str, value: str) -> Mapping[str, Any]:
    """Return the fields that `name=value` sets."""
    if name == "size":
        return _size(value)
    if name == "range":
        if value not in ("1", "255"):
            raise _wrong(f"the range {value!r} is not known: give 1 for pixels of 0 to 1, or 255")
        return {"scale": 255.0 if value == "1" else 1.0}
    if name in ("mean", "std"):
        return {name: _three(name, value)}
    if name in ("colour", "color", "resize", "output"):
        return {"colour" if name == "color" else name: value if name == "output" else value.lower()}
    raise _wrong(f"an input spec has no {name}: its keys are {', '.join(KEYS)}")


def _size(value: str) -> dict[str, int]:
    match = re.fullmatch(r"(\d{1,5})\s*x\s*(\d{1,5})", value.lower())
    if not match:
        raise _wrong(f"the size {value!a} is not HEIGHTxWIDTH: give 256x128, say")
    return {"height": int(match[1]), "width": int(match[2])}


def _three(name: str, value: str) -> tuple[float, ...]:
    """Return a number for each channel; one stands for all."""
    try:
        numbers = tuple(float(part) for part in re.split(r"[,\s/:]+", value))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3):
        raise _wrong(f"{name}={value!a} is not three numbers: give {name}=0.5,0.5,0.5, say")
    return numbers * 3 if len(numbers) == 1 else numbers


def _numbers(values: tuple[float, ...]) -> str:
    """Return three numbers as text, or one where all are equal."""
    return " ".join(f"{value:g}" for value in (values[:1] if len(set(values)) == 1 else values))


def _wrong(sentence: str) -> UsageError:
    return UsageError(sentence, argument="input_spec")


def _channels(values: object, name: str) -> tuple[float, ...]:
    """Return three numbers as floats, however they are given: a fingerprint is made of them.

    Raises:
        UsageError: they are none.
    """
    found = tuple(map(_number, values)) if isinstance(values, Iterable) and not isinstance(values, str) else ()
    if len(found) != 3 or not all(map(math.isfinite, found)):
        raise _wrong(f"the {name} of an image is {values}: give three numbers, one for each channel")
    return found


def _number(value: object) -> float:
    """Return a number as a float; NaN where it is none."""
    return float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
