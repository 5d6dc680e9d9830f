"""Write docs/api.md: every public name with its signature and what it does, from the source.

python -m docs.api
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parent / "api.md"
WIDTH = 100
PACKAGES = (
    "reidkit.data",
    "reidkit.experiments",
    "reidkit.gallery",
    "reidkit.losses",
    "reidkit.metrics",
    "reidkit.model",
    "reidkit.serve",
    "reidkit.train",
    "reidkit.video",
)
"""The documented sub-packages, whose names stand alone."""

GROUPS = {
    "Data": "load_dataset synthesize Dataset Sample",
    "Training": "get_recipe train adapt reduce Recipe TrainOptions Callback Run",
    "Models": "load_model import_weights Model ImageEncoder Encoder InputSpec find_input_spec embed_images "
    "export_model ExportOptions",
    "Scores": "evaluate score rank rerank compare calibrate Embeddings Scores",
    "Galleries": "open_gallery Gallery",
    "Errors": "ReidkitError UsageError DataError WeightsError RunError",
}
"""The names of `reidkit`, in the order in which they are described."""

HEAD = """# API

Written by `python -m docs.api` from the source. `import reidkit as rk` gives the names of the first
sections; [python.md](python.md) shows them at work. The sub-packages below stand by themselves: the
pieces for a training loop of one's own take plain arguments, never a recipe; tables, the service
and videos have a package each. All else, but for what these pages import, is private.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(render(), encoding="utf-8")


def render() -> str:
    """Return the page."""
    reidkit = import_module("reidkit")
    parts = [HEAD]
    for title, names in GROUPS.items():
        parts += [f"## {title}\n", *(_describe(f"rk.{name}", getattr(reidkit, name)) for name in names.split())]
    for package in PACKAGES:
        parts += [f"## {package}\n", *_table(import_module(package))]
    return "\n".join(parts)


def _describe(name: str, thing: Any) -> str:
    """A section of one name: how it is called, and its docstring; of a class its public methods, too."""
    thing = getattr(thing, "train", thing) if inspect.ismodule(thing) else thing
    lines = [f"### {name}\n"]
    made_by_callers = (
        inspect.isclass(thing)
        and not getattr(thing, "_is_protocol", False)
        and ("__init__" in vars(thing) or hasattr(thing, "__dataclass_fields__"))
    )
    if inspect.isfunction(thing) or (made_by_callers and not issubclass(thing, Exception)):
        lines.append(_signature(name, thing))
    lines.append(f"{_text(inspect.getdoc(thing) or '')}\n")
    if inspect.isclass(thing) and not issubclass(thing, Exception):
        lines += list(_methods(thing))
    return "\n".join(lines)


def _methods(kind: type) -> Iterator[str]:
    """A line for each public method and property, inherited ones too, with its arguments and its first sentence."""
    rows = []
    # Of a recipe not what its sections make their rules with.
    ours = [vars(each) for each in reversed(kind.__mro__) if re.match(r"reidkit\.(?!recipe\.checks)", each.__module__)]
    for name, member in {name: member for members in ours for name, member in members.items()}.items():
        if name.startswith("_") or not (inspect.isfunction(member) or isinstance(member, property)):
            continue
        call = "" if isinstance(member, property) else _call(member)
        rows.append(f"| `{name}{call}` | {_first(member)} |")
    if rows:
        yield "\n".join(["| | |", "|---|---|", *rows, ""])


def _call(function: Any) -> str:
    """The arguments of a function, with their defaults and without their types; the first ones of many."""
    parameters = [each for name, each in inspect.signature(function).parameters.items() if name != "self"]
    words = [re.sub(r"=(\w+)\(.+\)$", r"=\1(...)", str(each.replace(annotation=each.empty))) for each in parameters]
    named = [each.kind is each.KEYWORD_ONLY for each in parameters]
    if True in named:
        words.insert(named.index(True), "*")
    call = ", ".join(words).replace("|", "\\|")
    return f"({textwrap.shorten(call, WIDTH, placeholder=' ...')})"


