"""The class of all commands: help with an example and grouped options, former names of options, and exit on errors."""

from __future__ import annotations

import inspect
import re
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from reidkit.cli import suggest
from reidkit.errors import ReidkitError, UsageError
from reidkit.interrupts import dropped_interrupts_sent_again, in_main_thread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

GROUPS = {
    "Data": "data val_data format_ read_as part ids stream cache no_cache clear_cache skip_unreadable masks "
    "missing_masks check",
    "Training": "weights teacher settings interpretation seed seeds rows small short resume save_every evaluate_every",
    "Inference": "network input_spec preset input_ colour resize normalise flip feature batch",
    "Scores": "metric ap cameras rerank rerank_by k1 k2 lam rescore rescore_top ci by_camera single_shot multi_query",
    "People": "detector detector_format person min_score boxes boxes_format every tracker min_height crops for_ again",
    "Threshold": "threshold far method prior allow_training_ids",
    "Picture": "queries answers perplexity measured",
    "Precision": "int8 fp16 calibration opset",
    "Rows": "camera not_camera pid track attribute since until older_than time",
    "Search": "key right wrong best top offset radius from_camera other_cameras group_by group_size expand "
    "pictures purpose",
    "Gallery": "model split fingerprint dim replace thumbnails any_model expect dry_run compact against min_recall",
    "Machine": "device precision compiled processes workers ray quick",
    "Service": "host port allow_host proxy secure images videos wait timeout",
    "Access": "token_file role require_purpose audit audit_keep retain",
    "Output": "out picture licence save_classifier sheet per_query report images_per_shard shards tensorboard "
    "as_json help",
}
"""The groups in their order, with the names of the parameters in each."""

TOPICS = {
    "Data": "data split shard synth",
    "Training": "recipes train distil adapt reduce import",
    "Scores": "evaluate score calibrate compare compare-runs show paper",
    "Files for others": "embed export",
    "Search": "gallery video serve",
    "Help": "help doctor",
}
"""The commands by what they are for, as `reidkit` alone lists them."""

OWN = {
    "synth": {"Data": "cameras seed images_per_camera height width videos seconds", "Output": "masks"},
    "calibrate": {"Threshold": "seed"},
    "ranks": {"Picture": "seed"},
    "attention": {"Picture": "seed"},
    "embedding": {"Picture": "method"},
    "shard": {"Output": "kind"},
    "split": {"Data": "share seed cameras", "Output": "how"},
    "train": {"Data": "cameras", "Training": "network"},
    "distil": {"Data": "cameras", "Training": "network"},
    "reduce": {"Training": "dim power"},
    "serve": {"Inference": "model"},
    "audit": {"Access": "verify actor"},
    "check": {"Gallery": "queries"},
    "embed": {"Data": "split"},
    "score": {"Scores": "query_sequences gallery_sequences"},
    "import": {"Data": "family settings"},
    "track": {"Data": "camera start", "Inference": "model", "Output": "gallery keep"},
    "crops": {"Data": "camera start"},
    "join": {"Search": "threshold far linkage cameras_overlap", "Gallery": "undo confirm one unconfirm"},
    "find": {"Data": "uri", "Search": "gap", "Output": "videos clips marked csv overwrite"},
    "adapt": {"Data": "cameras", "Training": "network"},
}
"""Where a name means something else in one command than in the others."""

SMALLER = {
    "settings": "a smaller --set batch.ids",
    "batch": "a smaller --batch",
    "images_per_shard": "a smaller --images-per-shard",
    "workers": "a smaller --workers",
}
"""What takes less memory, for commands that have such an option."""


RENAMED = {"--judge-every": "--evaluate-every", "--skip-broken": "--skip-unreadable"}
"""Options by their names in earlier versions, which are still taken."""

GOES_ON = {
    "reidkit embed": " with the parts that are not done",
    "reidkit shard": " with the shards that are whole",
    "reidkit gallery add": ": what was added stays",
    "reidkit gallery copy": " where it stopped",
    "reidkit video track": " with the videos that are not done",
    "reidkit video crops": " with the videos that are not done",
}
"""Commands that go on when they are repeated, and how; trainings say it themselves."""

