"""`reidkit show`: what a model sees, as pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reidkit.cli import options
from reidkit.cli.command import Command, commands
from reidkit.cli.output import print_json, print_line, progress
from reidkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from reidkit.encoder import ImageEncoder
    from reidkit.evaluation import Evaluation, EvaluationProtocol
    from reidkit.types import Cameras

show = commands(
    "What a model sees, as pictures: ranked lists, embedding, attention.",
    "reidkit show ranks runs/small --data people --out ranks.png",
)

Queries = Annotated[str, typer.Option(help="How many, sampled by --seed; or file names, separated by commas.")]
Seed = Annotated[int, typer.Option(min=0, help="Which ones are sampled.")]
Answers = Annotated[int, typer.Option(min=1, max=20, help="Gallery images for each query.")]


@show.command(cls=Command, epilog="reidkit show ranks runs/small --data people --queries 8")
@options.spread
def ranks(
    model: options.ModelPath,
    data: options.TestData,
    inference: options.Inference,
    out: Annotated[Path, typer.Option(help="The picture (.png, .svg or .pdf).")] = Path("ranks.png"),
    queries: Queries = "6",
    answers: Answers = 10,
    seed: Seed = 0,
    cameras: options.CamerasOption = "cross",
    format_: options.Format = None,
    as_json: options.Json = False,
) -> None:
    """Ranked lists: queries and their nearest gallery images, with true and false matches."""
    from reidkit.plots.image_grid import ranked_figure
    from reidkit.plots.style import figure_format, write_figure
    from reidkit.report.build import ranked_lists

    figure_format(out)
    found = _evaluate(model, data, format_, inference, (queries, seed), cameras)
    write_figure(ranked_figure(ranked_lists(found.evaluation, found.protocol, found.rows), answers, found.title), out)
    _print_path(out, as_json=as_json)


@show.command(cls=Command, epilog="reidkit show attention runs/small --data people --out attention.png")
@options.spread
def attention(
    model: options.NetworkPath,
    data: options.TestData,
    inference: options.Inference,
    out: Annotated[Path, typer.Option(help="The picture (.png, .svg or .pdf).")] = Path("attention.png"),
    queries: Queries = "4",
    answers: Answers = 3,
    seed: Seed = 0,
    cameras: options.CamerasOption = "cross",
    format_: options.Format = None,
    as_json: options.Json = False,
) -> None:
    """What makes queries and the images found for them alike: maps, bright where it is."""
    from reidkit.plots.image_grid import attention_figure
    from reidkit.plots.style import figure_format, write_figure
    from reidkit.report.attention import compare_attention

    figure_format(out)
    found = _evaluate(model, data, format_, inference, (queries, seed), cameras)
    compared = compare_attention(found.model, found.evaluation, found.protocol, found.rows, answers, found.device)
    write_figure(attention_figure(compared, found.title), out)
    _print_path(out, as_json=as_json)


@show.command(cls=Command, epilog="reidkit show embedding runs/small --data people --method tsne")
def embedding(
    model: options.ModelPath,
    data: Annotated[Path, typer.Option(help="A data set.")],
    out: Annotated[Path, typer.Option(help="The picture (.png, .svg or .pdf).")] = Path("embedding.png"),
    method: Annotated[Literal["pca", "tsne"], typer.Option(help="Principal components, or t-SNE.")] = "pca",
    ids: Annotated[
        int, typer.Option("--ids", "--people", min=1, max=72, help="How many ids: those with the most images.")
    ] = 12,
    part: Annotated[Literal["gallery", "query", "train"], typer.Option(help="The images that are shown.")] = "gallery",
    perplexity: Annotated[
        float | None, typer.Option(min=1, help="Of t-SNE: how many neighbours count.  [default: 15]")
    ] = None,
    network: options.NetworkOption = None,
    input_spec: options.InputSpecOption = None,
    format_: options.Format = None,
    device: options.Device = "auto",
    skip_unreadable: options.SkipUnreadable = False,
    as_json: options.Json = False,
) -> None:
    """The features f_t and f_i of some ids' images as points in the plane."""
    from reidkit.data.formats.detect import load_dataset
    from reidkit.encoder import InferenceOptions
    from reidkit.plots.projection import points_figure
    from reidkit.plots.style import figure_format, write_figure
    from reidkit.report.build import embedding_panels, with_most_images

    if perplexity is not None and method != "tsne":
        raise UsageError("--perplexity is for t-SNE: give --method tsne, or leave it out")
    figure_format(out)
    loaded = options.open_model(model, network, input_spec)
    dataset = load_dataset(data, format_)
    samples = with_most_images(getattr(dataset, part), ids, f"{dataset.name} {part}")
    with progress() as tell:
        settings = InferenceOptions(device=device, precision="fp32", skip_unreadable=skip_unreadable, progress=tell)
        panels, pids = embedding_panels(loaded, samples, settings, method, perplexity or 15)
    title = f"{loaded.name} on {dataset.name}: {len(pids)} {part} images with {len(set(pids))} ids"
    write_figure(points_figure(panels, pids, title), out)
    _print_path(out, as_json=as_json)


