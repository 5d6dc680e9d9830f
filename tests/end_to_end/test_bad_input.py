"""Wrong input, through the real command: one line that names the thing and the remedy, and the right status."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.commands import training, until
from tests.end_to_end.faults import NAME
from tests.noise import TRAIN, draw_noise

if TYPE_CHECKING:
    from tests.commands import Nursery, Result


def expect(result: Result, status: int, *words: str) -> None:
    line = result.line()
    assert result.status == status, line
    assert all(word in line for word in words), line


@pytest.fixture(scope="module")
def run(nursery: Nursery, noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to read and not to change."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert nursery.run(*training(noise, folder)).status == 0
    return folder


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture
def own(noise: Path, tmp_path: Path) -> Path:
    """A data set to spoil."""
    return Path(shutil.copytree(noise, tmp_path / "own"))


def images(folder: Path) -> list[Path]:
    return sorted((folder / TRAIN).iterdir())


def people_only(data: Path, folder: Path) -> Path:
    """The training images of `data`, laid out as a folder per person, and nothing else."""
    for path in images(data):
        (folder / "train" / path.name[:4]).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / "train" / path.name[:4])
    return folder


class TestData:
    def test_no_such_folder(self, nursery: Nursery, tmp_path: Path) -> None:
        for words in (training(tmp_path / "gone", tmp_path / "run"), ["data", str(tmp_path / "gone")]):
            expect(nursery.run(*words), 1, f"{tmp_path / 'gone'} is not there")
        assert not (tmp_path / "run").exists()

    def test_a_folder_with_no_images(self, nursery: Nursery, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        expect(nursery.run(*training(tmp_path / "empty", tmp_path / "run")), 1, "empty holds no images")
        expect(nursery.run("data", tmp_path / "empty"), 1, "empty holds no images")

    def test_a_text_file_named_jpg(self, nursery: Nursery, own: Path, tmp_path: Path) -> None:
        images(own)[3].write_text("this is no image")
        words = training(own, tmp_path / "run")
        expect(
            nursery.run(*words), 1, "1 of 32 images cannot be read", images(own)[3].name, "text", "--skip-unreadable"
        )
        assert not (tmp_path / "run").exists()
        assert nursery.run(*words, "--skip-unreadable").status == 0

    def test_an_image_cut_in_half(self, nursery: Nursery, own: Path, tmp_path: Path) -> None:
        whole = images(own)[0].read_bytes()
        images(own)[0].write_bytes(whole[: len(whole) // 2])
        expect(nursery.run(*training(own, tmp_path / "run")), 1, "1 of 32 images", images(own)[0].name, "damaged")

    def test_a_broken_image_to_judge_on_is_said_before_training(
        self, nursery: Nursery, own: Path, tmp_path: Path
    ) -> None:
        broken = next((own / "bounding_box_test").iterdir())
        broken.write_bytes(b"")
        expect(nursery.run(*training(own, tmp_path / "run")), 1, "1 of 16 images cannot be read", broken.name, "empty")
        assert not (tmp_path / "run" / "log.jsonl").exists()

    def test_one_id_only(self, nursery: Nursery, tmp_path: Path) -> None:
        data = draw_noise(tmp_path / "one", people=[7])
        expect(nursery.run(*training(data, tmp_path / "run")), 1, "show 1 id", "give images of two ids")

    def test_fewer_ids_than_a_batch_takes(self, nursery: Nursery, tmp_path: Path) -> None:
        data = draw_noise(tmp_path / "three", people=[7, 8, 9])
        expect(nursery.run(*training(data, tmp_path / "run")), 1, "3 ids and a batch takes 4", "--set batch.ids")

    def test_the_same_data_twice(self, nursery: Nursery, noise: Path, tmp_path: Path) -> None:
        expect(nursery.run(*training(noise, tmp_path / "run"), "--data", noise), 1, "name each only once")

    def test_validation_data_without_queries(self, nursery: Nursery, noise: Path, tmp_path: Path) -> None:
        only = people_only(noise, tmp_path / "only")
        words = training(noise, tmp_path / "run")
        expect(nursery.run(*words, "--val-data", only), 1, "has no query images to evaluate with")
        assert not (tmp_path / "run").exists()

    def test_only_training_images_train_and_say_that_there_is_nothing_to_judge(
        self, nursery: Nursery, noise: Path, tmp_path: Path
    ) -> None:
        only = people_only(noise, tmp_path / "only")
        result = nursery.run(*training(only, tmp_path / "run"), "--evaluate-every", "1", "--json")
        assert result.status == 0, result.err
        assert "has no query images to evaluate with" in result.err
        assert set(result.json()) == {"run", "model", "warnings"}
        assert "nothing" in (tmp_path / "run" / "report.html").read_text()

    def test_nobody_to_find_is_said_before_training(self, nursery: Nursery, noise: Path, tmp_path: Path) -> None:
        strangers = draw_noise(tmp_path / "strangers")
        for path in (strangers / "query").iterdir():
            path.rename(path.with_name("9" + path.name[1:]))
        words = [*training(noise, tmp_path / "run"), "--val-data", strangers]
        expect(nursery.run(*words), 1, "query and gallery share no id")
        assert not (tmp_path / "run").exists()


class TestWords:
    @pytest.mark.parametrize(
        ("words", "part"),
        [
            (["trian"], "did you mean `reidkit train`?"),
            (["train"], "Missing argument"),
            (["train", "strong-baseline"], "--data"),
            (["train", "strong-basline", "--data", "x"], "did you mean strong-baseline?"),
            (["train", "nosuch.json", "--data", "x"], "nosuch.json cannot be read"),
            (["train", "strong-baseline", "--data", "x", "--sed", "3"], "--sed"),
            (["train", "strong-baseline", "--data", "x", "--seed", "three"], "--seed"),
            (["train", "strong-baseline", "--data", "x", "--seed", "-1"], "--seed"),
            (["train", "strong-baseline", "--data", "x", "--seed", "99999999999999999999999"], "seed"),
            (["train", "strong-baseline", "--data", "x", "--save-every", "0"], "save-every"),
            (["train", "strong-baseline", "--data", "x", "--set", "optim.rl=1"], "did you mean optim.lr?"),
            (["train", "strong-baseline", "--data", "x", "--set", "optim.lr"], "KEY=VALUE"),
            (["train", "strong-baseline", "--data", "x", "--set", "optim.weight_decay=-1"], "weight_decay"),
            (["train", "strong-baseline", "--data", "x", "--device", "cuda"], "no GPU"),
            (["train", "strong-baseline", "--data", "x", "--device", "tpu"], "auto, cpu or cuda"),
            (["train", "strong-baseline", "--data", "x", "--device", "meta"], "auto, cpu or cuda"),
            (["train", "strong-baseline", "--data", "x", "--precision", "fp8"], "fp8"),
            (["train", "strong-baseline", "--data", ".", "--format", "market"], "there is no format market"),
            (["train", "strong-baseline", "--data", "x", "--cache", "c", "--no-cache"], "exclude each other"),
            (["train", "strong-baseline", "--data", "x", "--tensorboard"], "pip install tensorboard"),
            (["evaluate", "x", "--data", "y", "--batch", "-1"], "batch"),
            (["evaluate", "x", "--data", "y", "--feature", "middle"], "middle"),
            (["score"], "Missing argument"),
            (["synth", "out", "--ids", "0"], "ids must be"),
            (["recipes", "nosuch"], "there is no recipe nosuch"),
        ],
        ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
    )
    def test_wrong_usage(self, nursery: Nursery, words: list[str], part: str) -> None:
        if "cuda" in words and _has_gpu():
            pytest.skip("this machine has a GPU")
        if "--tensorboard" in words and _has_tensorboard():
            pytest.skip("TensorBoard is installed")
        expect(nursery.run(*words), 2, part)

    def test_without_a_word_it_says_what_there_is(self, nursery: Nursery) -> None:
        result = nursery.run()
        assert (result.status, result.err) == (0, "")
        assert result.out == nursery.run("--help").out
        assert "evaluate" in result.out
        assert len(result.out.splitlines()) > 8


class TestModels:
    def test_weights_of_another_network(self, nursery: Nursery, noise: Path, run: Path, tmp_path: Path) -> None:
        words = [*training(noise, tmp_path / "x", network__backbone="resnet34"), "--weights"]
        expect(nursery.run(*words, run / "model.safetensors"), 1, "does not fit the network", "--set network.backbone")
        expect(nursery.run(*words, tmp_path / "none.pth"), 1, "none.pth is not there")
        expect(nursery.run(*words, run / "report.html"), 1, "report.html is a web page, not weights")
        assert not (tmp_path / "x").exists()

    def test_no_model_there(self, nursery: Nursery, noise: Path, tmp_path: Path) -> None:
        expect(nursery.run("evaluate", tmp_path / "none", "--data", noise), 1, "none is not there")
        expect(nursery.run("evaluate", tmp_path, "--data", noise), 1, "holds no model.safetensors", "finished run")

    def test_a_damaged_model(self, nursery: Nursery, noise: Path, own_run: Path) -> None:
        model = own_run / "model.safetensors"
        whole = bytearray(model.read_bytes())
        whole[-100] ^= 1
        model.write_bytes(whole)
        expect(nursery.run("evaluate", own_run, "--data", noise, "--no-cache"), 1, "is damaged", "copy it again")
        model.write_bytes(whole[: len(whole) // 2])
        expect(nursery.run("evaluate", own_run, "--data", noise, "--no-cache"), 1, "not a whole safetensors file")

    def test_features_that_are_none(self, nursery: Nursery, run: Path, tmp_path: Path) -> None:
        good, bad = tmp_path / "good.npz", tmp_path / "bad.npz"
        np.savez(good, vectors=np.eye(4, dtype=np.float32), pids=np.arange(4), camids=np.arange(4))
        np.savez(bad, pixels=np.eye(4))
        expect(nursery.run("score", run / "report.html", good), 1, "report.html", "no features file")
        expect(nursery.run("score", good, bad), 1, "bad.npz has no vectors")
        expect(nursery.run("score", good, tmp_path / "none.npz"), 1, "none.npz is not there")
        expect(
            nursery.run("score", good, tmp_path), 1, "is a folder and no features file", "reidkit embed MODEL IMAGES"
        )
        expect(nursery.run("score", good, good), 1, "every true match is the query's own image", "a second image")

    def test_a_report_that_cannot_be_written(self, nursery: Nursery, noise: Path, run: Path, tmp_path: Path) -> None:
        """Where that is known before, nothing is begun; where the disk is full in the end, scores are shown."""
        (tmp_path / "file").touch()
        words = ["evaluate", run, "--data", noise, "--no-cache", "--report"]
        result = nursery.run(*words, tmp_path / "file" / "page.html")
        expect(result, 1, "page.html cannot be written (Not a directory)")
        assert result.out == ""
        result = nursery.run(*words, tmp_path / "page.html", before=f"{NAME}:no_room_for_anything")
        expect(result, 1, "page.html cannot be written (File too large)")
        assert "rank-1" in result.out


class TestFolders:
    def test_a_run_is_not_written_over(self, nursery: Nursery, noise: Path, own_run: Path) -> None:
        before = {path.name: path.read_bytes() for path in own_run.iterdir()}
        expect(nursery.run(*training(noise, own_run)), 2, "holds a run already", "(--resume, --out)")
        assert {path.name: path.read_bytes() for path in own_run.iterdir()} == before

    def test_a_run_begun_otherwise_is_not_gone_on_with(
        self, nursery: Nursery, noise: Path, own_run: Path, own: Path
    ) -> None:
        before = {path.name: path.read_bytes() for path in own_run.iterdir()}
        images(own)[0].unlink()
        for words, part in (
            (training(noise, own_run, optim__epochs=9), "optim.epochs: 9, not 3"),
            ([*training(noise, own_run), "--seed", "5"], "seed: 5, not 0"),
            (training(own, own_run), "its training images were others"),
            ([*training(noise, own_run), "--weights", str(own_run / "model.safetensors")], "weights: "),
        ):
            expect(nursery.run(*words, "--resume"), 2, "was begun otherwise", part, "choose another folder")
        assert {path.name: path.read_bytes() for path in own_run.iterdir()} == before

    def test_a_damaged_state(self, nursery: Nursery, noise: Path, own_run: Path) -> None:
        state = own_run / "state.pt"
        state.write_bytes(state.read_bytes()[:1000])
        expect(nursery.run(*training(noise, own_run), "--resume"), 1, "state.pt cannot be read", "delete it")

    def test_two_processes_in_one_folder(self, nursery: Nursery, noise: Path, tmp_path: Path) -> None:
        words = training(noise, tmp_path / "run")
        first = nursery.start(*words, before=f"{NAME}:held_steps", folder=tmp_path)
        until((tmp_path / "run" / "log.jsonl").exists)
        expect(nursery.run(*words, "--resume"), 1, "another process is training in")
        (tmp_path / "go").touch()
        assert first.wait().status == 0

    def test_a_read_only_folder(self, nursery: Nursery, noise: Path, tmp_path: Path) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o555)
        without = f"{NAME}:no_privileges"
        expect(nursery.run(*training(noise, closed), before=without), 1, "closed cannot be written (Permission denied)")
        inner = nursery.run(*training(noise, closed / "run"), before=without)
        expect(inner, 1, "run cannot be written", "choose another folder")

    def test_a_file_for_a_folder(self, nursery: Nursery, noise: Path, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        expect(nursery.run(*training(noise, tmp_path / "file")), 1, "file cannot be written", "choose another folder")

    def test_a_user_without_a_home(self, nursery: Nursery, noise: Path, tmp_path: Path) -> None:
        """Decoded images go to a folder for temporary files, which is said once."""
        words = [word for word in training(noise, tmp_path / "run") if word != "--no-cache"]
        result = nursery.run(*words, before=f"{NAME}:no_home")
        assert result.status == 0, result.err
        assert result.err.count("there is no home folder") == 1


class TestRoom:
    """Every file that a run writes, on a disk that is full."""

    def test_for_the_log(self, nursery: Nursery, noise: Path, tmp_path: Path) -> None:
        result = nursery.run(*training(noise, tmp_path / "run"), before=f"{NAME}:no_room_for_anything")
        expect(result, 1, "cannot be written (File too large): make room")

    def test_for_the_state(self, nursery: Nursery, noise: Path, tmp_path: Path) -> None:
        words = [*training(noise, tmp_path / "run"), "--save-every", "1"]
        expect(
            nursery.run(*words, before=f"{NAME}:no_room_for_states"), 1, "state.pt cannot be written (File too large)"
        )
        assert not list((tmp_path / "run").glob("*.partial"))
        assert nursery.run(*words, "--resume").status == 0

    def test_for_the_weights(self, nursery: Nursery, noise: Path, own_run: Path) -> None:
        (own_run / "model.safetensors").unlink()
        state, words = (own_run / "state.pt").read_bytes(), [*training(noise, own_run), "--resume"]
        refused = nursery.run(*words, before=f"{NAME}:no_room_for_weights")
        expect(refused, 1, "model.safetensors cannot be written (File too large)")
        assert (own_run / "state.pt").read_bytes() == state
        assert not list(own_run.glob("*.partial"))
        assert nursery.run(*words).status == 0

    def test_for_the_cache(self, nursery: Nursery, noise: Path, tmp_path: Path) -> None:
        words = [word for word in training(noise, tmp_path / "run") if word != "--no-cache"]
        refused = nursery.run(*words, "--cache", tmp_path / "cache", before=f"{NAME}:no_room_for_images")
        expect(refused, 1, "no room in", "--cache", "--no-cache")

    def test_for_numbers_in_memory(self, nursery: Nursery, noise: Path, tmp_path: Path) -> None:
        result = nursery.run(*training(noise, tmp_path / "run"), before=f"{NAME}:no_memory")
        expect(result, 1, "out of memory", "--set batch.ids")

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
    def test_for_stdout(self, nursery: Nursery) -> None:
        result = nursery.run("recipes", out="/dev/full")
        expect(result, 1, "No space left on device")


class TestNumbers:
    def test_a_rate_beyond_reason(self, nursery: Nursery, noise: Path, tmp_path: Path) -> None:
        result = nursery.run(*training(noise, tmp_path / "run", optim__lr=1e9))
        expect(
            result, 1, "the loss is not finite at step", "triplet", "no checkpoint was written yet", "--set optim.lr"
        )
        assert not (tmp_path / "run" / "model.safetensors").exists()
        again = nursery.run(*training(noise, tmp_path / "run", optim__lr=1e-3, optim__epochs=1, optim__drops=[]))
        assert again.status == 0, again.err  # the remedy, in the same folder


class TestNames:
    def test_names_that_are_not_text(self, nursery: Nursery, noise: Path, tmp_path: Path) -> None:
        folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xff n"))
        result = nursery.run(*training(noise, folder))
        assert result.status == 0, result.err
        assert "model.safetensors" in result.out
        assert nursery.run(*training(noise, folder), "--resume", "--json").json()["map"] >= 0


class TestPipes:
    """Processes of their own from the start: what the interpreter does at its end counts here."""

    def test_a_pipe_closed_early(self) -> None:
        command = [sys.executable, "-m", "reidkit", "recipes", "strong-baseline"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == b""
            process.wait()
        assert process.returncode == 1

    def test_expected_failures_of_a_fresh_process(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "reidkit", "train", "strong-baseline", "--data", f"{tmp_path}/none"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"reidkit: {tmp_path / 'none'} is not there: give the folder of a data set\n"


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _has_tensorboard() -> bool:
    import importlib.util

    return importlib.util.find_spec("tensorboard") is not None
