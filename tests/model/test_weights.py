"""Weights in and out, and what is said of files that are no such thing."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from reidkit import recipe
from reidkit.model.network import build
from reidkit.model.weights import fingerprint, load_backbone, load_model, read, save_model, stride_placement
from reidkit.types import WeightsError

RECIPE = recipe.Recipe(network=recipe.Network(backbone="resnet18", width=0.125, neck="bnneck"))


def network(**changes):
    return build(recipe.Network(**{"backbone": "resnet18", "width": 0.125} | changes))


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    made = network(neck="bnneck")
    save_model(tmp_path / "model.safetensors", made, RECIPE)
    return made, tmp_path / "model.safetensors"


def test_model_comes_back_as_it_was(saved):
    made, path = saved
    for where in (path, path.parent):
        model = load_model(where)
        assert model.recipe == RECIPE
        assert not model.network.training
        assert all(
            torch.equal(a, b)
            for a, b in zip(made.state_dict().values(), model.network.state_dict().values(), strict=True)
        )
        assert model.fingerprint == fingerprint(made.state_dict())


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
        load_model(path)


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
        load_model(path)


def test_torch_file_of_something_else(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="no state dict"):
        read(tmp_path / "list.pth")


def test_a_model_needs_its_recipe(saved, tmp_path):
    save_file(load_file(saved[1]), tmp_path / "plain.safetensors")
    with pytest.raises(WeightsError, match="not a reidkit model"):
        load_model(tmp_path / "plain.safetensors")
    _, metadata = read(saved[1])
    newer = json.loads(metadata["recipe"]) | {"hologram": 3}
    save_file(load_file(saved[1]), tmp_path / "newer.safetensors", metadata | {"recipe": json.dumps(newer)})
    with pytest.raises(WeightsError, match="hologram"):
        load_model(tmp_path / "newer.safetensors")


def test_unfinished_run_has_no_model(tmp_path):
    with pytest.raises(WeightsError, match="--resume"):
        load_model(tmp_path)
