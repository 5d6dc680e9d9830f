"""What a release is made of: containers, the workflow, licences, versions."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest
import typer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import reidkit
from docs import licences
from reidkit.cli.main import app
from reidkit.serve.server import GRACE
from reidkit.version import __version__

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def stages() -> dict[str, str]:
    """The stages of the Dockerfile by name."""
    parts = re.split(r"^FROM (\S+) AS (\w+)\n", text("Dockerfile"), flags=re.MULTILINE)[1:]
    return {name: f"FROM {base}\n{body}" for base, name, body in zip(*[iter(parts)] * 3, strict=True)}


def known_options(words: list[str]) -> set[str]:
    """The options of the command that words begin with."""
    command = COMMANDS[words[0]]
    inner = getattr(command, "commands", {})
    if len(words) > 1 and words[1] in inner:
        command = inner[words[1]]
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_an_image_runs_as_nobody_and_says_how_it_is(name: str) -> None:
    made, base = stages()[name], stages()["base"]
    assert made.startswith("FROM base\n")
    assert re.findall(r"^USER (\d+)", made, re.MULTILINE)[-1] != "0"
    assert "HEALTHCHECK" in base
    assert "/health/ready" in base
    extras = re.search(r"\.whl\)\[([\w,]+)\]", made)
    assert extras is not None
    assert set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"])
    torch = next(wanted for wanted in PROJECT["dependencies"] if wanted.startswith("torch"))
    assert f'"{torch}"' in made


def test_no_image_takes_more_than_its_stage_names() -> None:
    """.dockerignore lets through what the first stage copies, and nothing else."""
    copied = set(re.findall(r"^COPY ((?:\S+ )+)\S+$", stages()["wheel"], re.MULTILINE)[0].split())
    copied |= {"src"}
    allowed = {line[1:] for line in text(".dockerignore").splitlines() if line.startswith("!")}
    assert allowed == {name.removeprefix("./") for name in copied}


def test_the_service_of_compose_is_called_with_options_that_exist() -> None:
    service = text("compose.yaml").partition("  service:\n")[2].partition("\n  milvus:\n")[0]
    words = re.findall(r"^      - (\S+)$", service.partition("command:\n")[2].partition("    ports:")[0], re.MULTILINE)
    assert words[0] == "serve"
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert options >= {"--model", "--token-file", "--audit"}
    assert options <= known_options(words)
    assert 'ports: ["127.0.0.1:' in service


def test_containers_have_as_long_to_stop_as_the_service_takes() -> None:
    for file, found in (("compose.yaml", r"stop_grace_period: (\d+)s"), ("docs/deploy.md", r"`--time (\d+)`")):
        grace = re.search(found, text(file))
        assert grace, file
        assert int(grace[1]) > GRACE, file


def test_the_containers_of_the_page_are_called_with_commands_that_exist() -> None:
    page = text("docs/deploy.md").replace("\\\n", " ")
    lines = [
        line.split(" #")[0] for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()
    ]
    called = 0
    for line in lines:
        words = shlex.split(line)
        start = next((i + 1 for i, word in enumerate(words) if word in {"reidkit:cpu", "service"}), 0)
        if words[:2] not in (["docker", "run"], ["docker", "compose"]) or not start or start == len(words):
            continue
        inner = words[start:]
        assert {word for word in inner if word.startswith("--")} <= known_options(inner), line
        called += 1
    assert called >= 5


def test_the_workflow_tests_every_python_that_is_supported() -> None:
    versions = re.search(r"python: \[(.*?)\]", text(".github/workflows/ci.yml"))
    assert versions is not None
    tested = re.findall(r'"([\d.]+)"', versions[1])
    named = [line.split(" :: ")[-1] for line in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", line)]
    assert tested == named
    assert PROJECT["requires-python"] == f">={tested[0]}"
    assert ".ci/run" in text(".github/workflows/ci.yml")


def test_one_version_everywhere() -> None:
    assert PROJECT["dynamic"] == ["version"]
    assert f"\nversion: {__version__}\n" in text("CITATION.cff")


def test_the_changes_of_this_version_name_every_command_and_every_public_name() -> None:
    changes = text("CHANGELOG.md")
    assert re.findall(r"^## \[([\d.]+)\] - \d{4}-\d\d-\d\d$", changes, re.MULTILINE)[0] == __version__
    named = {word for code in re.findall(r"`([^`\n]+)`", changes) for word in re.split(r"[ .]", code)}
    assert not set(COMMANDS) - named
    assert not {name for name in reidkit.__all__ if name != "__version__"} - named


def made(**fields: str) -> Distribution:
    class Made(Distribution):
        def read_text(self, filename: str) -> str | None:
            lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
            return "\n".join(["Metadata-Version: 2.4", "Name: a", *lines]) if filename == "METADATA" else None

        def locate_file(self, path: Any) -> Any:
            raise NotImplementedError

    return Made()


def test_a_licence_by_hand() -> None:
    assert licences.licence(made(License_Expression="MIT", License="other")) == "MIT"
    assert licences.licence(made(Classifier="License :: OSI Approved :: BSD License")) == "BSD License"
    assert licences.licence(made(License="Apache 2.0")) == "Apache 2.0"
    assert licences.licence(made()) == "not said"


def test_every_package_that_is_asked_for_is_on_the_page_of_licences() -> None:
    page = text("docs/licences.md")
    groups = [wanted for extra, wanted in PROJECT["optional-dependencies"].items() if extra not in licences.TOOLS]
    names = {
        canonicalize_name(Requirement(line).name) for group in [PROJECT["dependencies"], *groups] for line in group
    }
    assert not [name for name in names if f"`{name}`" not in page]


def test_closure_follows_what_packages_ask_for() -> None:
    found, missing = licences.closure(["jinja2>=3", "no-such-package"])
    assert found == {"jinja2", "markupsafe"}
    assert missing == {"no-such-package"}


def test_libraries_in_wheels_by_hand() -> None:
    match = licences.LINKED.match("libxcb-shm-0be6dfbf.so.0.0.0")
    assert match is not None
    assert match[1] == "libxcb-shm"
    assert licences.LINKED.match("README.txt") is None


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("words", "gallery", "run"),
    [([], "demo/people.db", "demo/run"), (["DATA=my/shop/"], "demo/people-shop.db", "demo/run-shop")],
)
def test_make_serves_a_gallery_of_its_own_for_each_data_set(words: list[str], gallery: str, run: str) -> None:
    """Each has a model of its own, whose features only its own gallery takes."""
    told = subprocess.run(["make", "-n", "serve", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert f'serve "{gallery}" --model "{run}"' in told
    assert f'gallery add "{gallery}"' in told
