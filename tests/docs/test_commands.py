"""The commands of the pages, one after the other as they stand there, on a data set of noise with a tiny network.

What a page writes is changed in three places only: `WRITTEN`, `SMALLER` and `MORE`. `NOT_RUN` lists the commands
that no test can run as they stand. A new command of a page is run, and fails here unless it works or is listed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from reidkit.model.network import build_network
from reidkit.model.weights import save_model
from reidkit.recipe import override
from reidkit.recipes import get_recipe
from reidkit.serve.audit import AuditLog
from tests.commands import SIZE, settings
from tests.encoder.files import mean_colour, to_openvino
from tests.model.convert.families import fast_reid_bot
from tests.noise import draw_noise
from tests.video.detectors.files import constant_detector
from tests.video.walkers import video

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.commands import Nursery

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"tutorial.md"}
"""Pages whose commands another test runs."""
PAGES = [page for page in sorted((*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))) if page.name not in ELSEWHERE]

NOT_RUN = {
    r"make ": "installs from the network, trains for minutes",
    r"(docker|sudo) ": "needs Docker",
    r"pip ": "needs the network",
    r"(curl|schemathesis) ": "needs a service that runs: tests/serve",
    r"[A-Z_=:\w]*\s?.*python (-m )?benchmarks[/.]": "measures, or needs the authors' program: tests/benchmarks",
    r"reidkit paper beyond ": "trains networks of every kind for minutes: tests/experiments/test_beyond_table.py",
    r"torchrun ": "starts processes: tests/end_to_end/test_processes.py",
    r"reidkit train .*--processes": "starts processes: tests/end_to_end/test_processes.py",
    r"reidkit serve (?!token )": "never ends: tests/cli/test_serve.py",
    r"reidkit .*milvus://": "needs Milvus: tests/gallery/test_milvus.py",
    r"reidkit export \S+ --calibration DIR --(int8|preset boxmot|format openvino)$": "takes seconds: tests/export",
    r"reidkit video (join|find photo)": "needs people seen at once, today: tests/video/test_find_commands.py",
    r"reidkit embed .*--ray": "needs a cluster: tests/test_ray_embedding.py",
}
"""Commands that are not run, by how they begin, and why."""

WRITTEN = {
    "--weights imagenet": "--weights resnet50.pth",  # they are fetched
    "s3://bucket/": "file://HERE/",
    "--seeds 3": "--seeds 1",
    "--videos 2 --seed 2": "--videos 2 --seed 2 --seconds 3 --workers 1",
    "0007_c1s1_000001_00.jpg,0009_c2s1_000026_00.jpg": "0011_c1s1_000000_00.jpg,0012_c1s1_000000_00.jpg",
    "cameras -name": "crops -name",
    "--data DIR --dim 128": "--data DIR --dim 2",
    "net-128.onnx": "net-2.onnx",
    "--dim 128": "--dim 16",
    "runs/strong-128": "runs/strong-16",
}
"""What a page writes, and what is run in its place."""

TRAINS = SIZE | {"optim.epochs": 1, "optim.drops": [], "optim.warmup_epochs": 0}
ADAPTS = {"adapt.eps": 0.55, "adapt.k1": 4, "adapt.k2": 2, "adapt.min_images": 2, "adapt.steps": 3, "batch.ids": 4}
SMALLER = {
    r"train|distil|paper table": settings(TRAINS),
    r"adapt": settings(ADAPTS | {"batch.images": 2, "optim.epochs": 1, "optim.drops": []}),
}
"""Settings that are added to the commands that begin so."""
MORE = {
    r"train small-maskreid": ["--out", "runs/small-maskreid-seed0"],  # as it would be called without settings
    r"synth people": ["--ids", "16", "--cameras", "2", "--images-per-camera", "2", "--workers", "1"],
    r"paper table1 (?!.*--rows)": ["--rows", "standard-baseline"],
    r"paper .*--small": ["--weights", "none"],  # without, a start is trained for ten minutes
}
"""Options that are added to the commands that begin so."""


def commands(page: Path) -> list[str]:
    """The lines of a page's blocks of shell, in their order; a line that goes on is one."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = "\n".join(re.findall(r"```(?:sh|bash)\n(.*?)```", text, re.DOTALL)).splitlines()
    return [line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines) if line]


