"""The options of several commands, each written once, and bundles of them.

A command asks for a bundle as one parameter, `inference: options.Inference`; `spread` makes options of its fields.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from reidkit.cli import suggest
from reidkit.cli.output import remark
from reidkit.errors import UsageError
from reidkit.types import Cameras, FeatureWord, Metric, Missing, Precision

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch.nn import Module

    from reidkit.distributed import Group
    from reidkit.encoder import ImageEncoder, InferenceOptions
    from reidkit.evaluation import EvaluationProtocol
    from reidkit.train import Callback, TrainOptions

    Progress = Callable[[str, int, int], None]


def starting_with(words: Callable[[], Sequence[str]]) -> Callable[[str], list[str]]:
    """Return the completion of a word to one of these, which are only made when the shell asks."""
    return lambda incomplete: [word for word in words() if word.startswith(incomplete)]


def _formats() -> Sequence[str]:
    from reidkit.data.formats.detect import FORMATS

    return tuple(FORMATS)


def _input_specs() -> Sequence[str]:
    from reidkit.encoder import PRESETS

    return (*PRESETS, "auto")


def _interpretations() -> Sequence[str]:
    from reidkit.recipes.luo2019.interpretations import INTERPRETATIONS

    return INTERPRETATIONS


ModelPath = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A run's folder, a .safetensors, .onnx or OpenVINO .xml.")
]
NetworkPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A run's folder, or a .safetensors.")]
TestData = Annotated[Path, typer.Option("--data", help="A data set with queries and a gallery.")]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        autocompletion=starting_with(_formats),
        help="The data set's format, if its layout does not tell (`reidkit data --help`).",
    ),
]
RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE", autocompletion=starting_with(suggest.recipe_names), help="A recipe's name, or a recipe.json."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", autocompletion=suggest.settings, help="Change the recipe: optim.lr=1e-3."),
]
As = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="INTERPRETATION",
        autocompletion=starting_with(_interpretations),
        help="The interpretation of disputed points: paper-text, official-code or fast-reid.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, and nothing else.")]
Report = Annotated[Path | None, typer.Option("--report", help="Write a self-contained HTML page there.")]
Device = Annotated[
    str, typer.Option(autocompletion=starting_with(lambda: ("auto", "cpu", "cuda")), help="auto, cpu or cuda.")
]
CacheDir = Annotated[
    Path | None, typer.Option("--cache", help="Folder for decoded images.  [default: ~/.cache/reidkit]")
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Decode images for every batch instead.")]
PrecisionOption = Annotated[Precision, typer.Option("--precision", help="auto: bf16 where the device has it.")]
SkipUnreadable = Annotated[bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read.")]
Masks = Annotated[
    Path | None,
    typer.Option(
        "--masks",
        "--keypoints",
        help="Masks beside the images, for a recipe that takes them: a folder, or COCO keypoints.",
    ),
]
MissingMasks = Annotated[Missing, typer.Option("--missing-masks", help="ones: take all ones for a mask not there.")]
Processes = Annotated[
    int, typer.Option("--processes", min=1, help="Processes that share the work; torchrun works too.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")]
SaveEvery = Annotated[int, typer.Option(min=1, help="Epochs between checkpoints.")]
Compiled = Annotated[
    bool, typer.Option("--compile", help="Compile the network: it pays where several runs share a GPU.")
]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard events too.")]
Stream = Annotated[
    bool | None,
    typer.Option(
        "--stream/--no-stream", help="Read shards in order and shuffle in memory.  [default: at a URL, and Parquet]"
    ),
]
CamerasOption = Annotated[Cameras, typer.Option("--cameras", help="any: matches by the query's own camera count.")]


NetworkOption = Annotated[
    str | None,
    typer.Option("--network", metavar="MODULE:FUNCTION", help="Your own network: the function that makes it."),
]


InputSpecOption = Annotated[
    str | None,
    typer.Option(
        "--input-spec",
        metavar="SPEC",
        autocompletion=starting_with(_input_specs),
        help="How the images of a foreign .onnx or .xml are made: torchreid, size=256x128,colour=bgr,...",
    ),
]


def open_model(path: Path, network: str | None, input_spec: str | None) -> ImageEncoder:
    """Load a model; of a foreign file, say on stderr how its images are made.

    Raises:
        ReidkitError: as `load_model` does.
    """
    from reidkit.encoder import load_model

    loaded = load_model(path, network=import_network(network), input_spec=input_spec)
    if origin := getattr(loaded, "origin", ""):
        where = {"given": "as given", "metadata": "as the file says"}.get(origin, f"{origin}, by the file's name")
        remark(f"images for {path.name}: {loaded.input} ({where})")
    return loaded


def import_network(name: str | None) -> Callable[[], Module] | None:
    """Return what `--network` names, a function without arguments; None where it is not given.

    Raises:
        UsageError: there is no such function.
    """
    if name is None:
        return None
    from reidkit.model import own_network

    return own_network.import_network(name)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a network is run on, and how the images for it are read."""

    device: Device = "auto"
    precision: PrecisionOption = "auto"
    cache: CacheDir = None
    no_cache: NoCache = False
    skip_unreadable: SkipUnreadable = False

    def cache_dir(self) -> Path | None:
        """Return the folder of decoded images, or None for none.

        Raises:
            UsageError: `--cache` with `--no-cache`.
        """
        if self.no_cache and self.cache is not None:
            raise UsageError("--cache and --no-cache exclude each other: give one of them")
        return None if self.no_cache else cache_folder(self.cache)


