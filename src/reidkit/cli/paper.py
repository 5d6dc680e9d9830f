"""`reidkit paper`: the tables of the paper, each in one command."""

from __future__ import annotations

import difflib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from reidkit.cli import options
from reidkit.cli.output import command, print_json, print_line, print_table, print_text, progress, remark, shown_command
from reidkit.errors import RunError, UsageError
from reidkit.experiments.luo2019 import FIGURES
from reidkit.recipe import BackboneName
from reidkit.recipes import TABLES, get_recipe
from reidkit.recipes.luo2019.interpretations import INTERPRETATIONS, POINTS, DisputedPoint, interpret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reidkit.experiments.luo2019 import FigureOptions
    from reidkit.experiments.results import ResultTable
    from reidkit.recipe import Recipe


FORMATS = (".png", ".svg", ".pdf")
"""Of a figure's files."""

THINGS = (*TABLES, *FIGURES, "differences")

DRAWN_WITH = {"figure1": ("--measured",), "figure4": ("--data", "--format"), "figure6": ("--data", "--format", "--set")}
"""What a figure is made with, beside the options of the machine and of the output."""


def paper(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            autocompletion=options.starting_with(lambda: THINGS),
            help=f"{', '.join(TABLES)}, figure1 to figure6, or differences.",
        ),
    ],
    data: Annotated[list[str] | None, typer.Option("--data", help="NAME=DIR: market1501=DIR, or any name.")] = None,
    format_: options.Format = None,
    small: Annotated[bool, typer.Option("--small", help="Small twins, for a CPU: narrow ResNet-18.")] = False,
    short: Annotated[bool, typer.Option("--short", help="Short twins: ResNet-50, half the size, 24 epochs.")] = False,
    weights: Annotated[list[str] | None, typer.Option(help="FILE, or BACKBONE=FILE; none: from scratch.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the runs, and the files of a table or figure.")] = Path("paper"),
    rows: Annotated[str | None, typer.Option(help="Only these rows: warmup,erasing.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each row, with seeds from 0.")] = 1,
    processes: Annotated[int, typer.Option(min=1, help="Runs at once; they share the threads.")] = 1,
    compiled: options.Compiled = False,
    settings: options.Settings = None,
    interpretation: options.As = None,
    measured: Annotated[list[str] | None, typer.Option(help="figure1: NAME=RANK1,MAP, or a run's folder.")] = None,
    *,
    machine: options.Machine,
    masks: options.Masks = None,
    as_json: options.Json = False,
) -> None:
    """Check a table of the paper: train what it needs, and set paper and measurement side by side; or draw a figure.

    Run it again, however it ended, and it goes on. The table's files stand in the folder from the first run on.
    """
    if what not in THINGS:
        close = difflib.get_close_matches(what, THINGS, n=1, cutoff=0.4)
        remedy = f"did you mean {close[0]}?" if close else f"choose of {', '.join(THINGS)}"
        raise UsageError(f"there is no {what}; {remedy}")
    given: dict[str, object] = {"--small": small, "--short": short, "--weights": weights, "--rows": rows is not None}
    given |= {"--seeds": seeds > 1, "--processes": processes > 1, "--compile": compiled, "--masks": masks}
    given |= {"--data": data, "--set": settings, "--as": interpretation, "--measured": measured, "--format": format_}
    _refuse_unused(what, [option for option, value in given.items() if value])
    if what == "differences":
        _differences(as_json=as_json)
        return
    # A figure is drawn at once.
    named = _folders(data or [])
    if what in FIGURES:
        from reidkit.experiments.luo2019 import FigureOptions

        wanted = FigureOptions(
            out=out,
            data=next(iter(named.values()), None),
            format=format_,
            measured=measured or (),
            settings=settings or (),
            device=machine.device,
            command=command(),
            say=remark,
        )
        _draw(what, wanted, as_json=as_json)
        return
    # A table is made of runs.
    if small and short:
        raise UsageError("--small and --short exclude each other: give one of them")
    wanted_rows = tuple(name.strip() for name in (rows or "").split(",") if name.strip())
    if rows is not None and not wanted_rows:
        raise UsageError("--rows names no row: name some, or leave it out for all of them")

    from reidkit.experiments.grid import make_table
    from reidkit.experiments.measure import RunOptions
    from reidkit.experiments.plan import Experiment

    experiment = Experiment(
        table=TABLES[what],
        data=named,
        out=out,
        size="small" if small else "short" if short else "full",
        interpretation=interpretation or "",
        settings=tuple(settings or ()),
        rows=wanted_rows,
        seeds=seeds,
        weights=_weights(weights or []),
        masks=masks,
    )
    with progress() as tell:
        run_options = RunOptions(
            command=command(),
            shown_command=shown_command(),
            device=machine.device,
            precision=machine.precision,
            compile=compiled,
            cache_dir=machine.cache_dir(),
            skip_unreadable=machine.skip_unreadable,
            format=format_,
            masks=masks,
            say=remark,
            progress=tell,
        )
        table = make_table(experiment, run_options, processes)
    _print(table, out / experiment.name, as_json=as_json)


