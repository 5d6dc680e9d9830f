"""What befalls a run while it is under way: it ends in a sentence, and a second call ends as an unbroken run does."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reidkit.train.log import TIMINGS, read
from tests.commands import SIZE, settings, training, until
from tests.end_to_end.faults import NAME
from tests.noise import TRAIN, draw_noise
from tests.server import served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.commands import Nursery, Result


def left(folder: Path) -> tuple[bytes, list[dict[str, object]]]:
    """Weights, and the log without what differs each time."""
    rows = [{k: v for k, v in row.items() if k not in TIMINGS} for row in read(folder / "log.jsonl")]
    return (folder / "model.safetensors").read_bytes(), rows


def cached(words: list[str], folder: Path) -> list[str]:
    """The same training with an image cache."""
    return [word for word in words if word != "--no-cache"] + ["--cache", str(folder)]


def expect(result: Result, *words: str) -> None:
    assert result.status == 1, result.err
    line = result.line()
    assert all(word in line for word in words), line


def steps(folder: Path) -> int:
    """How many steps a run has taken."""
    return sum(row["kind"] == "step" for row in read(folder / "log.jsonl"))


def spoilt(result: Result, image: str) -> int:
    """The step at which a run was saved that could not read an image."""
    expect(result, image, "repair", "go on with: reidkit train", "--resume")
    found = re.search(r"; saved at step (\d+) of epoch \d, go on with: ", result.line())
    assert found, result.line()
    return int(found[1])


@pytest.fixture(scope="module", autouse=True)
def _no_pictures(nursery: Nursery) -> Iterator[None]:
    with nursery.without_pictures():
        yield


@pytest.fixture(scope="module")
def peace(nursery: Nursery, noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing befell."""
    folder = tmp_path_factory.mktemp("peace") / "run"
    assert nursery.run(*training(noise, folder), "--save-every", "1").status == 0
    return folder


@pytest.fixture
def own(noise: Path, tmp_path: Path) -> Path:
    """A data set to spoil."""
    return Path(shutil.copytree(noise, tmp_path / "own"))