CALLED = {
    "cache_dir": "--cache, --no-cache",
    "evaluate_on": "--val-data",
    "family": "--from",
    "how": "--as",
    "lambda_": "--lambda",
    "query_camera": "--from-camera",
}
"""Options that are not named as the arguments of the library that they set."""


class CommandStoppedError(ReidkitError):
    """Ctrl-C, where there is nothing more to report."""

    status = 130


class OutOfMemoryError(ReidkitError):
    """There is no more memory."""


def group_of(command: str, name: str) -> str:
    """Return the group in which the parameter `name` of a command is shown.

    Raises:
        KeyError: it is in none.
    """
    for groups in (OWN.get(command, {}), GROUPS):
        for group, names in groups.items():
            if name in names.split():
                return group
    raise KeyError(f"{command}: no group of options has {name}")


class _ExampleFirst:
    """Help with the example, which is the `epilog`, before the options."""

    def format_help(self: Any, ctx: Any, formatter: Any) -> None:
        """Write usage, what the command does, an example, and the options or commands."""
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        if self.epilog:
            _example(formatter, self.epilog)
        self.format_options(ctx, formatter)


class Command(_ExampleFirst, TyperCommand):
    """A command whose help shows options in groups, and which ends in one line when it is cut short."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, and options by group; what is in no group comes last."""
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in ("Arguments", *GROUPS, "Options")}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record:
                several = param.param_type_name == "option" and param.multiple
                text = f"{record[1]}  [repeatable]" if several else record[1]
                sections[self._section(param)].append((_plain_type(record[0]), text))
        for name, records in sections.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Read the words of the command line, with options by their present names or their earlier ones."""
        words = [_present_name(word) for word in args]
        try:
            left = super().parse_args(ctx, [*words])
        except Exception as error:
            if type(error).__name__ == "MissingParameter" and "--data" in getattr(error, "param", ctx.command).opts:
                _, left, _ = self.make_parser(ctx).parse_args([*words])
                if left:
                    raise suggest.data_by_position(left[0], ctx.command_path) from None
            raise
        if not ctx.resilient_parsing:  # completion tries words
            self._refuse_repeated(ctx, words)
        return left

    def _refuse_repeated(self, ctx: Any, words: list[str]) -> None:
        """Refuse an option that takes one value and has several: all but the last would be ignored."""
        given = self.make_parser(ctx).parse_args([*words])[2]
        for param in dict.fromkeys(given):
            several = param.multiple or getattr(param, "is_flag", False)
            if param.param_type_name == "option" and not several and given.count(param) > 1:
                raise UsageError(
                    f"{param.opts[0]} is given {given.count(param)} times, and `{ctx.command_path}` takes one: leave "
                    "out the others"
                )

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            CommandStoppedError: Ctrl-C.
            OutOfMemoryError: Python, or a device, has no memory left.
        """
        with _heard() as stopped:
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                raise CommandStoppedError(_stopped(ctx.command_path)) from None
            except ReidkitError as error:
                if stopped and error.status < 128:  # made of what a library made of Ctrl-C
                    raise CommandStoppedError(_stopped(ctx.command_path)) from None
                if option := option_of(error.argument, self.params):
                    error.add_note(option)
                raise
            except Exception as error:
                # A library that is being loaded turns Ctrl-C into errors of its own.
                if stopped:
                    raise CommandStoppedError(_stopped(ctx.command_path)) from None
                if not is_out_of_memory(error):
                    raise
                names = [param.name for param in self.params if param.name]
                raise OutOfMemoryError(out_of_memory(names)) from None

    def _section(self, param: Any) -> str:
        if param.param_type_name == "argument":
            return "Arguments"
        try:
            return group_of(self.name or "", param.name or "")
        except KeyError:
            return "Options"


