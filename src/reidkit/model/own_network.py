"""A user's own network: any module that maps images to one vector each, beside the networks of recipes."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

from reidkit.errors import UsageError
from reidkit.model.contracts import Features
from reidkit.model.network import Network
from reidkit.model.tensor_names import leave_out_of_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from reidkit.model.contracts import Spans

    OwnModule = nn.Module | Callable[[], nn.Module]
    AnyNetwork: TypeAlias = "Network | OwnNetwork"


class OwnNetwork(nn.Module):
    """Gives a user's module what the rest of reidkit asks of a network: `Features`, their length and their spans.

    The names of its tensors in files and checkpoints are those of the user's module.

    Attributes:
        network: The user's module: images [B, 3, H, W] to features [B, D], or to `Features`, or to a pair of these.
        channels: D, the length of the features.
        spans: The parts of the features that loss terms may name; "" is the whole.
        filled: The names of the parameters that a weights file has filled before the first step.
        takes_cameras: Whether `forward` takes the cameras of the images: never.
        mask_channels: How many maps it takes beside an image: none.
        ranked: The spans with a triplet loss each.
        aside: The parts of what losses alone see (`Features.aside`).
    """

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        self.network, self.channels = network, channels
        self._learns = any(parameter.requires_grad for parameter in network.parameters())
        self.spans: Spans = dict(getattr(network, "spans", {"": slice(0, channels)}))
        self.filled: frozenset[str] = frozenset()
        self.takes_cameras = False
        self.mask_channels = 0
        self.ranked: tuple[str, ...] = tuple(getattr(network, "ranked", ("",)))
        self.aside: Spans = dict(getattr(network, "aside", {}))
        leave_out_of_names(self, "network")

    def forward(self, images: Tensor) -> Features:
        """Images [B, 3, H, W], normalised, to f_t and f_i, [B, D] each; both are one where the module gives one.

        Raises:
            UsageError: what the module gives in training is no features, or has no gradient.
        """
        features = _features(self.network(images))
        aside = features.aside
        if self.training:
            self._check_training(features, len(images))
        # Whatever a module computes in by itself, autocast cannot put half and double precision together.
        if all(side is None or side.dtype in {torch.float32, torch.bfloat16} for side in features):
            return features
        return Features(features.f_t.float(), features.f_i.float(), aside if aside is None else aside.float())

    def _check_training(self, features: Features, images: int) -> None:
        """Refuse features of another shape than those of evaluation, or that nothing can be learned by.

        Raises:
            UsageError: they are.
        """
        for side in features[:2]:
            if side.shape != (images, self.channels):
                raise UsageError(
                    f"in training the network gives {list(side.shape)} for {images} images: let it give "
                    f"[{images}, {self.channels}], as it does in evaluation",
                    argument="network",
                )
        if not torch.is_grad_enabled() or any(side.requires_grad for side in features if side is not None):
            return
        # The recipe may have frozen all that is there (`optim.freeze`).
        if not self._learns or any(parameter.requires_grad for parameter in self.network.parameters()):
            raise UsageError(
                "the features of the network have no gradient, so that nothing of it is learned: give it parameters "
                "that require one, and leave out detach() and no_grad()",
                argument="network",
            )


def own_network(network: OwnModule, size: tuple[int, int]) -> AnyNetwork:
    """Return the network that `network` is, or that it makes when it is called without arguments.

    Args:
        network: A module, or what makes one, as its class does. It maps images [B, 3, H, W] to features [B, D], the
            same ones for both sides of the neck, or to `Features(f_t, f_i)`.
        size: Height and width of the images.

    Raises:
        UsageError: it is no module, cannot take such images, or gives something else than features.
    """
    if not isinstance(network, nn.Module) and not callable(network):
        raise UsageError(
            f"the network is a {type(network).__name__}: give a torch.nn.Module, or the class or function that makes "
            "one",
            argument="network",
        )
    made = network if isinstance(network, nn.Module) else network()
    if not isinstance(made, nn.Module):
        raise UsageError(f"the network is of {type(made).__name__}: give a torch.nn.Module", argument="network")
    return made if isinstance(made, Network | OwnNetwork) else OwnNetwork(made, _length(made, size))


def network_name(network: nn.Module) -> str:
    """Return what the file of a model says of a network that no recipe has made."""
    inner = network.network if isinstance(network, OwnNetwork) else network
    return f"{type(inner).__module__}.{type(inner).__qualname__}"


def import_network(name: str) -> Callable[[], nn.Module]:
    """Find `module:function`, in the working directory too; the function, or a class, makes the network.

    Raises:
        UsageError: there is no such thing, or it is none that can be called.
    """
    module, separator, function = name.partition(":")
    if not (separator and module and function):
        head, dot, last = name.rpartition(".")
        meant = f", as {head}:{last}" if dot and head and last.isidentifier() and last != "py" and not separator else ""
        raise UsageError(f"{name!a} does not name a network: give MODULE:FUNCTION{meant}", argument="network")
    if os.getcwd() not in sys.path:  # noqa: PTH109  (sys.path holds strings)
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:
        raise UsageError(_not_imported(module, function, error), argument="network") from error
    for part in function.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise UsageError(
            f"{module} has no function {function}: give one without arguments that makes a network", argument="network"
        )
    return found  # type: ignore[no-any-return]


def _not_imported(module: str, function: str, error: Exception) -> str:
    """Say why the module of a network is not imported, and what to do."""
    path = PurePath(module)
    if path.suffix == ".py" or len(path.parts) > 1:
        return (
            f"{module} is a file and no module: give {path.stem}:{function}, and start where the file lies, or put its "
            "folder into PYTHONPATH"
        )
    if isinstance(error, ImportError):
        return (
            f"the module {module} cannot be imported ({error}): start where it lies, or put its folder into PYTHONPATH"
        )
    return f"the module {module} cannot be imported ({type(error).__name__}: {error}): import it in Python, and mend it"


def _length(network: nn.Module, size: tuple[int, int]) -> int:
    """D, by a forward pass of two blank images."""
    training = network.training
    try:
        with torch.no_grad():
            features = _features(network.eval()(torch.zeros(2, 3, *size)))
    except UsageError:
        raise
    except Exception as error:
        shape = f"[2, 3, {size[0]}, {size[1]}]"
        raise UsageError(
            f"the network cannot take images of the shape {shape} ({type(error).__name__}: {error})", argument="network"
        ) from error
    finally:
        network.train(training)
    for side in features[:2]:
        if not side.is_floating_point():
            kind = str(side.dtype).removeprefix("torch.")
            raise UsageError(f"the network gives {kind}: let it give real numbers, as float32", argument="network")
    shapes = [tuple(each.shape) for each in features[:2]]
    if any(len(shape) != 2 or shape[0] != 2 for shape in shapes) or len(set(shapes)) > 1:
        raise UsageError(
            f"the network gives {' and '.join(map(str, dict.fromkeys(shapes)))} for two images: let it give one vector "
            "for each, [2, D]",
            argument="network",
        )
    return shapes[0][1]


def _features(output: object) -> Features:
    if isinstance(output, Tensor):
        return Features(output, output)
    if isinstance(output, Features):
        return output
    if isinstance(output, tuple) and len(output) == 2 and all(isinstance(each, Tensor) for each in output):
        return Features(*output)
    raise UsageError(
        f"the network gives {type(output).__name__}: let it give a tensor [B, D], or Features(f_t, f_i)",
        argument="network",
    )
