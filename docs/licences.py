"""Write docs/licences.md: the licence of every package that an installation brings, from the packages' own metadata.

python -m docs.licences
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parents[1]
PAGE = Path(__file__).parent / "licences.md"
TOOLS = {"dev", "docs"}
"""Extras of those who work on reidkit: an installation that uses it has none of them."""

LINKED = re.compile(r"(lib[\w-]+?)-[0-9a-f]{8}\.so")
"""A library in a wheel, with the digits that auditwheel gives it."""

FFMPEG = re.compile(r"lib(av|sw)")

HEAD = """# Licences of dependencies

Written by `python -m docs.licences` from the metadata of the packages, as they were installed where it
ran: a later version may say otherwise. reidkit itself is under the [Apache License 2.0](../LICENSE),
and its wheel holds nothing of others: pip fetches each package below from its own place, under its own
licence. Whoever passes on an installation, an image of a container for example, passes these on, too.

**for** is `reidkit` for what every installation has, or the extras (`pip install "reidkit[serve]"`)
that bring it. What those who work on reidkit use beside it (`dev`, `docs`) is not in the list.

"""

TAIL = """
## What is inside of wheels

- **PyAV** (`av`, extra `video`) is BSD-3-Clause. Its wheel holds the libraries of FFmpeg ({own}),
  which say of themselves: **{ffmpeg}**. Beside them lie {beside}. Of
  these, x264 and x265 are under the GPL, version 2 or later, unless their licence is bought. `reidkit
  video` writes by x264 where PyAV has it, and else by FFmpeg's own MPEG-4. Whoever passes on an
  installation with this extra passes on these libraries, and has to keep to their licences, or to
  build PyAV with another FFmpeg: `pip install --no-binary av av`.
- **NumPy and SciPy** hold OpenBLAS (BSD-3-Clause) and GCC's Fortran library (GPL-3.0 with the runtime
  exception, which lets programs of any licence use it).
- **torch** for a CPU holds oneDNN (Apache-2.0) and OpenMP's library. Its CUDA build brings the
  `nvidia-*` packages, which are not free software and come under NVIDIA's own agreement. They are not
  in the list, which was made with the CPU build.

## What is not installed here

{missing}

## Data and weights

They are no dependencies, and have terms of their own: [responsible.md](responsible.md#data) and the
[table of weights](recipes.md#weights-to-start-from).
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(render(), encoding="utf-8")


def render() -> str:
    """Return the page."""
    users, missing = needed()
    rows = [f"| `{name}` | {licence(found)} | {', '.join(users[name])} |" for name, found in installed(users)]
    table = "\n".join(["| package | licence | for |", "|---|---|---|", *rows])
    libraries = bundled("av")
    return (
        HEAD
        + table
        + "\n"
        + TAIL.format(
            ffmpeg=ffmpeg_licence(),
            own=", ".join(f"`{name}`" for name in libraries if FFMPEG.match(name)),
            beside=", ".join(f"`{name}`" for name in libraries if not FFMPEG.match(name)),
            missing=", ".join(f"`{name}`" for name in sorted(missing)) or "Nothing.",
        )
    )


def needed() -> tuple[dict[str, list[str]], set[str]]:
    """Return who needs each installed package, `reidkit` or extras by name, and the packages that are not there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"reidkit": project["dependencies"]} | {
        extra: wanted for extra, wanted in project["optional-dependencies"].items() if extra not in TOOLS
    }
    users: dict[str, list[str]] = {}
    missing: set[str] = set()
    for group, wanted in groups.items():
        found, gone = closure(wanted)
        missing |= gone
        for name in found:
            if "reidkit" not in users.get(name, []):
                users.setdefault(name, []).append(group)
    return dict(sorted(users.items())), missing


def closure(wanted: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return the names of all packages that requirements ask for, and what these ask for: those installed, and not."""
    found: set[str] = set()
    missing: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in wanted]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *sorted(requirement.extras)):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                inner = distribution(name).requires or []
            except PackageNotFoundError:
                missing.add(name)
                continue
            found.add(name)
            waiting += [
                one for one in map(Requirement, inner) if one.marker is None or one.marker.evaluate({"extra": extra})
            ]
    return found, missing


def installed(names: Iterable[str]) -> Iterator[tuple[str, Distribution]]:
    """Give each package with its metadata."""
    for name in names:
        yield name, distribution(name)


def licence(found: Distribution) -> str:
    """Return what a package says of its licence: as an expression, by a classifier, or in words."""
    expression, words = (str((found.metadata.get_all(name) or [""])[0]) for name in ("License-Expression", "License"))
    if expression:
        return expression
    classified = [line.split(" :: ")[-1] for line in found.metadata.get_all("Classifier") or [] if "License ::" in line]
    if classified:
        return "; ".join(classified)
    return words.strip().splitlines()[0].replace("|", "\\|") if words.strip() else "not said"


def bundled(name: str) -> list[str]:
    """Return the names of the shared libraries that the wheel of a package has brought along."""
    paths = [Path(str(path)) for path in distribution(name).files or []]
    found = {match[1] for path in paths if path.parent.name.endswith(".libs") and (match := LINKED.match(path.name))}
    return sorted(found)


def ffmpeg_licence() -> str:
    """Return what the libraries of FFmpeg in PyAV say of their licence."""
    from av._core import library_meta

    return "; ".join(sorted({str(facts["license"]) for facts in library_meta.values()}))


if __name__ == "__main__":
    main()