class TestImages:
    @pytest.mark.parametrize("spoil", [lambda path: os.truncate(path, 300), Path.unlink], ids=["cut", "gone"])
    def test_one_is_spoilt_and_repaired(
        self, nursery: Nursery, own: Path, peace: Path, tmp_path: Path, spoil: Callable[[Path], None]
    ) -> None:
        """No step before it is lost, though no checkpoint was due."""
        image = sorted((own / TRAIN).iterdir())[5]
        whole, words = image.read_bytes(), training(own, tmp_path / "run")
        command = nursery.start(*words, before=f"{NAME}:held_steps", folder=tmp_path)
        until((tmp_path / "run" / "log.jsonl").exists)
        spoil(image)
        (tmp_path / "go").touch()
        step = spoilt(command.wait(), image.name)
        assert steps(tmp_path / "run") == step
        assert not (tmp_path / "run" / "model.safetensors").exists()
        image.write_bytes(whole)
        result = nursery.run(*words, "--resume", before=f"{NAME}:loud_steps")
        assert result.status == 0, result.err
        assert result.err.count("a step was taken") == steps(peace) - step
        assert left(tmp_path / "run") == left(peace)

    def test_one_of_the_gallery_is_spoilt(self, nursery: Nursery, own: Path, peace: Path, tmp_path: Path) -> None:
        """It is met when the first epoch is judged; the epoch is not taken again."""
        image = min((own / "bounding_box_test").iterdir())
        whole, words = image.read_bytes(), [*training(own, tmp_path / "run"), "--evaluate-every", "1"]
        unbroken = [*training(own, tmp_path / "unbroken"), "--evaluate-every", "1"]
        assert nursery.run(*unbroken).status == 0
        command = nursery.start(*words, before=f"{NAME}:held_later", folder=tmp_path)
        until(lambda: bool(read(tmp_path / "run" / "log.jsonl")))
        image.write_bytes(b"")
        (tmp_path / "go").touch()
        step = spoilt(command.wait(), image.name)
        assert step % (steps(peace) // 3) == 0
        image.write_bytes(whole)
        result = nursery.run(*words, "--resume", before=f"{NAME}:loud_steps")
        assert result.err.count("a step was taken") == steps(peace) - step
        assert left(tmp_path / "run") == left(tmp_path / "unbroken")

    def test_one_is_spoilt_where_broken_ones_are_left_out(self, nursery: Nursery, own: Path, tmp_path: Path) -> None:
        image = sorted((own / TRAIN).iterdir())[5]
        words = [*training(own, tmp_path / "run"), "--skip-unreadable"]
        command = nursery.start(*words, before=f"{NAME}:held_steps", folder=tmp_path)
        until((tmp_path / "run" / "log.jsonl").exists)
        image.write_bytes(b"")
        (tmp_path / "go").touch()
        result = command.wait()
        assert result.status == 0, result.err
        assert result.err.count(image.name) == 1
        assert "another image of the same id replaces it" in result.err

    def test_one_is_spoilt_and_there_is_no_room_for_the_state(
        self, nursery: Nursery, own: Path, peace: Path, tmp_path: Path
    ) -> None:
        """Both are said, and the last checkpoint stays."""
        image = sorted((own / TRAIN).iterdir())[5]
        whole, words = image.read_bytes(), [*training(own, tmp_path / "run"), "--save-every", "1"]
        result = nursery.run(*words, before=f"{NAME}:a_spoilt_image_and_no_room_for_the_next_state")
        expect(result, image.name, "nor could the run be saved", "state.pt cannot be written", "--resume")
        image.write_bytes(whole)
        assert nursery.run(*words, "--resume").status == 0
        assert left(tmp_path / "run") == left(peace)

    def test_one_that_was_decoded_already_may_go(
        self, nursery: Nursery, own: Path, peace: Path, tmp_path: Path
    ) -> None:
        words = cached([*training(own, tmp_path / "run"), "--save-every", "1"], tmp_path / "cache")
        command = nursery.start(*words, before=f"{NAME}:held_steps", folder=tmp_path)
        until((tmp_path / "run" / "log.jsonl").exists)
        for image in (own / TRAIN).iterdir():
            image.write_bytes(b"")
        (tmp_path / "go").touch()
        result = command.wait()
        assert result.status == 0, result.err
        assert left(tmp_path / "run") == left(peace)


class TestUrls:
    def test_the_server_is_gone_for_a_while(self, nursery: Nursery, noise: Path, tmp_path: Path) -> None:
        """Longer than a reader has patience; the steps before are kept."""
        pytest.importorskip("aiohttp", reason="URLs of HTTP need aiohttp: pip install fsspec aiohttp")
        assert nursery.run("shard", noise, tmp_path / "shards").status == 0
        with served(tmp_path / "shards") as site:
            assert nursery.run(*training(Path(site.url), tmp_path / "unbroken", optim__epochs=9)).status == 0
            words = training(Path(site.url), tmp_path / "run", optim__epochs=9)
            command = nursery.start(*words, before=f"{NAME}:held_later", folder=tmp_path)
            until(lambda: bool(read(tmp_path / "run" / "log.jsonl")))
            site.gone = True
            (tmp_path / "go").touch()
            expect(command.wait(), ".tar cannot be read: the server answers 503", "; saved at step ", "--resume")
            step = steps(tmp_path / "run")
            assert step > 0
            site.gone = False
            result = nursery.run(*words, "--resume", before=f"{NAME}:loud_steps")
            assert result.status == 0, result.err
        assert result.err.count("a step was taken") == steps(tmp_path / "unbroken") - step
        assert left(tmp_path / "run") == left(tmp_path / "unbroken")


class TestCache:
    def test_cut_short_while_it_is_in_use(self, nursery: Nursery, noise: Path, peace: Path, tmp_path: Path) -> None:
        """The system ends the process by SIGBUS. The cache is made anew by the next call."""
        words = cached([*training(noise, tmp_path / "run"), "--save-every", "1"], tmp_path / "cache")
        command = nursery.start(*words, before=f"{NAME}:held_steps", folder=tmp_path)
        until((tmp_path / "run" / "log.jsonl").exists)
        for file in (tmp_path / "cache").glob("*.images"):
            os.truncate(file, 0)
        (tmp_path / "go").touch()
        assert command.wait().status == -signal.SIGBUS
        assert nursery.run(*words, "--resume").status == 0
        assert left(tmp_path / "run") == left(peace)

    def test_of_images_that_have_changed_since(self, nursery: Nursery, own: Path, peace: Path, tmp_path: Path) -> None:
        assert nursery.run(*cached(training(own, tmp_path / "before"), tmp_path / "cache")).status == 0
        paths = sorted((own / TRAIN).iterdir())
        for path, content in zip(paths, [path.read_bytes() for path in reversed(paths)], strict=True):
            path.write_bytes(content)
        assert nursery.run(*cached(training(own, tmp_path / "after"), tmp_path / "cache")).status == 0
        assert nursery.run(*training(own, tmp_path / "without")).status == 0
        before, after, without = (left(tmp_path / name) for name in ("before", "after", "without"))
        assert before[0] == left(peace)[0]
        assert after == without
        assert after != before


class TestRoom:
    @pytest.mark.parametrize(
        ("fault", "file"), [("no_room_for_the_log_later", "log.jsonl"), ("no_room_for_the_next_state", "state.pt")]
    )
    def test_runs_out_after_the_first_checkpoint(
        self, nursery: Nursery, noise: Path, peace: Path, tmp_path: Path, fault: str, file: str
    ) -> None:
        words = [*training(noise, tmp_path / "run"), "--save-every", "1"]
        expect(nursery.run(*words, before=f"{NAME}:{fault}"), f"{file} cannot be written (File too large)", "--resume")
        assert (tmp_path / "run" / "state.pt").exists()
        assert not list((tmp_path / "run").glob("*.partial"))
        result = nursery.run(*words, "--resume")
        assert result.status == 0, result.err
        assert "epoch 1/3" not in result.err, "the first epoch is not done again"
        assert left(tmp_path / "run") == left(peace)

    def test_scores_are_shown_though_the_report_cannot_be_written(
        self, nursery: Nursery, noise: Path, peace: Path, tmp_path: Path
    ) -> None:
        run = Path(shutil.copytree(peace, tmp_path / "run"))
        (run / "report.html").unlink()
        (run / "report.html").mkdir()
        result = nursery.run(*training(noise, run), "--save-every", "1", "--resume")
        expect(result, "report.html cannot be written")
        assert "rank-1" in result.out


class TestStates:
    def test_of_another_recipe(self, nursery: Nursery, noise: Path, peace: Path, tmp_path: Path) -> None:
        words = training(noise, tmp_path / "run", optim__lr=1e-3)
        assert nursery.run(*words).status == 0
        shutil.copy(peace / "state.pt", tmp_path / "run" / "state.pt")
        before = left(tmp_path / "run")
        expect(nursery.run(*words, "--resume"), "state.pt belongs to another recipe", "another folder")
        assert left(tmp_path / "run") == before

    def test_of_other_people(self, nursery: Nursery, peace: Path, tmp_path: Path) -> None:
        words = training(draw_noise(tmp_path / "seven", people=range(1, 8)), tmp_path / "run")
        assert nursery.run(*words).status == 0
        shutil.copy(peace / "state.pt", tmp_path / "run" / "state.pt")
        expect(nursery.run(*words, "--resume"), "state.pt cannot be read", "delete it to start over")


class TestWorkers:
    def test_one_that_draws_is_killed(self, nursery: Nursery, tmp_path: Path) -> None:
        command = nursery.start("synth", tmp_path / "set", "--ids", "2000", "--workers", "2")
        until(lambda: any(child in _drawing() for child in _children(command.pid)))
        os.kill(next(child for child in _children(command.pid) if child in _drawing()), signal.SIGKILL)
        expect(command.wait(), "a drawing process died", "--workers")
        assert not (tmp_path / "set").exists()

    def test_one_that_trains_is_killed(self, nursery: Nursery, noise: Path, tmp_path: Path) -> None:
        """The other goes on; the table says what happened, and a second call trains what is missing."""
        rows = ["--rows", "fi-cosine", "--seeds", "2", "--processes", "2", "--no-cache", "--data", f"noise={noise}"]
        sets = [word for setting in settings(SIZE | {"optim.epochs": 20}) for word in ("--set", setting)]
        words = ["paper", "table2", "--out", tmp_path / "paper", *rows, *sets]
        command = nursery.start(*words)
        runs = tmp_path / "paper" / "runs"
        until(lambda: any(runs.glob("*/log.jsonl")))  # long before the last of its 20 epochs
        os.kill(_children(command.pid)[0], signal.SIGKILL)
        expect(command.wait(), "1 run failed", "killed", "memory")
        assert len(list(runs.glob("*/model.safetensors"))) == 1
        assert nursery.run(*words).status == 0
        assert len(list(runs.glob("*/model.safetensors"))) == 2


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def _drawing() -> list[int]:
    """Processes that multiprocessing has spawned to work, as their words say."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes() if folder.name.isdigit() else b""
        except OSError:
            continue
        if b"spawn_main" in words:
            found.append(int(folder.name))
    return found