class Commands(_ExampleFirst, TyperGroup):
    """Commands by their names; the error for a wrong name suggests the right one."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each command with its first sentence, whole; those of `reidkit` by topic."""
        found = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        width = max(map(len, found))
        topics = {"Commands": " ".join(found)} if ctx.parent else TOPICS
        for topic, names in topics.items():
            commands = [(name, found[name]) for name in names.split()]
            with formatter.section(topic):
                formatter.write_dl(
                    [(name.ljust(width), _first_sentence(each.help or "")) for name, each in commands if each]
                )

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command of this name.

        Raises:
            UsageError: there is none of that name.
        """
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and self.get_command(ctx, name) is None:
            raise suggest.no_command(name, ctx.command_path, self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **more: Any) -> Any:
        """Read the options before the command; Ctrl-C is said, of which Typer makes a status without a word."""
        with _stop_said():
            return super().make_context(*args, **more)

    def invoke(self, ctx: Any) -> Any:
        """Find the command and run it; Ctrl-C before it begins is said, too."""
        with _stop_said():
            return super().invoke(ctx)


def commands(about: str, example: str) -> typer.Typer:
    """Return a command that has commands below it, and lists them where none is named."""
    made = typer.Typer(cls=Commands, rich_markup_mode=None, help=about, epilog=example)

    @made.callback(invoke_without_command=True)
    def _list(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())

    return made


def _present_name(word: str) -> str:
    name, separator, value = word.partition("=")
    return RENAMED.get(name, name) + separator + value


@contextmanager
def _stop_said() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise CommandStoppedError("stopped") from None


@contextmanager
def _heard() -> Iterator[list[int]]:
    """Yield a list that Ctrl-C adds to before it raises KeyboardInterrupt as usual.

    Where another handler is set already, or this is not the main thread, the list stays empty.
    """
    stopped: list[int] = []
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or not in_main_thread():
        yield stopped
        return

    def note(number: int, frame: FrameType | None) -> None:
        stopped.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        with dropped_interrupts_sent_again():
            yield stopped
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _stopped(path: str) -> str:
    """Return the sentence for Ctrl-C; it says which commands go on where they stopped when they are repeated."""
    return f"stopped; the same command goes on{GOES_ON[path]}" if path in GOES_ON else "stopped"


def option_of(argument: str, params: Sequence[Any]) -> str:
    """Return the option among `params` of a command that sets this argument or recipe key; "" where none does.

    `batch.ids` gives `--set batch.ids=...`, and `cache_dir` gives `--cache, --no-cache`; `resume, out` gives both.
    """
    if ", " in argument:
        return ", ".join(filter(None, (option_of(one, params) for one in argument.split(", "))))
    options = {option for param in params for option in (*param.opts, *param.secondary_opts)}
    if "." in argument:
        return f"--set {argument}=..." if "--set" in options else ""
    if argument == "format":
        names = {param.name for param in params}
        if "read_as" in names:
            return "--from"  # where --format is that of what is written
        if "detector_format" in names:
            return "--detector-format"
    option = CALLED.get(argument, "--" + argument.strip("_").replace("_", "-"))
    return option if option.partition(",")[0] in options else ""


def is_out_of_memory(error: Exception) -> bool:
    """Whether Python, torch's GPU or torch's CPU allocator has run out; only the last has no class of its own."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return "allocate memory" in str(error)


def out_of_memory(parameters: Sequence[str]) -> str:
    """Return a sentence that ends in what a command with these parameters can do about it."""
    smaller = next((words for name, words in SMALLER.items() if name in parameters), None)
    remedy = f"run it with {smaller}" if smaller else "close other programs, or use a machine with more of it"
    return f"out of memory: {remedy}"


def _example(formatter: Any, text: str) -> None:
    lines = inspect.cleandoc(text).splitlines()
    with formatter.section("Example" if len(lines) == 1 else "Examples"):
        for line in lines:
            formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def _plain_type(name: str) -> str:
    """`--data <path>`, where Typer writes `<list[Path]>`, and `<int>` where it writes `<int range>`."""
    name = re.sub(r"<list\[(.+)\]>", r"<\1>", name).replace("<Path>", "<path>")
    return name.replace(" range>", ">")


def _first_sentence(text: str) -> str:
    first = " ".join(text.strip().split("\n\n")[0].split())
    return first.partition(". ")[0].rstrip(".")
