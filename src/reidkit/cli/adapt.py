"""`reidkit adapt`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reidkit.cli import options
from reidkit.cli.train import Console, open_console, print_run, repeat_command, resume_command
from reidkit.train.run_folder import default_folder, refuse_run
from reidkit.workers import run_as, shared


def adapt(
    context: typer.Context,
    model: options.NetworkPath,
    data: Annotated[list[Path], typer.Option(help="A data set, or a folder of images; ids are never read.")],
    val_data: Annotated[Path | None, typer.Option(help="Evaluate on this data set instead.")] = None,
    network: options.NetworkOption = None,
    settings: options.Settings = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Order and augmentation.")] = 0,
    out: Annotated[Path | None, typer.Option(help="The run's folder.  [default: runs/NAME-adapted-seedS]")] = None,
    resume: options.Resume = False,
    *,
    running: options.Running,
    evaluate_every: Annotated[
        int, typer.Option(min=0, help="Epochs between evaluations; 0: before and after only.")
    ] = 0,
    processes: options.Processes = 1,
    as_json: options.Json = False,
) -> int:
    """Adapt a trained model to images without labels, by clustering them."""
    if shared(processes):
        return run_as(processes, resume_command())

    from reidkit.encoder import load_model, require_torch
    from reidkit.train.cluster_contrast import adapt as run_adaptation
    from reidkit.train.cluster_contrast import adaptation_recipe

    loaded = require_torch(load_model(model, network=options.import_network(network)), "adaptation")
    recipe = adaptation_recipe(loaded.recipe, settings or [])
    folder = out or default_folder(recipe, seed)
    if not resume:
        refuse_run(folder, by_default=out is None)

    with open_console(context) as (group, tell):
        run = run_adaptation(
            loaded,
            data,
            out=folder,
            settings=settings or [],
            seed=seed,
            resume=resume,
            evaluate_on=val_data,
            options=running.for_library(evaluate_every, resume_command()),
            callbacks=running.callbacks(Console(recipe, tell), folder),
        )
    if group.first:
        print_run(run, as_json=as_json)
        run.write_report(repeat_command(run, processes))
    return 0
