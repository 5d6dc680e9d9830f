"""Features by the workers of a Ray cluster on this machine, of which one is killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from functools import partial

import numpy as np
import pytest
from PIL import Image

from reidkit import embedding
from reidkit.embedding import embed_images
from reidkit.errors import DataError, RunError
from reidkit.metrics.features import read_features
from tests.colours import Colours, Other, Waiting

ray = pytest.importorskip("ray", reason="needs the extra ray")
pytestmark = pytest.mark.filterwarnings("default")  # Ray's own
PATIENCE = 240.0


@pytest.fixture(scope="module")
def cluster():
    """One of two processors, for all tests; its workers live in processes of their own."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_worker_niceness", "0")
        ray.init(
            address="local",  # also where another cluster runs
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            _node_ip_address="127.0.0.1",
        )
        yield
        ray.shutdown()
    signal.signal(signal.SIGTERM, before)  # Ray's would stay for all tests after these


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Eighteen images in five parts, the last one unreadable."""
    monkeypatch.setattr(embedding, "PART", 4)
    made = tmp_path / "images"
    made.mkdir()
    for number in range(17):
        Image.new("RGB", (3, 5), (number, 2 * number, 9)).save(made / f"{number:02d}.png")
    (made / "17.png").write_text("no image")
    return made


def same(one, other):
    ours, theirs = read_features(one), read_features(other)
    assert list(ours.paths) == list(theirs.paths)
    assert ours.model == theirs.model
    np.testing.assert_array_equal(ours.vectors, theirs.vectors)


def test_a_worker_is_killed(cluster, folder, tmp_path):
    """Two are at work when one of them is killed; the file is that of one process, and no image comes twice."""
    from reidkit.ray_embedding import embed_images_on_ray

    marks = tmp_path / "marks"
    marks.mkdir()
    killed = []

    def kill():
        until = time.monotonic() + PATIENCE
        while len(found := [int(mark.name) for mark in marks.iterdir()]) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        killed.extend(found)
        if len(found) == 2:
            os.kill(found[0], signal.SIGKILL)
        (marks / "go").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    made = embed_images_on_ray(partial(Waiting, str(marks)), folder, tmp_path / "ray.npz")
    killer.join()
    assert len(killed) == 2
    assert os.getpid() not in killed
    assert (made.images, made.features, len(made.unreadable), made.reused) == (18, 17, 1, 0)
    alone = embed_images(Colours(), folder, tmp_path / "alone.npz")
    assert made.unreadable == alone.unreadable
    same(tmp_path / "ray.npz", tmp_path / "alone.npz")
    assert not (tmp_path / "ray.npz.parts").exists()


def test_what_is_there_is_not_made_again(cluster, folder, tmp_path, monkeypatch):
    from reidkit.ray_embedding import embed_images_on_ray

    def stop(what, done, total):
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_images(Colours(), folder, tmp_path / "f.npz", progress=stop)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "f.npz.parts").glob("*.npz")}
    assert before
    seen = []
    monkeypatch.setattr("reidkit.ray_embedding._make", lambda missing, _: seen.extend(missing))
    with pytest.raises(RunError, match="parts were not made"):
        embed_images_on_ray(Colours, folder, tmp_path / "f.npz")
    assert len(seen) == 5 - len(before)
    monkeypatch.undo()
    monkeypatch.setattr(embedding, "PART", 4)
    assert embed_images_on_ray(Colours, folder, tmp_path / "f.npz").reused == 4 * len(before)


def test_what_a_worker_says(cluster, folder, tmp_path):
    from reidkit.ray_embedding import embed_images_on_ray

    with pytest.raises(DataError, match=r"has the model [0-9a-f]{16}, and not [0-9a-f]{16}: share one"):
        embed_images_on_ray(Other, folder, tmp_path / "f.npz")


def test_there_is_no_cluster(folder, tmp_path, monkeypatch):
    from reidkit.ray_embedding import embed_images_on_ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(
        RunError, match=r"there is no Ray cluster at 127\.0\.0\.1:1 \(.*refused\): start one with `ray start"
    ):
        embed_images_on_ray(Colours, folder, tmp_path / "f.npz", address="127.0.0.1:1")


def test_ray_leaves_sigterm_as_it_was(folder, tmp_path, monkeypatch):
    """`ray.init` takes the signal for itself, also where it then finds no cluster."""
    from reidkit.ray_embedding import embed_images_on_ray

    def connect(**_):
        signal.signal(signal.SIGTERM, lambda *_: None)
        raise ConnectionError("nobody is there")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", connect)
    monkeypatch.setattr(ray, "shutdown", lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RunError, match="nobody is there"):
        embed_images_on_ray(Colours, folder, tmp_path / "f.npz", address="auto")
    assert signal.getsignal(signal.SIGTERM) is before
