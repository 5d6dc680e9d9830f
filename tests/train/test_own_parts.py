"""A researcher's own network, loss term, sampler and samples, as objects given to `train`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reidkit.data.formats.detect import load_dataset
from reidkit.data.sampler import PKSampler
from reidkit.encoder import load_model
from reidkit.errors import ReidkitError, UsageError, WeightsError
from reidkit.evaluation import evaluate
from reidkit.losses import Term, batch_hard_triplet
from reidkit.model import BNNeck, Features, Network, ResNet, Several, Single
from reidkit.model.own_network import OwnNetwork, import_network, network_name, own_network
from reidkit.recipe import override
from reidkit.train.inputs import TrainOptions, check_batches
from reidkit.train.log import Callback, read
from reidkit.train.run import train
from reidkit.types import Sample
from tests.train.tiny import RECIPE

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.train.checkpoint import Progress

ONE_EPOCH = override(RECIPE, ["optim.epochs=1", "optim.drops=[]", "optim.warmup_epochs=0"])
FP32 = TrainOptions(precision="fp32")


class Small(nn.Module):
    """A user's network: a convolution and the mean over the image."""

    def __init__(self, dim: int = 6) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, dim, 3, stride=4)
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.norm(self.conv(images)).mean(dim=(2, 3))
        return features