def choose_queries(wanted: str, paths: Sequence[str], scored: Sequence[int], seed: int) -> list[int]:
    """Return the rows of the queries to show: a number of those with a match, sampled, or the files named.

    Args:
        wanted: A number from 1 to 50, or file names with commas between them.
        paths: The path of each query.
        scored: The rows of the queries that have a match.
        seed: Which ones are sampled.

    Raises:
        UsageError: no such number or name.
    """
    import numpy as np

    if wanted.strip().isdecimal():
        count = int(wanted)
        if not 1 <= count <= 50:
            raise UsageError(f"--queries {wanted}: a picture shows 1 to 50 queries")
        order = np.random.default_rng(seed).permutation(np.asarray(scored, np.int64))
        return [int(number) for number in order[:count]]
    rows: dict[str, int] = {}
    for number, path in enumerate(paths):
        rows.setdefault(Path(path).name, number)
        rows.setdefault(Path(path.rpartition(":")[2]).name, number)  # in a shard: shard.tar:KEY.jpg
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    missing = [name for name in names if name not in rows]
    if missing or not names:
        raise UsageError(f"--queries {wanted}: there is no query {missing[0] if missing else 'named'}: give file names")
    return [rows[name] for name in names]


@dataclass(frozen=True)
class _Evaluated:
    """An evaluated model, and the rows of the queries to show."""

    model: ImageEncoder
    device: torch.device
    protocol: EvaluationProtocol
    evaluation: Evaluation
    rows: list[int]
    title: str


def _evaluate(
    model: Path,
    data: Path,
    format_: str | None,
    inference: options.Inference,
    chosen: tuple[str, int],
    cameras: Cameras,
) -> _Evaluated:
    """Evaluate a model; `chosen` are `--queries` and `--seed`."""
    from reidkit.data.formats.detect import load_dataset
    from reidkit.evaluation import EvaluationProtocol, evaluate

    loaded, dataset, protocol = (
        inference.load_model(model),
        load_dataset(data, format_),
        EvaluationProtocol(cameras=cameras),
    )
    with progress() as tell:
        settings = inference.for_library(tell)
        evaluation = evaluate(loaded, dataset, protocol, settings)
    queries, seed = chosen
    with_match = [row for row, value in enumerate(evaluation.scores.average_precision) if not math.isnan(value)]
    rows = choose_queries(queries, evaluation.query.paths, with_match, seed)
    return _Evaluated(loaded, settings.device, protocol, evaluation, rows, f"{loaded.name} on {dataset.name}")


def _print_path(path: Path, *, as_json: bool) -> None:
    paths: dict[str, Any] = {"paths": [str(path)]}
    if as_json:
        print_json(paths)
    else:
        print_line(str(path))
