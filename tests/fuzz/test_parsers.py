"""Whatever a file holds, a parser gives a valid result or one of our errors: one line, soon, and with nothing written.

Each test begins with a valid file, sees that it is taken, and then gives the parser changed ones, the same at each run
and on each machine. The number in a failure is the seed of its file: `mutant(random.Random(seed))` makes it again.
To look further, let each parser have more files: `REIDKIT_FUZZ=20000 pytest tests/fuzz`.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as safetensors

from reidkit import recipe as recipes
from reidkit.data.formats import csv, msmt17
from reidkit.data.shards import parquet, webdataset
from reidkit.encoder import load_model
from reidkit.errors import ReidkitError
from reidkit.metrics.calibration import calibrate
from reidkit.metrics.calibration_file import load_calibration, to_json
from reidkit.metrics.features import read_features
from reidkit.model.network import build_network
from reidkit.model.weights import load_backbone, save_model, stride_placement
from reidkit.train import checkpoint, log, run_folder
from reidkit.train.checkpoint import Progress
from tests.data.shards.made import pair, picture, tar
from tests.fuzz.mutate import (
    HOSTILE_JSON,
    HOSTILE_WORDS,
    mutated_bytes,
    mutated_json,
    mutated_npz,
    mutated_safetensors,
    mutated_state,
    mutated_table,
    mutated_tar,
)
from tests.metrics.definition import crowd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from random import Random

FILES = int(os.environ.get("REIDKIT_FUZZ", "300"))
"""Changed ones for each parser: a number, and no time, which would make another test on a faster machine."""
SLOW = 5.0
"""Seconds in which a parser must have ended with a small file; a machine may be busy."""
MEMORY = 3 * 2**30
"""Bytes of address space beyond those in use that a parser may ask for."""
LONGEST = 1500
"""Characters of an error; it may name a file and a few keys."""

RECIPE = recipes.Recipe(network=recipes.Network(backbone="resnet18", width=0.125, neck="bnneck"))


class TooSlowError(Exception):
    """A parser did not end in time."""


@pytest.fixture(autouse=True)
def _apart(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Caches in a folder of their own, and less memory than there is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def _in_time(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TooSlowError(f"not done in {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _contents(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def _refused(parse: Callable[[], object]) -> bool:
    """Whether a parser refuses its file, in one line."""
    with warnings.catch_warnings(), _in_time(SLOW):
        warnings.simplefilter("error")
        try:
            parse()
        except ReidkitError as error:
            text = str(error)
            assert text.strip()
            assert "\n" not in text, text
            assert len(text) <= LONGEST, text
            return True
    return False


def fuzz(
    file: Path, valid: bytes, mutant: Callable[[Random], bytes], parse: Callable[[], object], *, refuses: bool = True
) -> None:
    """Give `parse` the valid file, and then changed ones; some must be refused, or none."""
    file.write_bytes(valid)
    assert not _refused(parse)
    refused = 0
    for seed in range(FILES):
        content = mutant(random.Random(seed))
        file.write_bytes(content)
        before = _contents(file.parent)
        try:
            refused += _refused(parse)
        except BaseException as error:
            error.add_note(f"seed {seed}, {file.name} begins with {content[:300]!r}")
            raise
        assert _contents(file.parent) == before, f"seed {seed} made it write"
    assert (refused > 0) == refuses


def test_recipe(tmp_path: Path) -> None:
    value = recipes.to_json(RECIPE)
    file = tmp_path / "recipe.json"
    fuzz(
        file,
        json.dumps(value).encode(),
        lambda r: mutated_json(value, r).encode("utf-8", "surrogatepass"),
        lambda: recipes.digest(recipes.load(file)),
    )


def test_settings(tmp_path: Path) -> None:
    keys = [f"{s}.{k}" for s, inner in recipes.to_json(RECIPE).items() if isinstance(inner, dict) for k in inner]
    file = tmp_path / "setting"

    def mutant(r: Random) -> bytes:
        key = r.choice((*keys, "name", *HOSTILE_WORDS))
        text = f"{key}={r.choice((*HOSTILE_JSON, *HOSTILE_WORDS))}"
        return (text if r.random() < 0.8 else text.replace("=", r.choice(HOSTILE_WORDS))).encode(
            "utf-8", "surrogatepass"
        )

    fuzz(
        file,
        b"optim.lr=1e-3",
        mutant,
        lambda: recipes.digest(recipes.override(RECIPE, [file.read_bytes().decode("utf-8", "surrogatepass")])),
    )


def test_csv(tmp_path: Path) -> None:
    for n in range(6):
        (tmp_path / f"{n}.png").write_bytes(picture(n))
    rows = [f"{n}.png,{n // 2},{n % 2},{('train', 'query', 'gallery')[n % 3]}" for n in range(6)]
    text = "\n".join(("path,pid,camid,split", *rows)) + "\n"
    file = tmp_path / "table.csv"
    fuzz(file, text.encode(), lambda r: mutated_table(text, r), lambda: csv.load(file))


def test_list(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for n in range(4):
            place = tmp_path / part / f"{n // 2:04d}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{n // 2:04d}_{n:03d}_0{n % 2 + 1}_0303morning_0008_0.jpg").write_bytes(picture(n))
    lines = [f"{n // 2:04d}/{n // 2:04d}_{n:03d}_0{n % 2 + 1}_0303morning_0008_0.jpg {n // 2}" for n in range(4)]
    for name in ("train", "val", "query", "gallery"):
        (tmp_path / f"list_{name}.txt").write_text("\n".join(lines) + "\n")
    text = "\n".join(lines) + "\n"
    fuzz(
        tmp_path / "list_query.txt",
        text.encode(),
        lambda r: mutated_table(text, r, " "),
        lambda: msmt17.load(tmp_path),
    )


def test_features(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {
        "vectors": np.ones((4, 3), np.float32),
        "pids": np.arange(4),
        "camids": np.arange(4),
        "paths": np.array(["a", "b", "c", "d"]),
        "model": np.array("0" * 16),
    }
    np.savez(tmp_path / "f.npz", **arrays)
    file = tmp_path / "f.npz"
    fuzz(file, file.read_bytes(), lambda r: mutated_npz(arrays, r), lambda: read_features(file))


def _shards(place: Path) -> Path:
    images = [pair(f"{n:04d}", picture(n), pid=n // 2, camid=n % 2) for n in range(6)]
    return tar(place / "train-000.tar", [file for image in images for file in image])


def test_tar(tmp_path: Path) -> None:
    file = _shards(tmp_path)
    valid = file.read_bytes()
    fuzz(file, valid, lambda r: mutated_tar(valid, r), lambda: list(webdataset.load(tmp_path).train))


def test_facts_in_a_tar(tmp_path: Path) -> None:
    """The JSON beside an image, with its length right."""
    file = _shards(tmp_path)
    value = {"pid": 1, "camid": 2, "split": "train"}

    def mutant(r: Random) -> bytes:
        facts = mutated_json(value, r).encode("utf-8", "surrogatepass")
        return tar(tmp_path / "train-000.tar", [("a.jpg", picture(1)), ("a.json", facts)]).read_bytes()

    fuzz(file, file.read_bytes(), mutant, lambda: list(webdataset.load(tmp_path).train))


def test_index(tmp_path: Path) -> None:
    from reidkit.data.shards import index
    from reidkit.data.shards.storage import place_of

    file = _shards(tmp_path)
    sizes = {file.name: file.stat().st_size}
    beside = tmp_path / index.INDEX
    index.write(beside, webdataset.gather(place_of(tmp_path), sizes), sizes, {file.name: file.stat().st_mtime_ns})
    with np.load(beside) as stored:
        arrays = dict(stored)

    def mutant(r: Random) -> bytes:
        changed = dict(arrays)
        if r.random() < 0.5:  # a field of a row
            changed["rows"] = arrays["rows"].copy()
            field = r.choice(changed["rows"].dtype.names or ())
            limits = np.iinfo(changed["rows"].dtype[field])
            changed["rows"][field][r.randrange(6)] = r.choice((limits.min, limits.max, -1 if limits.min else 0, 7))
        return mutated_npz(changed, r)

    fuzz(
        beside, beside.read_bytes(), mutant, lambda: list(webdataset.load(tmp_path).train), refuses=False
    )  # it is made anew


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet as pq

    columns: dict[str, Any] = {
        "image": pa.array([picture(n) for n in range(4)]),
        "pid": pa.array([0, 0, 1, 1]),
        "camid": pa.array([0, 1, 0, 1]),
        "split": pa.array(["train"] * 4),
        "key": pa.array(["a", "b", "c", "d"]),
    }
    odd = [
        pa.array([None] * 4), pa.array([1.5, float("nan"), 1e300, -1.0]), pa.array(["x", "", "9" * 100, "-1"]),
        pa.array([2**62, -(2**62), -1, 0]), pa.array([[1], [2], [], None]), pa.array([True, False, None, True]),
        pa.array([{"bytes": b"x"}] * 4), pa.array([b"\xff"] * 4), pa.array([0, 1, 2, 3], pa.timestamp("us")),
        pa.array(["a"] * 4).dictionary_encode(), pa.array([2**64 - 1] * 4, pa.uint64()),
    ]  # fmt: skip
    file = tmp_path / "train-000.parquet"
    pq.write_table(pa.table(columns), file)
    valid = file.read_bytes()

    def mutant(r: Random) -> bytes:
        if r.random() < 0.4:
            return mutated_bytes(valid, r)
        changed = dict(columns)
        name = r.choice(list(changed))
        changed[name] = r.choice((*odd, *columns.values()))
        if r.random() < 0.2:
            del changed[r.choice(list(changed))]
        made = pa.BufferOutputStream()
        pq.write_table(pa.table(changed), made)
        return bytes(made.getvalue())

    fuzz(file, valid, mutant, lambda: list(parquet.load(tmp_path).train))


def _backbone() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build_network(RECIPE.network).backbone.state_dict()


def _torch_bytes(value: Any) -> bytes:
    import io

    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def test_torch_weights(tmp_path: Path) -> None:
    valid = {"state_dict": {f"module.{name}": tensor for name, tensor in _backbone().items()}, "epoch": 3}
    file, network = tmp_path / "w.pth", build_network(RECIPE.network)
    content = _torch_bytes(valid)

    def mutant(r: Random) -> bytes:
        return mutated_bytes(content, r) if r.random() < 0.3 else _torch_bytes(mutated_state(valid, r))

    def parse() -> None:
        stride_placement(file)
        load_backbone(network, file)

    fuzz(file, content, mutant, parse)


def test_safetensors_weights(tmp_path: Path) -> None:
    content = safetensors(_backbone(), {"stride_in": "1x1"})
    file, network = tmp_path / "w.safetensors", build_network(RECIPE.network)

    def parse() -> None:
        stride_placement(file)
        load_backbone(network, file)

    fuzz(file, content, lambda r: mutated_safetensors(content, r), parse)


def test_model(tmp_path: Path) -> None:
    """The recipe in the metadata of a model of our own."""
    file = tmp_path / "model.safetensors"
    network = build_network(RECIPE.network)
    save_model(file, network, RECIPE)
    content, value = file.read_bytes(), recipes.to_json(RECIPE)
    metadata = {"format": "reidkit/1", "fingerprint": "0" * 16}

    def mutant(r: Random) -> bytes:
        if r.random() < 0.5:
            return mutated_safetensors(content, r)
        text = mutated_json(value, r).encode("utf-8", "replace").decode()
        return safetensors(network.state_dict(), metadata | {"recipe": text})

    fuzz(file, content, mutant, lambda: load_model(file))


def test_log(tmp_path: Path) -> None:
    rows = [
        {"kind": k, "epoch": 1, "step": n, "lr": 0.1, "loss": 2.5} for n, k in enumerate(("step", "epoch", "scores"))
    ]
    file = tmp_path / "log.jsonl"

    def mutant(r: Random) -> bytes:
        lines = [mutated_json(row, r) if r.random() < 0.5 else json.dumps(row) for row in rows]
        return (
            mutated_bytes("\n".join(lines).encode("utf-8", "surrogatepass"), r)
            if r.random() < 0.3
            else ("\n".join(lines).encode("utf-8", "surrogatepass"))
        )

    def parse() -> None:
        for row in log.read(file):
            json.dumps(row, allow_nan=False)
            assert isinstance(row["kind"], str)
            assert isinstance(row["epoch"] + row["step"], int)

    valid = "\n".join(map(json.dumps, rows)).encode()
    file.write_bytes(valid)
    assert log.read(file) == rows
    fuzz(file, valid, mutant, parse, refuses=False)  # a line that is no row is left out


def test_facts_of_a_run(tmp_path: Path) -> None:
    facts: dict[str, Any] = {
        "seed": 0,
        "precision": "float32",
        "people": 8,
        "training_set": "0" * 16,
        "weights": "none",
    }
    run_folder.begin(tmp_path, RECIPE, facts, resume=False)
    file = tmp_path / "run.json"

    def parse() -> None:
        run_folder.left_out(tmp_path)
        run_folder.begin(tmp_path, RECIPE, facts, resume=True)

    fuzz(
        file,
        file.read_bytes(),
        lambda r: mutated_json(facts | {"left_out": [1, 2]}, r).encode("utf-8", "surrogatepass"),
        parse,
    )


def test_state(tmp_path: Path) -> None:
    network = build_network(RECIPE.network)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1, fused=True)
    for weight in network.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    parts: dict[str, Any] = {"network": network, "optimizer": optimizer, "journal": log.Log(tmp_path / "log")}
    file = tmp_path / "state.pt"
    checkpoint.save(file, Progress(2, 0, 6), "x", **parts)
    content = file.read_bytes()
    state = torch.load(file)

    def mutant(r: Random) -> bytes:
        return mutated_bytes(content, r) if r.random() < 0.3 else _torch_bytes(mutated_state(state, r))

    fuzz(file, content, mutant, lambda: checkpoint.load(file, "x", **parts))


def test_calibration(tmp_path: Path) -> None:
    value = to_json(calibrate(*crowd(20, 100), far=1e-2, data="noise"))
    file = tmp_path / "calibration.json"
    fuzz(
        file,
        json.dumps(value).encode(),
        lambda r: mutated_json(value, r).encode("utf-8", "surrogatepass"),
        lambda: load_calibration(file, "").same_person([0.1, 0.9], 1, 2),
    )


@pytest.mark.parametrize("suffix", [".npy", ".mat", ".parquet"])
def test_features_of_others(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"f{suffix}"
    vectors, labels = np.ones((4, 3), np.float32), np.arange(4)
    if suffix == ".npy":
        for name, array in (("", vectors), ("_pids", labels), ("_camids", labels)):
            np.save(tmp_path / f"f{name}.npy", array)
    elif suffix == ".mat":
        pytest.importorskip("scipy.io").savemat(
            file, {"gallery_f": vectors, "gallery_label": labels, "gallery_cam": labels}
        )
    else:
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet as pq

        table = {"vectors": pa.array(vectors.tolist()), "pids": pa.array(labels), "camids": pa.array(labels)}
        pq.write_table(pa.table(table), file)
    content = file.read_bytes()
    fuzz(file, content, lambda r: mutated_bytes(content, r), lambda: read_features(file, "gallery"))
