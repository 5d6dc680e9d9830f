"""The class of all commands: how its options are read, its help is shown, and how it ends when it is cut short."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from reidkit.cli import suggest
from reidkit.cli.help import GROUPS, TOPICS, ExampleFirst, first_sentence, group_of, plain_type
from reidkit.errors import ReidkitError, UsageError
from reidkit.interrupts import dropped_interrupts_sent_again, in_main_thread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

RENAMED = {"--judge-every": "--evaluate-every", "--skip-broken": "--skip-unreadable"}
"""Options by their names in earlier versions, which are still taken."""

SMALLER = {
    "settings": "a smaller --set batch.ids",
    "batch": "a smaller --batch",
    "images_per_shard": "a smaller --images-per-shard",
    "workers": "a smaller --workers",
}
"""What takes less memory, for commands that have such an option."""

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


class Command(ExampleFirst, TyperCommand):
    """A command whose help shows options in groups, and which ends in one line when it is cut short."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, and options by group; what is in no group comes last."""
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in ("Arguments", *GROUPS, "Options")}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record:
                several = param.param_type_name == "option" and param.multiple
                text = f"{record[1]}  [repeatable]" if several else record[1]
                sections[self._section(param)].append((plain_type(record[0]), text))
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
        with _heard() as stopped, _running(self.params):
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


class Commands(ExampleFirst, TyperGroup):
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
                    [(name.ljust(width), first_sentence(each.help or "")) for name, each in commands if each]
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


_PARAMS: list[Sequence[Any]] = []
"""Those of the command that runs; none before and after it."""


@contextmanager
def _running(params: Sequence[Any]) -> Iterator[None]:
    _PARAMS.append(params)
    try:
        yield
    finally:
        _PARAMS.pop()


def running_option(argument: str) -> str:
    """Return the option of the command that runs which sets this argument, as `option_of`; "" where none does."""
    return option_of(argument, _PARAMS[-1]) if _PARAMS else ""


# Ctrl-C, and no memory.


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
