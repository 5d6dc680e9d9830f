"""Weights in and out, and what is said of files that are no such thing."""

import contextlib
import json
import pickle
import sqlite3
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from reidkit import recipe
from reidkit.errors import WeightsError
from reidkit.model.network import build_network
from reidkit.model.weights import fingerprint, load_backbone, load_network, read, save_model, stride_placement

RECIPE = recipe.Recipe(network=recipe.Network(backbone="resnet18", width=0.125, neck="bnneck"))


def network(**changes):
    return build_network(recipe.Network(**{"backbone": "resnet18", "width": 0.125} | changes))


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    made = network(neck="bnneck")
    save_model(tmp_path / "model.safetensors", made, RECIPE)
    return made, tmp_path / "model.safetensors"


def test_model_comes_back_as_it_was(saved):
    made, path = saved
    for where in (path, path.parent):
        model = load_network(where)
        assert model.recipe == RECIPE
        assert not model.network.training
        assert all(
            torch.equal(a, b)
            for a, b in zip(made.state_dict().values(), model.network.state_dict().values(), strict=True)
        )
        assert model.fingerprint == fingerprint(made.state_dict())


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text")
def test_a_name_that_is_no_utf8(saved):
    path = saved[1].with_name("caf\udce9.safetensors")
    saved[1].rename(path)
    assert load_network(path).fingerprint == fingerprint(saved[0].state_dict())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="is not a whole safetensors file"):
        load_network(path)


def test_nothing_but_the_model_is_left_in_the_folder(saved):
    assert [file.name for file in saved[1].parent.iterdir()] == ["model.safetensors"]


def test_fingerprint_is_of_names_shapes_and_values():
    tensor = torch.arange(6.0)
    names = {fingerprint(s) for s in ({"a": tensor}, {"b": tensor}, {"a": tensor.view(2, 3)}, {"a": tensor + 1})}
    assert len(names) == 4
    assert fingerprint({"a": tensor, "b": tensor}) == fingerprint({"b": tensor, "a": tensor})


def test_changed_weights_are_noticed(saved):
    path = saved[1]
    tensors, metadata = read(path)
    tensors["neck.weight"] += 1
    save_file(tensors, path, metadata)
    with pytest.raises(WeightsError, match="damaged"):
        load_network(path)


@pytest.mark.parametrize(("name", "place"), [("seresnet50", "1x1"), ("seresnext50", "3x3")])
def test_published_squeeze_networks_are_known_by_their_names(tmp_path, name, place):
    """Their authors call the stem `layer0` and the classifier `last_linear`; only the ungrouped ones are caffe's."""
    made = network(backbone=name).backbone
    state = {
        f"layer0.{key}" if key.startswith(("conv1.", "bn1.")) else key: tensor
        for key, tensor in made.state_dict().items()
    }
    torch.save(state | {"last_linear.weight": torch.zeros(10, 256)}, tmp_path / "published.pth")
    assert stride_placement(tmp_path / "published.pth") == place
    other = network(backbone=name)
    load_backbone(other, tmp_path / "published.pth")
    assert all(
        torch.equal(a, b) for a, b in zip(made.state_dict().values(), other.backbone.state_dict().values(), strict=True)
    )


def torchvision_like(tmp_path, kind):
    """A backbone file with a classifier, as torchvision saves it, in half precision."""
    state = {name: t.half() if t.is_floating_point() else t for name, t in network().backbone.state_dict().items()}
    state |= {"fc.weight": torch.zeros(10, 64), "fc.bias": torch.zeros(10)}
    path = tmp_path / f"weights.{kind}"
    if kind == "safetensors":
        save_file(state, path, {"stride_in": "1x1"})
    else:
        torch.save(state if kind == "pth" else {"state_dict": {f"module.{n}": t for n, t in state.items()}}, path)
    return path, state


@pytest.mark.parametrize("kind", ["safetensors", "pth", "pt"])
def test_backbone_from_published_weights(tmp_path, kind):
    path, state = torchvision_like(tmp_path, kind)
    loaded = network()
    load_backbone(loaded, path)
    assert torch.equal(loaded.backbone.layer4[0].conv1.weight, state["layer4.0.conv1.weight"].float())