def reason(line: str) -> str:
    """Why a command is not run; empty where it is."""
    return next((why for begin, why in NOT_RUN.items() if re.match(begin, line)), "")


def as_run(line: str, place: Path) -> list[str]:
    """The words behind `reidkit` of a command as it is run in a folder."""
    for written, instead in WRITTEN.items():
        line = line.replace(written, instead.replace("HERE", str(place)))
    words = [found for word in shlex.split(line.partition(" 2>> ")[0])[1:] for found in expand(word, place)]
    call = " ".join(words)
    words += [word for begin, added in MORE.items() if re.match(begin, call) for word in added]
    sets = [setting for begin, added in SMALLER.items() if re.match(begin, call) for setting in added]
    return words + [word for setting in sets for word in ("--set", setting)]


def expand(word: str, place: Path) -> list[str]:
    """What a shell makes of a word."""
    return [str(path.relative_to(place)) for path in sorted(place.glob(word))] if "*" in word else [word]


@pytest.fixture(scope="module")
def made(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the pages name."""
    folder = tmp_path_factory.mktemp("reader")
    market = draw_noise(folder / "DIR", people=range(1, 9), evaluated=range(11, 24))
    for name in ("Market-1501-v15.09.15", "my-cameras", "people", "demo/people"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copytree(market, folder / name)
    for number, name in enumerate(("a.jpg", "b.jpg", "who.jpg", "photo.png", "more/c.jpg", "FILE")):
        (folder / name).parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (64, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name, format="PNG" if number == 3 else "JPEG")
    shutil.copytree(market / "bounding_box_test", folder / "crops")
    for path in sorted((folder / "crops").iterdir()):
        (folder / "mine" / path.name[:4]).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / "mine" / path.name[:4])
    for part, split in (("bounding_box_train", "train"), ("query", "query"), ("bounding_box_test", "gallery")):
        for path in sorted((market / part).iterdir()):
            to = folder / "shop" / split / path.name[:4] / f"{path.stem}.jpg"
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to)
    AuditLog(folder / "people.db-audit").close()
    rows = [f"crops/{path.name},{int(path.name[:4])},{path.name[6]}" for path in sorted((folder / "crops").iterdir())]
    (folder / "crops.csv").write_text("\n".join(["path,pid,camid", *rows, ""]))
    write_models(folder)
    run = nursery.run(
        "train",
        "small-strong-baseline",
        "--data",
        "DIR",
        "--out",
        "runs/strong",
        "--no-cache",
        *(word for setting in settings(TRAINS) for word in ("--set", setting)),
        folder=folder,
    )
    assert run.status == 0, run.err
    for name in ("small", "mine", "theirs", "a", "b"):
        shutil.copytree(folder / "runs" / "strong", folder / "runs" / name)
    shutil.copytree(folder / "runs" / "strong", folder / "demo" / "run")
    for name in ("a", "b"):
        nursery.run("evaluate", "runs/strong", "--data", "DIR", "--per-query", f"{name}.csv", folder=folder)
    return folder


def write_models(folder: Path) -> None:
    """Weights and networks of others, a detector, features."""
    recipe = override(get_recipe("small-strong-baseline"), settings(SIZE))
    torch.manual_seed(0)
    torch.save(build_network(recipe.network).backbone.state_dict(), folder / "resnet50.pth")
    save_model(folder / "resnet50.safetensors", build_network(recipe.network), recipe)
    for name in ("model_final.pth", "resnet50_market.pth"):
        torch.save(fast_reid_bot().state, folder / name)
    for name in ("osnet_x0_25", "osnet", "net"):
        mean_colour(folder / f"{name}.onnx", size=(256, 128))
    to_openvino(folder / "net.onnx")
    seen = np.zeros((1, 5, 6), np.float32)
    seen[0, 0] = (10, 4, 30, 60, 0.9, 0)  # one person, who stands
    constant_detector(folder / "yolox.onnx", {"output0": seen})
    for name, frames in (("hall.mp4", 40), ("door.mp4", 30)):
        video(folder, name, frames)
    pids, camids = np.repeat(np.arange(1, 5), 2), np.tile([1, 2], 4)
    vectors = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
    for name in ("query", "gallery"):
        np.savez(folder / f"{name}.npz", vectors=vectors, pids=pids, camids=camids)


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy of that folder, for the commands of a page."""
    return Path(shutil.copytree(made, tmp_path / "here"))


def runnable() -> Iterator[Path]:
    for page in PAGES:
        if any(line.startswith("reidkit ") or "| reidkit " in line for line in commands(page) if not reason(line)):
            yield page


@pytest.mark.parametrize("page", list(runnable()), ids=lambda page: page.name)
def test_the_commands_of_a_page_one_after_the_other(page: Path, nursery: Nursery, place: Path) -> None:
    with nursery.without_pictures():
        for line in (line for line in commands(page) if not reason(line)):
            before, _, call = line.rpartition("| ")
            make_room(call, place)
            words = as_run(call, place)
            result = nursery.run(*words, folder=place, stdin=piped(before, place))
            assert result.status == 0, f"{page.name}: {line}\nrun as reidkit {shlex.join(words)}\n{result.err}"
            if appended := call.partition(" 2>> ")[2]:
                (place / appended.partition(" #")[0].strip()).write_text(result.err, encoding="utf-8")


def make_room(line: str, place: Path) -> None:
    """Remove the run that a command is about to train."""
    if found := re.match(r"reidkit (?:(?:train|distil|adapt|import) .*--out|synth) (\S+)", line):
        shutil.rmtree(place / found[1], ignore_errors=True)


def piped(before: str, place: Path) -> str:
    """The file of what the command before a pipe prints."""
    if not before:
        return os.devnull
    for written, instead in WRITTEN.items():
        before = before.replace(written, instead)
    with (place / "piped").open("wb") as file:
        subprocess.run(shlex.split(before), cwd=place, stdout=file, check=True)
    return str(place / "piped")


def test_every_command_is_run_or_says_why_not() -> None:
    for page in PAGES:
        for line in commands(page):
            program = line.rpartition("| ")[2].split()[0]
            assert program == "reidkit" or reason(line), f"{page.name}: {line}: run it here, or list it in NOT_RUN"


def test_reidkit_is_called_in_blocks_of_shell_only() -> None:
    for page in PAGES:
        for kind, block in re.findall(
            r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        ):
            if kind not in {"sh", "bash"}:
                assert not re.search(r"^reidkit (?!\S+:)", block, re.MULTILINE), f"{page.name}: make it a block of sh"


def test_no_exception_is_out_of_date() -> None:
    lines = [line for page in PAGES for line in commands(page)]
    for begin in NOT_RUN:
        assert any(re.match(begin, line) for line in lines), f"no page has a command that begins with {begin}"
    for written in WRITTEN:
        assert any(written in line for line in lines), f"no page writes {written}"


def test_a_command_by_hand(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(
        "```sh\nreidkit adapt runs/strong \\\n    --data crops   # learns\n\n# no command\n```\n"
    )
    assert commands(tmp_path / "page.md") == ["reidkit adapt runs/strong      --data crops"]
    assert as_run("reidkit reduce runs/strong --dim 128", tmp_path) == ["reduce", "runs/strong", "--dim", "16"]
    assert as_run("reidkit train strong-baseline --data DIR", tmp_path)[:5] == [
        "train",
        "strong-baseline",
        "--data",
        "DIR",
        "--set",
    ]
    assert reason("reidkit serve people.db").startswith("never ends")
    assert reason("reidkit serve token anna") == ""