def _table(package: Any) -> Iterator[str]:
    """A line for each public name of a package, with the arguments of functions and its first sentence."""
    yield f"{_text((inspect.getdoc(package) or '').split('>>>')[0])}\n"
    calls = {
        name: _call(thing) if inspect.isfunction(thing := getattr(package, name)) else "" for name in package.__all__
    }
    rows = [f"| `{name}{call}` | {_sentence(_doc(package, name))} |" for name, call in calls.items()]
    yield "\n".join(["| name | |", "|---|---|", *rows, ""])


def _doc(package: Any, name: str) -> str:
    """The docstring of a public name; of one that is neither class nor function, the text below it in its module."""
    thing = getattr(package, name)
    if inspect.isclass(thing) or inspect.isroutine(thing):
        return inspect.getdoc(thing) or ""
    for module in [each for key, each in sys.modules.items() if key.startswith(f"{package.__name__}.")]:
        if vars(module).get(name) is thing and (text := _below(Path(str(module.__file__)), name)):
            return text
    return ""


def _below(source: Path, name: str) -> str:
    """The text that stands below `name = ...` in a module, "" where there is none."""
    for first, second in itertools.pairwise(ast.parse(source.read_text(encoding="utf-8")).body):
        named = isinstance(first, ast.Assign) and [ast.unparse(each) for each in first.targets] == [name]
        if named and isinstance(second, ast.Expr) and isinstance(second.value, ast.Constant):
            return inspect.cleandoc(str(second.value.value))
    return ""


def _first(thing: Any) -> str:
    """The first sentence of a thing's docstring, in one line."""
    return _sentence(inspect.getdoc(thing) or "")


def _sentence(doc: str) -> str:
    """The first sentence of a text, in one line."""
    text = " ".join(doc.split("\n\n", maxsplit=1)[0].split())
    sentence = re.split(r"(?<=[.])\s+(?=[A-Z`])", text)[0]
    return sentence.replace("|", "\\|")


def _signature(name: str, thing: Any) -> str:
    """How something is called, in a block, on one line where that is short enough."""
    signature = inspect.signature(thing)
    line = f"{name}{signature}"
    if len(line) > WIDTH:
        inner, star = [], False
        for parameter in signature.parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY and not star:
                inner.append("    *,")
                star = True
            inner.append(f"    {parameter},")
        ending = "" if signature.return_annotation is inspect.Signature.empty else f" -> {signature.return_annotation}"
        line = "\n".join([f"{name}(", *inner, f"){ending}"])
    line = re.sub(r"""(: |-> )(['"])(.*?)\2(?=[,)=\n ]|$)""", r"\1\3", line)  # annotations are kept as text
    line = line.removesuffix(" -> None") if inspect.isclass(thing) else line
    return f"```text\n{line}\n```\n"


def _text(doc: str) -> str:
    """A docstring as Markdown: its sections of arguments and errors become lists."""
    lines = [re.sub(r"^(Args|Attributes|Returns|Raises):$", r"**\1:**\n", line) for line in doc.splitlines()]
    out: list[str] = []
    for line in lines:
        if re.match(r"    \w[\w, ]*: ", line):
            name, _, rest = line.strip().partition(": ")
            out.append(f"- `{name}`: {rest}")
        else:
            out.append(re.sub(r"^    (\s*)", "  ", line))
    paragraphs = "\n".join(out).split("\n\n")
    return "\n\n".join(_wrapped(paragraph) for paragraph in paragraphs)


def _wrapped(paragraph: str) -> str:
    """A paragraph or a list wrapped at `WIDTH` columns; drawings keep their lines."""
    if re.search(r"^\s*(>>>|[├└│])", paragraph, re.MULTILINE) or "::" in paragraph:
        return paragraph
    items = re.split(r"\n(?=- |\*\*)", paragraph)
    return "\n".join(
        textwrap.fill(" ".join(item.split()), WIDTH, subsequent_indent="  " if item.startswith("- ") else "")
        for item in items
    )


if __name__ == "__main__":
    main()