def test_backbone_from_a_model_of_our_own(saved):
    made, path = saved
    loaded = network()
    load_backbone(loaded, path)
    assert torch.equal(loaded.backbone.conv1.weight, made.backbone.conv1.weight)


def test_stride_placement_is_read_from_the_file(tmp_path, saved):
    assert stride_placement(torchvision_like(tmp_path, "safetensors")[0]) == "1x1"
    assert stride_placement(torchvision_like(tmp_path, "pth")[0]) == "3x3"
    assert stride_placement(saved[1]) == "auto"


def test_weights_of_another_network_name_the_first_keys(tmp_path):
    path, _ = torchvision_like(tmp_path, "pth")
    with pytest.raises(WeightsError, match=r"lacks layer1\.0\.bn3\.bias, .* and \d+ more.*network\.backbone"):
        load_backbone(network(backbone="resnet50"), path)
    with pytest.raises(WeightsError, match=r"shapes differ at bn1\.bias \[8\] for \[16\]"):
        load_backbone(network(width=0.25), path)


class Payload:
    """What a hostile pickle holds: something that is called while it is read."""

    def __reduce__(self):
        return (open, ("ran-from-a-weights-file", "w"))


def test_pickles_are_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": Payload()}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Payload()))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(WeightsError, match=r"\.pth is no torch weights file"):
            read(tmp_path / name)
    assert not (tmp_path / "ran-from-a-weights-file").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.safetensors", None, "is not there"),
        ("none.pth", None, "is not there"),
        ("text.safetensors", b"not weights", "not a whole safetensors file"),
        ("empty.safetensors", b"", "not a whole safetensors file"),
        ("text.pth", b"not weights", "no torch weights file"),
        ("empty.pth", b"", "no torch weights file"),
    ],
)
def test_files_that_are_no_weights(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=words):
        read(tmp_path / name)


def test_truncated_model(saved):
    path = saved[1]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        load_network(path)


def test_torch_file_of_something_else(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="no state dict"):
        read(tmp_path / "list.pth")


def test_a_model_needs_its_recipe(saved, tmp_path):
    save_file(load_file(saved[1]), tmp_path / "plain.safetensors")
    with pytest.raises(WeightsError, match="not a reidkit model"):
        load_network(tmp_path / "plain.safetensors")
    _, metadata = read(saved[1])
    newer = json.loads(metadata["recipe"]) | {"hologram": 3}
    save_file(load_file(saved[1]), tmp_path / "newer.safetensors", metadata | {"recipe": json.dumps(newer)})
    with pytest.raises(WeightsError, match="hologram"):
        load_network(tmp_path / "newer.safetensors")


def test_a_folder_around_models_names_them(tmp_path):
    for name in ("runs/b/model.safetensors", "runs/a/model.safetensors", "triton/1/model.onnx"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(WeightsError, match=r"model\.safetensors: name a model in it, as \S+/runs/a or \S+/runs/b$"):
        load_network(tmp_path / "runs")
    with pytest.raises(WeightsError, match=r"name a model in it, as \S+/triton/1/model\.onnx$"):
        load_network(tmp_path / "triton")


def test_unfinished_run_has_no_model(tmp_path):
    with pytest.raises(WeightsError, match=r"holds no model\.safetensors: give the folder of a finished run"):
        load_network(tmp_path)
    (tmp_path / "state.pt").write_bytes(b"")
    with pytest.raises(WeightsError, match="resume=True"):
        load_network(tmp_path)


def backbone_state():
    torch.manual_seed(1)
    return network().backbone.state_dict()


@pytest.mark.parametrize(
    "prefix", ["base.", "model.", "module.", "module.encoder_q.", "backbone.", "net._orig_mod.resnet.", "1."]
)
@pytest.mark.parametrize("nesting", [(), ("model",), ("state_dict",), ("net_dict",), ("ckpt", "student")])
def test_weights_are_found_under_any_prefix_and_nesting(tmp_path, prefix, nesting):
    state = backbone_state()
    content = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    content |= {"classifier.weight": torch.zeros(3, 64), "heads.bnneck.bias": torch.zeros(64)}
    for name in reversed(nesting):
        content = {name: content, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}}
    torch.save(content, tmp_path / "w.pth")
    loaded = network()
    remark = load_backbone(loaded, tmp_path / "w.pth")
    assert all(torch.equal(state[name], tensor) for name, tensor in loaded.backbone.state_dict().items())
    assert f"{prefix.removesuffix('.')}" in remark
    assert "left out of the weights: " in remark
    assert "classifier.weight" in remark