@dataclass(frozen=True, kw_only=True)
class InferenceWithoutMasks(Machine):
    """The network of a model, and how images alone are read and run through it."""

    network: NetworkOption = None
    input_spec: InputSpecOption = None
    batch: Annotated[int, typer.Option("--batch", min=0, help="Images at a time; 0: what fills the device.")] = 0

    def load_model(self, path: Path) -> ImageEncoder:
        """Load a model, with a network of the user's own, or the input spec of a foreign file, where it is named."""
        return open_model(path, self.network, self.input_spec)

    def for_library(self, progress: Progress, group: Group | None = None) -> InferenceOptions:
        """Return these options as the library takes them.

        Raises:
            UsageError: `--cache` with `--no-cache`, or a device that is not there.
        """
        from reidkit.distributed import ALONE
        from reidkit.encoder import InferenceOptions

        return InferenceOptions(
            cache_dir=self.cache_dir(),
            skip_unreadable=self.skip_unreadable,
            device=self.device,
            precision=self.precision,
            batch=self.batch,
            progress=progress,
            group=group or ALONE,
        )


@dataclass(frozen=True, kw_only=True)
class Inference(InferenceWithoutMasks):
    """The same with masks beside the images."""

    masks: Masks = None
    missing_masks: MissingMasks = "refuse"

    def for_library(self, progress: Progress, group: Group | None = None) -> InferenceOptions:
        """Return these options as the library takes them."""
        made = super().for_library(progress, group)
        return dataclasses.replace(made, masks=self.masks, missing_masks=self.missing_masks)


@dataclass(frozen=True, kw_only=True)
class Running(Machine):
    """How a run is made: what `train` and `adapt` have in common."""

    save_every: SaveEvery = 5
    cameras: CamerasOption = "cross"
    format_: Format = None
    compiled: Compiled = False
    tensorboard: TensorBoard = False

    def for_library(self, evaluate_every: int, resume_command: str, **more: Any) -> TrainOptions:
        """Return these options, and `more` of `TrainOptions`, as the library takes them.

        Raises:
            UsageError: `--cache` with `--no-cache`.
        """
        from reidkit.train import TrainOptions

        return TrainOptions(
            format=self.format_,
            device=self.device,
            precision=self.precision,
            compile=self.compiled,
            save_every=self.save_every,
            evaluate_every=evaluate_every,
            cameras=self.cameras,
            cache_dir=self.cache_dir(),
            skip_unreadable=self.skip_unreadable,
            resume_command=resume_command,
            **more,
        )

    def callbacks(self, console: Callback, folder: Path) -> tuple[Callback, ...]:
        """Return what follows a run into `folder`: the console, and TensorBoard where it is asked for."""
        from reidkit.train import TensorBoard

        return (console, TensorBoard(folder / "tensorboard")) if self.tensorboard else (console,)


@dataclass(frozen=True, kw_only=True)
class Comparing:
    """How features are compared: the one place for the defaults of these options."""

    metric: Annotated[Metric, typer.Option("--metric", help="How features are compared.")] = "cosine"
    cameras: CamerasOption = "cross"


@dataclass(frozen=True, kw_only=True)
class Features:
    """Which features are made of an image."""

    flip: Annotated[bool, typer.Option("--flip", help="Average the features of an image and its mirror.")] = False
    feature: Annotated[FeatureWord, typer.Option("--feature", help="After the neck, or before it.")] = "after"

    def protocol(self, comparing: Comparing) -> EvaluationProtocol:
        """Return how features are made and compared, as the library takes it."""
        from reidkit.evaluation import EvaluationProtocol

        return EvaluationProtocol(
            feature=self.feature, metric=comparing.metric, cameras=comparing.cameras, flip=self.flip
        )


def cache_folder(cache: Path | None) -> Path:
    """Return the folder of the image cache, where there is to be one."""
    from reidkit.data.cache import default_cache_dir

    return cache or default_cache_dir()


def spread(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return the command with an option for each field of its bundles, the parameters that are dataclasses here."""
    hints = get_type_hints(command, include_extras=True)
    bundles: dict[str, Any] = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    parameters = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name not in bundles:
            annotation = hints[parameter.name]
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=annotation))
            continue
        types = get_type_hints(bundles[parameter.name], include_extras=True)
        parameters += [
            inspect.Parameter(field.name, parameter.KEYWORD_ONLY, default=field.default, annotation=types[field.name])
            for field in dataclasses.fields(bundles[parameter.name])
        ]

    @functools.wraps(command)
    def call(**given: Any) -> Any:
        for name, bundle in bundles.items():
            given[name] = bundle(**{field.name: given.pop(field.name) for field in dataclasses.fields(bundle)})
        return command(**given)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call
