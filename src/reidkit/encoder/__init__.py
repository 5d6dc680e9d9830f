"""Images to features: networks in torch, ONNX files and OpenVINO models, all by one contract."""

from __future__ import annotations

from reidkit.encoder.base import (
    Encoder,
    ImageEncoder,
    as_image_encoder,
    embed_samples,
    embed_source,
    refuse_diverged,
)
from reidkit.encoder.given_images import Image, read_images
from reidkit.encoder.inference import FEATURES, Feature, InferenceChanges, InferenceOptions, OnProgress, feature_name
from reidkit.encoder.input_spec import PRESETS, InputSpec, parse_input_spec
from reidkit.encoder.load import load_model, require_torch
from reidkit.encoder.torch_model import Model, embed

__all__ = [
    "FEATURES",
    "PRESETS",
    "Encoder",
    "Feature",
    "Image",
    "ImageEncoder",
    "InferenceChanges",
    "InferenceOptions",
    "InputSpec",
    "Model",
    "OnProgress",
    "as_image_encoder",
    "embed",
    "embed_samples",
    "embed_source",
    "feature_name",
    "load_model",
    "parse_input_spec",
    "read_images",
    "refuse_diverged",
    "require_torch",
]
