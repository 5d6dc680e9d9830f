"""Person re-identification: train, evaluate, ship and serve models. Every command is a function here.

>>> import reidkit as rk
>>> market = rk.load_dataset("Market-1501-v15.09.15")
>>> run = rk.train("strong-baseline", market, weights="resnet50.safetensors", out="runs/strong")
>>> model = rk.load_model("runs/strong")
>>> vectors = model.embed(["a.jpg", "b.jpg"])

The names of `__all__` are loaded when they are first asked for: importing reidkit imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reidkit.lazy import import_when_asked
from reidkit.version import __version__

if TYPE_CHECKING:
    from reidkit.comparison import calibrate, compare
    from reidkit.data.formats.detect import load_dataset
    from reidkit.embedding import embed_images
    from reidkit.encoder import Encoder, ImageEncoder, InputSpec, Model, load_model
    from reidkit.errors import DataError, ReidkitError, RunError, UsageError, WeightsError
    from reidkit.evaluation import evaluate, find_input_spec
    from reidkit.export import ExportOptions, export_model
    from reidkit.gallery import Gallery, open_gallery
    from reidkit.metrics.ranking import rank
    from reidkit.metrics.retrieval import Scores
    from reidkit.metrics.scoring import rerank, score
    from reidkit.recipe import Recipe
    from reidkit.recipes import get_recipe
    from reidkit.synth import synthesize
    from reidkit.train import Callback, Run, TrainOptions, train
    from reidkit.train.cluster_contrast import adapt
    from reidkit.train.feature_reduction import reduce
    from reidkit.train.foreign_models import import_weights
    from reidkit.types import Dataset, Embeddings, Sample

__all__ = [
    "Callback",
    "DataError",
    "Dataset",
    "Embeddings",
    "Encoder",
    "ExportOptions",
    "Gallery",
    "ImageEncoder",
    "InputSpec",
    "Model",
    "Recipe",
    "ReidkitError",
    "Run",
    "RunError",
    "Sample",
    "Scores",
    "TrainOptions",
    "UsageError",
    "WeightsError",
    "__version__",
    "adapt",
    "calibrate",
    "compare",
    "embed_images",
    "evaluate",
    "export_model",
    "find_input_spec",
    "get_recipe",
    "import_weights",
    "load_dataset",
    "load_model",
    "open_gallery",
    "rank",
    "reduce",
    "rerank",
    "score",
    "synthesize",
    "train",
]

_NAMES = {
    "reidkit.comparison": ("calibrate", "compare"),
    "reidkit.data.formats.detect": ("load_dataset",),
    "reidkit.embedding": ("embed_images",),
    "reidkit.encoder": ("Encoder", "ImageEncoder", "InputSpec", "Model", "load_model"),
    "reidkit.errors": ("DataError", "ReidkitError", "RunError", "UsageError", "WeightsError"),
    "reidkit.evaluation": ("evaluate", "find_input_spec"),
    "reidkit.export": ("ExportOptions", "export_model"),
    "reidkit.gallery": ("Gallery", "open_gallery"),
    "reidkit.metrics.ranking": ("rank",),
    "reidkit.metrics.retrieval": ("Scores",),
    "reidkit.metrics.scoring": ("rerank", "score"),
    "reidkit.recipe": ("Recipe",),
    "reidkit.recipes": ("get_recipe",),
    "reidkit.synth": ("synthesize",),
    "reidkit.train": ("Callback", "Run", "TrainOptions", "train"),
    "reidkit.train.cluster_contrast": ("adapt",),
    "reidkit.train.foreign_models": ("import_weights",),
    "reidkit.train.feature_reduction": ("reduce",),
    "reidkit.types": ("Dataset", "Embeddings", "Sample"),
}

__getattr__ = import_when_asked(__name__, _NAMES)


def __dir__() -> list[str]:
    return sorted(__all__)
