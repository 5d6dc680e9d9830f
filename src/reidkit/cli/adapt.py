"""`reidkit adapt`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from reidkit.cli import options
from reidkit.cli.help import option_of
from reidkit.cli.output import progress, remark
from reidkit.cli.train import Console, print_run, repeat_command, resume_command
from reidkit.errors import UsageError
from reidkit.train.log import log_lines
from reidkit.train.run_folder import default_folder, held, holds_run
from reidkit.workers import as_child, run_as, shared


def adapt(
    context: typer.Context,
    model: options.ModelPath,
    data: Annotated[list[Path], typer.Option(help="A data set, or a folder of images; ids are never read.")],
    val_data: Annotated[Path | None, typer.Option(help="Evaluate on this data set instead.")] = None,
    network: options.NetworkOption = None,
    settings: options.Settings = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Order and augmentation.")] = 0,
    out: Annotated[Path | None, typer.Option(help="The run's folder.  [default: runs/NAME-adapted-seedS]")] = None,
    resume: options.Resume = False,
    save_every: options.SaveEvery = 5,
    evaluate_every: Annotated[
        int, typer.Option(min=0, help="Epochs between evaluations; 0: before and after only.")
    ] = 0,
    cameras: options.CamerasOption = "cross",
    format_: options.Format = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = "auto",
    compiled: options.Compiled = None,
    cache: options.CacheDir = None,
    no_cache: options.NoCache = False,
    skip_unreadable: options.SkipUnreadable = False,
    processes: options.Processes = 1,
    tensorboard: options.TensorBoard = False,
    as_json: options.Json = False,
) -> int:
    """Adapt a trained model to images without labels, by clustering them."""
    option = partial(option_of, params=context.command.params)
    if shared(processes):
        return run_as(processes, resume_command())

    from reidkit.distributed import joined
    from reidkit.encoder import load_model, require_torch
    from reidkit.train import TensorBoard, TrainOptions
    from reidkit.train.cluster_contrast import adapt as run_adaptation
    from reidkit.train.cluster_contrast import adaptation_recipe

    loaded = require_torch(load_model(model, network=options.import_network(network)), "adaptation")
    recipe = adaptation_recipe(loaded.recipe, settings or [])
    folder = out or default_folder(recipe, seed)
    if not resume and holds_run(folder):
        raise UsageError(held(folder), argument="resume")

    as_child()
    with joined() as group, progress(group.first) as tell, log_lines(remark if group.first else _quiet, option):
        run = run_adaptation(
            loaded,
            data,
            out=folder,
            settings=settings or [],
            seed=seed,
            resume=resume,
            evaluate_on=val_data,
            options=TrainOptions(
                format=format_,
                device=device,
                precision=precision,
                compile=compiled,
                save_every=save_every,
                evaluate_every=evaluate_every,
                cameras=cameras,
                cache_dir=options.cache_dir(cache, no_cache),
                skip_unreadable=skip_unreadable,
                resume_command=resume_command(),
            ),
            callbacks=(Console(recipe, tell), *((TensorBoard(folder / "tensorboard"),) if tensorboard else ())),
        )
    if group.first:
        print_run(run, as_json=as_json)
        run.write_report(repeat_command(run, processes))
    return 0


def _quiet(line: str) -> None:
    """Drop the messages of all processes but the first."""