class TwoSides(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Small()

    def forward(self, images: Tensor) -> Features:
        f_t = self.inner(images)
        return Features(f_t, 2 * f_t)


def test_what_is_trained_can_be_loaded_and_evaluated(noise: Path, tmp_path: Path) -> None:
    run = train(ONE_EPOCH, noise, out=tmp_path / "run", network=Small, options=FP32)
    assert run.evaluation is not None
    run.write_report("my.py")
    model = load_model(tmp_path / "run", network=Small())
    assert model.fingerprint == run.model.fingerprint
    again = evaluate(model, load_dataset(noise), device="cpu", precision="fp32")
    assert again.query.vectors.shape == (again.scores.queries, 6)
    np.testing.assert_allclose(again.query.vectors, run.evaluation.query.vectors, rtol=1e-4, atol=1e-5)


class Rows(nn.Module):
    """The upper or the lower half of a map."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def forward(self, map_bchw: Tensor) -> Tensor:
        height = map_bchw.shape[2] // 2
        return map_bchw[:, :, :height] if self.number == 0 else map_bchw[:, :, height:]


def stripes() -> Network:
    """Two stripes behind a backbone, each with an embedding and a neck of its own."""
    upper, lower = (Single(64, embedding=nn.Linear(64, 5), neck=BNNeck(5)) for _ in range(2))
    head = Several({"upper": (Rows(0), upper), "lower": (Rows(1), lower)})
    return Network(ResNet("resnet18", width=0.125, last_stride=1), head)


def test_a_head_of_two_branches_goes_through_training_report_and_evaluation(noise: Path, tmp_path: Path) -> None:
    """The recipe's ID loss for each branch; a term of one's own on one of them; the report without attention maps."""
    lower = Term("lower", 0.5, batch_hard_triplet, "f_t", "lower")
    seed: Any = np.int64(3)
    run = train(ONE_EPOCH, noise, out=tmp_path / "run", network=stripes, terms=[lower], options=FP32, seed=seed)
    step = read(tmp_path / "run" / "log.jsonl")[-3]
    assert {"identity.upper", "identity.lower", "triplet", "center", "lower"} <= step.keys()
    run.write_report()
    model = load_model(tmp_path / "run", network=stripes)
    assert (model.fingerprint, model.dim) == (run.model.fingerprint, 10)
    again = evaluate(model, load_dataset(noise), device="cpu", precision="fp32")
    assert run.evaluation is not None
    np.testing.assert_allclose(again.query.vectors, run.evaluation.query.vectors, rtol=1e-4, atol=1e-5)


def test_the_file_has_the_names_of_the_users_module(noise: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    train(ONE_EPOCH, noise, out=tmp_path / "run", network=Small(4), options=FP32)
    fresh = Small(4)
    fresh.load_state_dict(load_file(tmp_path / "run" / "model.safetensors"))
    with pytest.raises(UsageError, match=r"holds a network of your own, .*Small, which no recipe makes: pass network"):
        load_model(tmp_path / "run")
    with pytest.raises(WeightsError, match=r"shapes differ at conv\.bias \[4\] for \[5\].*: pass the one .*Small$"):
        load_model(tmp_path / "run", network=Small(5))


def test_a_network_goes_on_as_it_would_have_without_a_stop(noise: Path, tmp_path: Path) -> None:
    """With a moving average and the best weights, whose states hold the network's names too."""
    from reidkit.train.log import Callback

    recipe = override(RECIPE, ["optim.average=0.9", "optim.best_every=1"])
    whole = train(recipe, noise, out=tmp_path / "whole", network=Small, options=TrainOptions(save_every=1))

    class CrashError(Exception):
        pass

    class Crash(Callback):
        def on_position(self, progress: Progress, batches: int) -> None:  # noqa: ARG002
            if progress.epoch == 2:
                raise CrashError

    go: dict[str, Any] = {"out": tmp_path / "run", "network": Small, "options": TrainOptions(save_every=1)}
    with pytest.raises(CrashError):
        train(recipe, noise, callbacks=[Crash()], **go)
    assert train(recipe, noise, resume=True, **go).model.fingerprint == whole.model.fingerprint
    with pytest.raises(UsageError, match=r"network: .*TwoSides, not .*Small"):
        train(recipe, noise, resume=True, **{**go, "network": TwoSides})


def test_a_network_may_start_from_the_weights_of_another_run(noise: Path, tmp_path: Path) -> None:
    first = train(ONE_EPOCH, noise, out=tmp_path / "a", network=Small, options=FP32)
    slow = override(ONE_EPOCH, ["optim.lr=1e-12"])
    second = train(slow, noise, out=tmp_path / "b", network=Small, weights=tmp_path / "a", options=FP32)
    ours, theirs = (run.model.network.state_dict()["conv.weight"] for run in (first, second))
    assert torch.allclose(ours, theirs, atol=1e-6)
    with pytest.raises(WeightsError, match=r"does not fit the network \(it lacks .*\): pass the one .*Small$"):
        train(slow, noise, out=tmp_path / "c", network=TwoSides, weights=tmp_path / "a", options=FP32)


def test_both_sides_of_a_neck() -> None:
    network = own_network(TwoSides, (32, 16)).eval()
    assert isinstance(network, OwnNetwork)
    assert network.channels == 6
    assert network.spans == {"": slice(0, 6)}
    f_t, f_i, _ = network(torch.randn(2, 3, 32, 16))
    assert torch.equal(f_i, 2 * f_t)
    assert network_name(network).endswith("test_own_parts.TwoSides")


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (lambda: "x", "the network is of str: give a torch.nn.Module"),
        (nn.Identity(), r"gives \(2, 3, 32, 16\) for two images: let it give one vector for each, \[2, D\]"),
        (nn.Linear(3, 3), r"cannot take images of the shape \[2, 3, 32, 16\] \(RuntimeError: "),
        (nn.LSTM(16, 4), "cannot take images"),
    ],
)
def test_what_is_no_network_is_said(network: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        own_network(network, (32, 16))


def test_a_network_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_networks.py").write_text("def make():\n    return 3\n\nx = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert import_network("my_networks:make")() == 3  # type: ignore[comparison-overlap]
    for name, sentence in (
        ("make", "give MODULE:FUNCTION"),
        (":make", "give MODULE:FUNCTION"),
        ("my_network:make", "the module my_network cannot be imported"),
        ("my_networks:x", "my_networks has no function x"),
        ("my_networks:y", "my_networks has no function y"),
    ):
        with pytest.raises(UsageError, match=sentence):
            import_network(name)


class Norm(nn.Module):
    """A term with a parameter of its own: how far the features' length is from a learned one."""

    def __init__(self) -> None:
        super().__init__()
        self.length = nn.Parameter(torch.tensor(1.0))

    def forward(self, feat_bd: Tensor, label_b: Tensor) -> Tensor:  # noqa: ARG002
        loss: Tensor = (feat_bd.norm(dim=1) - self.length).square().mean()
        return loss


def test_own_terms_are_learned_logged_and_gone_on_with(noise: Path, tmp_path: Path) -> None:
    loss = Norm()
    terms = [Term("norm", 0.5, loss, "f_t"), Term("triplet", 1.0, lambda f, _: f.square().mean(), "f_i")]
    train(ONE_EPOCH, noise, out=tmp_path / "run", terms=terms, options=FP32)
    steps = [row for row in read(tmp_path / "run" / "log.jsonl") if row["kind"] == "step"]
    assert {"identity", "triplet", "norm"} <= steps[0].keys()
    assert loss.length.item() != 1.0
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["objective"]
    assert state["norm.length"] == loss.length.detach()
    with pytest.raises(UsageError, match=r"terms: none, not \[\['norm', 0.5, 'f_t', ''\]"):
        train(ONE_EPOCH, noise, out=tmp_path / "run", resume=True, options=FP32)


def test_own_terms_alone_are_the_recipes_ones_written_out(noise: Path, tmp_path: Path) -> None:
    """The recipe's triplet loss given as a term: the same weights, bit for bit."""
    from reidkit.losses import batch_hard_triplet

    plain = train(ONE_EPOCH, noise, out=tmp_path / "a", options=FP32)
    term = Term("triplet", 1.0, lambda f, labels: batch_hard_triplet(f, labels, 0.3), "f_t")
    own = train(ONE_EPOCH, noise, out=tmp_path / "b", terms=[term], options=FP32)
    names = {row["kind"]: list(row) for row in read(tmp_path / "b" / "log.jsonl")}
    assert {"identity", "triplet"} <= set(names["step"])
    assert own.model.network.state_dict().keys() == plain.model.network.state_dict().keys()


class Twice:
    """Each of eight images in turn, twice in a batch of four ids."""

    def epoch(self, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        first = np.arange(8) * 4 + epoch % 4
        return np.stack([np.repeat(first[:4], 2), np.repeat(first[4:], 2)])


def test_an_own_sampler_decides_the_batches(noise: Path, tmp_path: Path) -> None:
    train(ONE_EPOCH, noise, out=tmp_path / "run", sampler=Twice(), options=FP32)
    steps = [row for row in read(tmp_path / "run" / "log.jsonl") if row["kind"] == "step"]
    assert [row["images"] for row in steps] == [8, 8]
    pids = load_dataset(noise).train.pids
    plain = train(ONE_EPOCH, noise, out=tmp_path / "a", options=FP32)
    same = train(ONE_EPOCH, noise, out=tmp_path / "b", sampler=PKSampler(pids, ids=4, images=2, seed=0), options=FP32)
    assert same.model.fingerprint == plain.model.fingerprint


def test_an_own_sampler_cannot_order_a_stream(tmp_path: Path) -> None:
    from tests.data.shards.made import noise_shards

    shards = noise_shards(tmp_path / "shards")
    with pytest.raises(UsageError, match="without stream=True"):
        train(ONE_EPOCH, shards, out=tmp_path / "run", sampler=Twice(), options=TrainOptions(stream=True))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("order", "sentence"),
    [
        ([[0, 1]], "no array of int64"),
        (np.zeros(4, int), "no array of int64"),
        (np.zeros((2, 4)), "no array of int64"),
        (np.zeros((0, 4), int), "no batches in epoch 1"),
        (np.array([[0, 9]]), "asks for image 9, and there are 9 training images, counted from 0"),
        (np.array([[0, -1]]), "asks for image -1, and"),
        (np.array([[0, 1, 2]]), "2 processes cannot share batches of 3 images evenly"),
    ],
)
def test_batches_that_cannot_be_are_refused(order: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        check_batches(order, 9, 2)


def test_batches_of_a_later_epoch_are_checked_too(noise: Path, tmp_path: Path) -> None:
    """A row below 0 is another image in Python, and would be learned in silence."""

    class Slips:
        def epoch(self, epoch: int) -> Any:
            return np.arange(8).reshape(2, 4) - 1 if epoch == 2 else np.arange(8).reshape(2, 4)

    recipe = override(ONE_EPOCH, ["optim.epochs=2"])
    with pytest.raises(UsageError, match="in epoch 2 the sampler asks for image -1, and there are"):
        train(recipe, noise, out=tmp_path / "run", sampler=Slips(), options=FP32)


def test_own_samples_are_a_data_set(noise: Path, tmp_path: Path) -> None:
    dataset = load_dataset(noise)
    samples = [Sample(sample.path, sample.pid, sample.camid) for sample in dataset.train]
    run = train(ONE_EPOCH, samples, out=tmp_path / "run", network=Small, options=FP32)
    assert run.evaluation is None
    run.write_report("my.py")


@pytest.mark.parametrize("data", [[], ()])
def test_no_samples_are_no_data_set(data: Any, tmp_path: Path) -> None:
    with pytest.raises(ReidkitError, match="has no training images"):
        train(ONE_EPOCH, data, out=tmp_path / "run")


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"network": "mine:Small"}, "the network is a str: give a torch.nn.Module, or the class or function"),
        ({"terms": Term("norm", 1.0, batch_hard_triplet, "f_t")}, "terms are a list of Term"),
        ({"terms": [batch_hard_triplet]}, "terms are a list of Term"),
        ({"terms": [Term("norm", batch_hard_triplet, 1.0, "f_t")]}, "pass text and a number"),  # type: ignore[arg-type]
        ({"sampler": [[0, 1]]}, r"the sampler has no epoch\(n\)"),
        ({"sampler": PKSampler}, r"the sampler has no epoch\(n\)"),
        ({"options": {"device": "cpu"}}, "options are a dict: pass TrainOptions"),
        ({"callbacks": [Callback]}, "callbacks are objects of a class made from Callback, and no classes"),
        ({"callbacks": [print]}, "callbacks are objects of a class made from Callback"),
        ({"callbacks": Callback()}, r"callbacks are a Callback: pass a list, \[Mine\(\)\]"),
        ({"weights": 3}, "a int is no path: pass a file of weights"),
        ({"teacher": "runs/large"}, "the model is a str: pass what load_model returns"),
    ],
)
def test_parts_of_another_kind(noise: Path, tmp_path: Path, parts: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        train(ONE_EPOCH, noise, out=tmp_path / "run", **parts)
    assert not (tmp_path / "run").exists()