def test_of_two_encoders_the_one_that_learns_is_taken(tmp_path):
    """A momentum encoder follows; it fits as well, and is the second choice even where it comes first."""
    state = backbone_state()
    other = {name: tensor + 1 for name, tensor in state.items()}
    both = {f"encoder_k.{n}": t for n, t in other.items()} | {f"encoder_q.{n}": t for n, t in state.items()}
    torch.save(both, tmp_path / "moco.pth")
    loaded = network()
    remark = load_backbone(loaded, tmp_path / "moco.pth")
    assert torch.equal(loaded.backbone.conv1.weight, state["conv1.weight"])
    assert "weights taken from encoder_q., and not from encoder_k., which fits as well" in remark


def test_plain_weights_need_no_remark(tmp_path):
    torch.save(backbone_state(), tmp_path / "w.pth")
    assert load_backbone(network(), tmp_path / "w.pth") == ""


def test_content_decides_and_not_the_name(tmp_path):
    state = backbone_state()
    torch.save(state, tmp_path / "w.safetensors")
    save_file(state, tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        loaded = network()
        load_backbone(loaded, tmp_path / name)
        assert torch.equal(loaded.backbone.conv1.weight, state["conv1.weight"])


def test_a_run_folder_is_its_model(saved):
    loaded = network()
    load_backbone(loaded, saved[1].parent)
    assert torch.equal(loaded.backbone.conv1.weight, saved[0].backbone.conv1.weight)


def odd_tensors():
    weight = backbone_state()["conv1.weight"]
    return {
        "sparse": weight.to_sparse(),
        "a meta tensor": torch.empty_like(weight, device="meta"),
        "complex": weight.to(torch.complex64),
        "expanded": torch.zeros(1).expand(weight.shape),
        "expanded from": torch.zeros(1).expand(2**20, 2**20),
        "int8": weight.to(torch.int8),
        "bool": weight.to(torch.bool),
    }


@pytest.mark.parametrize("what", list(odd_tensors()))
def test_odd_tensors_are_named(tmp_path, what):
    odd = odd_tensors()[what]
    torch.save(backbone_state() | {"conv1.weight": odd}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=rf"no plain numbers at conv1\.weight, which is {what}"):
        load_backbone(network(), tmp_path / "w.pth")


@pytest.mark.parametrize("what", [*odd_tensors(), "a number"])
def test_odd_tensors_beside_the_backbone_are_left_out(tmp_path, what):
    odd = odd_tensors().get(what, 3)
    state = backbone_state()
    torch.save(state | {"head.weight": odd, "conv1.num_batches_tracked": torch.tensor(2)}, tmp_path / "w.pth")
    loaded = network()
    load_backbone(loaded, tmp_path / "w.pth")
    assert torch.equal(loaded.backbone.conv1.weight, state["conv1.weight"])


@pytest.mark.filterwarnings("ignore:torch.quantize")
def test_quantised_tensors_are_named(tmp_path):
    odd = torch.quantize_per_tensor(backbone_state()["conv1.weight"], 0.1, 0, torch.qint8)
    torch.save(backbone_state() | {"conv1.weight": odd}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"conv1\.weight, which is quantised"):
        load_backbone(network(), tmp_path / "w.pth")


def test_float8_and_float64_are_numbers_too(tmp_path):
    state = {n: t.to(torch.float8_e5m2) if "conv" in n else t.double() for n, t in backbone_state().items()}
    torch.save(state, tmp_path / "w.pth")
    loaded = network()
    load_backbone(loaded, tmp_path / "w.pth")
    assert torch.equal(loaded.backbone.conv1.weight, state["conv1.weight"].float())


@pytest.mark.parametrize("content", [{1: torch.zeros(2)}, {"a": {"b": torch.zeros(2)}}, {(1, 2): torch.zeros(2)}])
def test_tensors_of_something_else(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="holds no weights of this backbone"):
        load_backbone(network(), tmp_path / "w.pth")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e300])