def _refuse_unused(what: str, given: Sequence[str]) -> None:
    """Refuse options that change nothing of what is asked for."""
    for option in given:
        used = option != "--measured" if what in TABLES else option in DRAWN_WITH.get(what, ())
        if not used:
            raise UsageError(f"{option} changes nothing of {what}: leave it out")


def _draw(what: str, wanted: FigureOptions, *, as_json: bool) -> None:
    """Draw the figure into the folder `wanted.out`, in each of the formats, and print where it is."""
    from reidkit.experiments.luo2019 import draw_figure
    from reidkit.plots.style import write_figure

    figure = draw_figure(what, wanted)
    paths = [wanted.out / f"{what}{ending}" for ending in FORMATS]
    for path in paths:
        write_figure(figure, path)
    if as_json:
        print_json({"figure": what, "paths": [str(path) for path in paths]})
    else:
        print_line("  ".join(map(str, paths)))


def _print(table: ResultTable, stem: Path, *, as_json: bool) -> None:
    from reidkit.experiments.render import grid, remarks

    if as_json:
        print_json(table.as_json())
    else:
        print_line(table.title)
        print_line()
        print_table(*grid(table), left=2)
        for line in remarks(table):
            print_text(line)
        print_line()
        print_line(f"{stem}.txt  .json  .csv  .md  .tex  .html")
    if table.failures:
        count = len(table.failures)
        first = next(iter(table.failures.values()))
        raise RunError(
            f"{count} {'run' if count == 1 else 'runs'} failed ({first}): mend that, and the same command goes on"
        )


def _folders(words: Sequence[str]) -> dict[str, Path]:
    """Return the folders of `--data NAME=DIR`, given several times, each name once."""
    found: dict[str, Path] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name or not value:
            folder = shlex.quote(value or name or "DIR")
            raise UsageError(
                f"--data {word}: write it as --data market1501={folder}, or with a name of your own, "
                f"as --data mine={folder}"
            )
        if not all(letter.isalnum() or letter in "-_." for letter in name) or name.startswith("."):
            raise UsageError(f"--data {word}: a name is of letters, digits, hyphens, dots and underscores")
        if name in found:
            raise UsageError(f"--data {name} is given twice: give another name to one of them")
        found[name] = Path(value)
    return found


def _weights(words: Sequence[str]) -> Mapping[str, Path | None]:
    """Files of weights by backbone: FILE is for all that have none of their own; `none` starts from scratch."""
    found: dict[str, Path | None] = {}
    for word in words:
        name, separator, file = word.partition("=")
        # A path may have an equals sign in it, too, but then it has a dot or a slash before it.
        key, value = (name, file) if separator and name.replace("-", "").isalnum() else ("", word)
        if key and key not in get_args(BackboneName):
            close = difflib.get_close_matches(key, get_args(BackboneName), n=1) or get_args(BackboneName)
            raise UsageError(f"--weights {word}: there is no backbone {key}; did you mean {' or '.join(close)}?")
        if key in found:
            raise UsageError(f"--weights for {key or 'every backbone'} is given twice: write BACKBONE=FILE")
        found[key] = None if value == "none" else Path(value)
    return found


def _differences(*, as_json: bool) -> None:
    """The disputed points, with the field that decides each and its value in every interpretation."""
    strong = get_recipe("strong-baseline")
    if as_json:
        print_json({"readings": list(INTERPRETATIONS), "points": [_point_json(point, strong) for point in POINTS]})
        return
    head = ("field", "default", *INTERPRETATIONS)
    print_table(head, [_point_row(point, strong) for point in POINTS if point.key])
    print_line()
    print_text(
        "Values are those of strong-baseline; . is the default. `train` and `paper` set them all with --as "
        "INTERPRETATION."
    )
    print_line()
    for point in POINTS:
        print_text(f"{point.topic} ({point.key or point.where}): {point.words}")


def _point_row(point: DisputedPoint, strong: Recipe) -> tuple[str, ...]:
    values = _values(point, strong)
    default, *others = (_value_words(value) for value in values.values())
    return (point.key, default, *("." if other == default else other for other in others))


def _point_json(point: DisputedPoint, strong: Recipe) -> dict[str, Any]:
    decided = {"field": point.key, "values": _values(point, strong)} if point.key else {"decided_by": point.where}
    return {"topic": point.topic, **decided, "words": point.words}


def _values(point: DisputedPoint, strong: Recipe) -> dict[str, Any]:
    from reidkit.recipes.luo2019.interpretations import leaf

    recipes = {"default": strong, **{name: interpret(strong, name) for name in INTERPRETATIONS}}
    return {name: leaf(recipe, point.key) for name, recipe in recipes.items()}


def _value_words(value: object) -> str:
    if isinstance(value, tuple):
        return " to ".join(map(_value_words, value)) if isinstance(value[0], float) else ", ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else str(value)
