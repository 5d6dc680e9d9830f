"""Opening a model: a run folder, weights of reidkit's, an ONNX file or an OpenVINO model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from reidkit.arguments import check_path
from reidkit.encoder.base import as_image_encoder
from reidkit.encoder.torch_model import Model
from reidkit.errors import MissingFileError, UsageError
from reidkit.model.weights import load_network
from reidkit.model_files import EXPORTED

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.encoder.base import Encoder, ImageEncoder
    from reidkit.encoder.exported import ExportedEncoder
    from reidkit.encoder.input_spec import InputSpec
    from reidkit.model.own_network import OwnModule


def load_model(
    path: str | os.PathLike[str], *, network: OwnModule | None = None, input_spec: InputSpec | str | None = None
) -> ImageEncoder:
    """Load a model, in evaluation mode: a `Model` in torch, or a file that ONNX Runtime or OpenVINO runs.

    Args:
        path: A run folder, a `.safetensors` that reidkit wrote, an `.onnx`, or an OpenVINO `.xml` with its `.bin`.
        network: For a model whose network is your own, and not its recipe's: that network, or what makes one.
        input_spec: How the images of a foreign `.onnx` or `.xml` are made: an `InputSpec`, or text as `torchreid` or
            `size=256x128,colour=bgr,range=255`. Reidkit's own exports say it themselves.

    Raises:
        MissingFileError: there is nothing at `path`.
        WeightsError: no model there, one of something else, one whose bytes do not match its fingerprint, or one
            that holds values that are not finite.
        UsageError: no path; the network is your own, and `network` is missing; nothing says how the images of a foreign
            file are made; the runtime is not installed.
    """
    path = check_path(path, "a run folder, a .safetensors, an .onnx or an OpenVINO .xml")
    if not os.path.lexists(path):
        raise MissingFileError(f"{path} is not there: give a run folder, a .safetensors, an .onnx or an OpenVINO .xml")
    ending = path.suffix.lower()
    if ending in EXPORTED:
        if network is not None:
            raise UsageError(f"{path} brings its network along: leave out network", argument="network")
        return load_exported(path, input_spec)
    if input_spec is not None:
        raise UsageError(
            f"{path} says itself how its images are made: leave out input_spec, which is for foreign .onnx and .xml",
            argument="input_spec",
        )
    loaded = load_network(path, network)
    return Model(loaded.network, loaded.recipe, loaded.fingerprint, path)


def require_torch(model: Encoder, what: str = "this") -> Model:
    """Return a model whose network can be looked into and trained.

    Raises:
        UsageError: it is an exported file, which gives features and nothing else; `what` needs more. Or it is none.
    """
    if isinstance(model, Model):
        return model
    as_image_encoder(model)
    raise needs_torch(what)


def needs_torch(what: str) -> UsageError:
    """Return the error that says that `what` needs the network, where an exported file is given."""
    return UsageError(
        f"{what} needs the network itself, which an exported file does not give: pass the run folder or the "
        ".safetensors",
        argument="model",
    )


def load_exported(path: Path, input_spec: InputSpec | str | None = None) -> ExportedEncoder:
    """Load an ONNX or OpenVINO file: see `load_model`."""
    if path.suffix.lower() == ".onnx":
        from reidkit.encoder.onnx_runtime import OnnxEncoder

        return OnnxEncoder(path, input_spec)
    from reidkit.encoder.openvino_runtime import OpenVinoEncoder

    return OpenVinoEncoder(path, input_spec)