def test_weights_that_are_no_numbers_are_named(tmp_path, bad):
    state = {
        name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in backbone_state().items()
    }
    state["layer1.0.conv1.weight"][0, 0, 0, 0] = bad
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"NaN or infinity in layer1\.0\.conv1\.weight: the run that made it"):
        load_backbone(network(), tmp_path / "w.pth")


def test_a_model_that_is_no_numbers_says_so_by_key(tmp_path):
    made = network(neck="bnneck")
    with torch.no_grad():
        made.head.neck.weight[3] = float("nan")
    save_model(tmp_path / "model.safetensors", made, RECIPE)
    with pytest.raises(WeightsError, match=r"NaN or infinity in neck\.weight"):
        load_network(tmp_path)


def test_a_variance_below_zero_is_none(tmp_path):
    state = backbone_state()
    state["bn1.running_var"][0] = -1
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"variances below 0 in bn1\.running_var"):
        load_backbone(network(), tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html><body>404</body></html>", "is a web page, not weights"),
        (b"\n <html lang='en'>", "is a web page, not weights"),
        (b"<!-- x --><html>", "is a web page, not weights"),
        (b"<?xml version='1.0'?><Error/>", "is XML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS.*git lfs pull"),
        (b"\x1f\x8b\x08\x00rest", "gzip.*unpack"),
        (b'{"name": "x"}', "is JSON"),
        (b"\x89HDF\r\n", "HDF5"),
    ],
)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.bin"])
def test_files_of_other_kinds_say_what_they_are(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=words):
        read(tmp_path / name)


def test_a_checkpoint_is_not_for_weights(tmp_path):
    parts = {"place": (1, 0, 0), "recipe": "x", "network": backbone_state(), "optimizer": {}}
    torch.save(parts, tmp_path / "state.pt")
    with pytest.raises(WeightsError, match=r"checkpoint of a run.*give the run's folder or its model\.safetensors"):
        load_backbone(network(), tmp_path / "state.pt")


def test_what_a_file_would_execute_is_named(tmp_path):
    torch.save({"conv1.weight": Payload()}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"holds more than tensors: \S*open\S*\): where you trust it"):
        read(tmp_path / "a.pth")


def test_a_gallery_or_an_archive_of_features_is_named_as_such(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "people.db")) as database:
        database.execute("CREATE TABLE rows (key TEXT)")
    with pytest.raises(WeightsError, match=r"people\.db is a database, as galleries are, not weights"):
        load_network(tmp_path / "people.db")
    np.savez(tmp_path / "features.npz", vectors=np.zeros(3))
    with pytest.raises(WeightsError, match=r"features\.npz is a NumPy archive, not weights"):
        load_network(tmp_path / "features.npz")


def test_a_packed_archive_is_not_unpacked(tmp_path):
    torch.save({"w": torch.zeros(2**20)}, tmp_path / "a.pth")
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as old,
        zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(WeightsError, match="compressed archive"):
        read(tmp_path / "b.pth")


def test_many_names_for_the_same_numbers(tmp_path):
    """Each of 100 names is a view of the same 4 MB; written apart they would be 400."""
    one = torch.zeros(2**20)
    torch.save({str(i): one for i in range(100)}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="same numbers under many names"):
        read(tmp_path / "a.pth")


def test_a_recipe_larger_than_its_file_takes_no_memory(saved, tmp_path):
    """The recipe asks for 3 GB of weights; the file holds a few thousand."""
    tensors, metadata = read(saved[1])
    text = json.loads(metadata["recipe"])
    text["network"] |= {"backbone": "resnet152", "width": 4.0}
    save_file(tensors, tmp_path / "big.safetensors", metadata | {"recipe": json.dumps(text)})
    with pytest.raises(WeightsError, match="does not fit the network"):
        load_network(tmp_path / "big.safetensors")


def test_a_model_is_loaded_without_torchs_compiler(saved):
    """Importing it takes seconds, which a network without memory would cost if its weights were drawn."""
    code = "import sys; from pathlib import Path; from reidkit.model.weights import load_network; "
    code += f"load_network(Path({str(saved[1])!r})); sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
