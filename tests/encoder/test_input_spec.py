from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from reidkit.encoder import PRESETS, InputSpec, parse_input_spec
from reidkit.encoder.input_spec import spec_from_json
from reidkit.errors import UsageError


def test_a_name_and_changes_by_hand() -> None:
    assert parse_input_spec("torchreid", (256, 128)) == InputSpec(height=256, width=128)
    spec = parse_input_spec("openvino-retail,size=160x64,resize=bicubic", (256, 128))
    assert spec == InputSpec(
        height=160, width=64, colour="bgr", scale=1.0, mean=(0, 0, 0), std=(1, 1, 1), resize="bicubic"
    )


def test_fields_by_hand() -> None:
    """Commas stand between keys and between the numbers of one key; one number stands for three."""
    spec = parse_input_spec("size=256x128, colour=BGR,range=255,mean=1,2,3,std=0.5,output=f")
    assert spec.mean == (1, 2, 3)
    assert spec.std == (0.5, 0.5, 0.5)
    assert (spec.height, spec.width, spec.colour, spec.scale, spec.output) == (256, 128, "bgr", 1.0, "f")
    assert str(spec) == "256x128 BGR 0-255, mean 1 2 3, std 0.5, bilinear"


def test_the_presets_are_what_their_authors_do() -> None:
    """DeepStream: (pixel - offset) * netScaleFactor, with NVIDIA's 0.01735207; half: -1 to 1."""
    deepstream = InputSpec(height=2, width=2, **PRESETS["deepstream"])
    assert 1 / (deepstream.scale * deepstream.std[0]) == pytest.approx(0.01735207, rel=1e-5)
    half = InputSpec(height=2, width=2, **PRESETS["half"])
    assert [(pixel / half.scale - half.mean[0]) / half.std[0] for pixel in (0, 255)] == [-1, 1]


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_written_into_a_file_is_read_back(name: str) -> None:
    spec = parse_input_spec(f"{name},output=f", (256, 128))
    assert spec_from_json(json.dumps(spec.to_json())) == spec


def test_digests_name_file_and_spec() -> None:
    spec = InputSpec(height=256, width=128)
    assert re.fullmatch("[0-9a-f]{16}", spec.digest_over("a"))
    others = {spec.digest_over("b"), InputSpec(height=256, width=128, colour="bgr").digest_over("a")}
    assert spec.digest_over("a") == InputSpec(height=256, width=128).digest_over("a")
    assert len({spec.digest_over("a"), *others}) == 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("torchred", r"there is no input spec 'torchred': give torchreid\|"),
        ("", "there is no input spec ''"),
        ("size=256", "the size '256' is not HEIGHTxWIDTH: give 256x128"),
        ("size=0x128", "the height of an image cannot be 0"),
        ("size=256x99999", "the width of an image cannot be 99999"),
        ("torchreid,colour=grey", "there is no colour grey: choose rgb or bgr"),
        ("torchreid,resize=area", "there is no resize area: choose bilinear or bicubic"),
        ("torchreid,range=2", "the range '2' is not known: give 1"),
        ("torchreid,mean=1,2", "mean=1,2 is not three numbers|mean='1,2' is not three numbers"),
        ("torchreid,mean=nan", "the mean of an image is"),
        ("torchreid,std=0", "deviations of an image have to be above 0"),
        ("torchreid,stride=1", "an input spec has no stride: its keys are size, colour"),
    ],
)
def test_what_is_no_spec(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        parse_input_spec(text, (256, 128))
    assert caught.value.argument == "input_spec"


def test_a_network_of_any_size_needs_one() -> None:
    with pytest.raises(UsageError, match="say which by size=HEIGHTxWIDTH"):
        parse_input_spec("torchreid")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"height": 2}', '{"height": 2, "width": 2, "more": 1}', '{"height": "2", "width": 2}']
)
def test_damaged_metadata_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the input spec in the file's metadata"):
        spec_from_json(text)


def test_means_and_deviations_however_they_are_given() -> None:
    """A list, an array and whole numbers are the same input, and have the same fingerprint."""
    size: Any = {"height": 256, "width": 128}
    spec = InputSpec(**size, mean=(0.5, 0.0, 0.25), std=(1.0, 1.0, 1.0), scale=1.0)
    for mean in ([0.5, 0, 0.25], np.array([0.5, 0, 0.25], np.float32)):
        again = InputSpec(**size, mean=mean, std=np.ones(3), scale=np.int64(1))  # type: ignore[arg-type]
        assert again == spec
        assert again.digest_over("a") == spec.digest_over("a")
    for wrong in ("abc", ["a", "b", "c"], 0.5, (0.5, 0.5), (0.5, 0.5, float("nan")), None, np.eye(3)):
        with pytest.raises(UsageError, match="give three numbers, one for each channel"):
            InputSpec(**size, mean=wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="the scale and the deviations of an image have to be above 0"):
        InputSpec(**size, scale="255")  # type: ignore[arg-type]


def test_a_size_is_of_whole_numbers() -> None:
    size: dict[str, Any] = {"height": np.int64(256), "width": 128.0}
    assert repr(InputSpec(**size)) == repr(InputSpec(height=256, width=128)), "numbers of NumPy are in no JSON"
    for wrong in ({"height": "256"}, {"width": 0.5}, {"mean": 0.5}):
        with pytest.raises(UsageError):
            InputSpec(**{**size, **wrong})
