"""What no loss takes: labels and features of other kinds, in one sentence and not in a number or torch's own words."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from reidkit import losses
from reidkit.errors import UsageError

Term: Any = losses.Term
DIM, IDS = 8, 3
OF_PAIRS = {
    "batch hard": losses.batch_hard_triplet,
    "weighted": losses.weighted_triplet,
    "circle": losses.circle_loss,
    "contrastive": losses.supervised_contrastive,
    "centroid": losses.centroid_triplet,
    "quantile": partial(losses.quantile_triplet, share=0.5),
    "curriculum": losses.CurriculumTriplet(3),
    "aligned": lambda feat_bd, label_b: losses.aligned_triplet(feat_bd, feat_bd, label_b, 4),
}
OF_CLASSES = {
    "center": losses.CenterLoss(DIM, IDS),
    "identity": losses.IdentityLoss(DIM, IDS),
    "arcface": losses.IdentityLoss(DIM, IDS, logits="arcface"),
    "focal": losses.FocalLoss(DIM, IDS),
    "sampled": losses.PartialFC(DIM, IDS, sampled=IDS),
}
EVERY = OF_PAIRS | OF_CLASSES


def batch():
    return torch.randn(6, DIM), torch.arange(IDS).repeat_interleave(2)


@pytest.mark.parametrize("name", EVERY)
def test_labels_that_are_not_one_for_each_feature(name):
    """[B, 1] gave the curriculum a loss of other pairs, and one label too few the focal loss one image fewer."""
    feat_bd, label_b = batch()
    for wrong in (label_b[:, None], label_b[:-1], torch.nn.functional.one_hot(label_b)):
        with pytest.raises(UsageError, match=r"pass features \[B, D\] and labels \[B\]"):
            EVERY[name](feat_bd, wrong)


@pytest.mark.parametrize("name", EVERY)
def test_lists_and_arrays(name):
    feat_bd, label_b = batch()
    for features, labels in ((feat_bd, label_b.tolist()), (feat_bd, label_b.numpy()), (feat_bd.numpy(), label_b)):
        with pytest.raises(UsageError, match=r"as torch\.as_tensor makes it"):
            EVERY[name](features, labels)


@pytest.mark.parametrize("name", OF_CLASSES)
def test_labels_that_are_no_numbers_of_ids(name):
    """The centre of -1 was the last one, and the sampled classifier took -1 for its first id."""
    feat_bd, label_b = batch()
    for wrong in (label_b - 1, label_b + 1):
        with pytest.raises(UsageError, match="number the ids from 0 on") as told:
            OF_CLASSES[name](feat_bd, wrong)
        assert told.value.argument == "num_ids"
    for wrong in (label_b.float(), label_b > 0):
        with pytest.raises(UsageError, match="pass the numbers of ids, int64"):
            OF_CLASSES[name](feat_bd, wrong)
    torch.manual_seed(0)
    assert OF_CLASSES[name](feat_bd, label_b.int()).isfinite(), "as arrays of 32 bits become tensors"


@pytest.mark.parametrize("name", OF_CLASSES)
def test_features_of_another_length(name):
    """The sampled classifier took a feature's length for where its weights end."""
    with pytest.raises(UsageError, match=r"features have 5 dimensions and the loss was made for 8: make it with dim=5"):
        OF_CLASSES[name](torch.randn(6, 5), batch()[1])


def test_parts_of_ids_are_labels_of_a_mixed_image():
    feat_bd, label_b = batch()
    loss = losses.IdentityLoss(DIM, IDS)
    whole = torch.nn.functional.one_hot(label_b, IDS).float()
    torch.testing.assert_close(loss(feat_bd, whole), loss(feat_bd, label_b))
    for refusing, labels in ((loss, whole[:, :-1]), (loss, whole[:-1]), (losses.FocalLoss(DIM, IDS), whole)):
        with pytest.raises(UsageError, match=r"pass features \[B, D\] and labels \[B\]"):
            refusing(feat_bd, labels)


@pytest.mark.parametrize("smoothing", [-0.1, 10])
def test_smoothing_that_is_no_fraction(smoothing):
    with pytest.raises(UsageError, match="from 0 to 1"):
        losses.IdentityLoss(DIM, IDS, smoothing=smoothing)


def test_numbers_of_a_curriculum():
    with pytest.raises(UsageError, match="it must have some"):
        losses.CurriculumTriplet(0)
    for share in (-0.5, 2):
        with pytest.raises(UsageError, match="from 0, the hardest negative, to 1"):
            losses.quantile_triplet(*batch(), share)


TEXT: Any = "0.3"
NUMBERS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "weighted": ("margin", lambda feat, label: losses.weighted_triplet(feat, label, TEXT)),
    "as published": ("margin", lambda feat, label: losses.weighted_triplet_as_published(feat, label, TEXT)),
    "quantile": ("margin", lambda feat, label: losses.quantile_triplet(feat, label, 0.5, TEXT)),
    "share": ("share", lambda feat, label: losses.quantile_triplet(feat, label, TEXT)),
    "curriculum": ("epochs", lambda *_: losses.CurriculumTriplet(TEXT)),
    "circle": ("margin", lambda feat, label: losses.circle_loss(feat, label, TEXT)),
    "circle's scale": ("scale", lambda feat, label: losses.circle_loss(feat, label, scale=TEXT)),
    "contrastive": ("scale", lambda feat, label: losses.supervised_contrastive(feat, label, TEXT)),
    "centroid": ("margin", lambda feat, label: losses.centroid_triplet(feat, label, TEXT)),
    "centroid as published": ("margin", lambda feat, label: losses.centroid_triplet_as_published(feat, label, TEXT)),
    "aligned": ("margin", lambda feat, label: losses.aligned_triplet(feat, feat, label, 4, TEXT)),
    "smoothing": ("smoothing", lambda *_: losses.IdentityLoss(DIM, IDS, smoothing=TEXT)),
    "deviation": ("std", lambda *_: losses.IdentityLoss(DIM, IDS, std=TEXT)),
    "arcface": (
        "margin",
        lambda feat, label: losses.margin_logits(feat, label, "arcface", scale=1, margin=TEXT),
    ),
    "cosface": ("scale", lambda feat, label: losses.margin_logits(feat, label, "cosface", scale=TEXT, margin=1)),
    "center": ("lr", lambda *_: losses.CenterLoss(DIM, IDS, lr=TEXT)),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_text_for_a_number(name):
    argument, call = NUMBERS[name]
    with pytest.raises(UsageError, match=f"{argument} must be a number, not the text '0.3'") as told:
        call(*batch())
    assert told.value.argument == argument


@pytest.mark.parametrize("loss", [losses.batch_hard_triplet, losses.weighted_triplet])
def test_the_soft_margin_of_other_programs(loss):
    """Where the form was soft already it was taken in silence, else it was a TypeError."""
    soft: Any = "soft"
    with pytest.raises(UsageError, match="pass form='soft', which has no margin"):
        loss(*batch(), margin=soft)
    assert loss(*batch(), form="soft").isfinite()


def test_a_margin_may_be_learned():
    margin = torch.nn.Parameter(torch.tensor(5.0))
    losses.batch_hard_triplet(*batch(), margin=margin).backward()
    assert margin.grad == 1


@pytest.mark.parametrize("make", [losses.IdentityLoss, losses.CenterLoss])
def test_counts_of_a_loss(make):
    for dim, num_ids, argument in ((0, 3, "dim"), ("8", 3, "dim"), (8, 0, "num_ids"), (8, -1, "num_ids")):
        with pytest.raises(UsageError, match=f"{argument} must be a whole number from 1 on"):
            make(dim, num_ids)


def test_logits_of_no_kind_were_those_of_the_circle_loss():
    _, label_b = batch()
    for kind in ("linear", "ArcFace"):
        with pytest.raises(UsageError, match="kind must be cosface, arcface or circle"):
            losses.margin_logits(torch.rand(6, IDS), label_b, kind, scale=1, margin=0.1)
    with pytest.raises(UsageError, match=r"labels \[B\]"):
        losses.margin_logits(torch.rand(6, IDS), label_b[:, None], "arcface", scale=1, margin=0.1)


@pytest.mark.parametrize(
    ("term", "words"),
    [
        (losses.batch_hard_triplet, "terms are a list of Term"),
        (("mine", 0.1, losses.batch_hard_triplet, "f_t"), "terms are a list of Term"),
        (Term("mine", losses.batch_hard_triplet, 0.1, "f_t"), "pass text and a number"),
        (Term("mine", "0.1", losses.batch_hard_triplet, "f_t"), "pass text and a number"),
        (Term("mine", float("nan"), losses.batch_hard_triplet, "f_t"), "pass text and a number"),
        (Term(3, 0.1, losses.batch_hard_triplet, "f_t"), "pass text and a number"),
        (Term("mine", 0.1, losses.CenterLoss, "f_t"), r"pass an object, CenterLoss\(\.\.\.\)"),
        (Term("mine", 0.1, None, "f_t"), "pass a function or module"),
    ],
)
def test_what_is_no_term(term, words):
    with pytest.raises(UsageError, match=words) as told:
        losses.Objective([term])
    assert told.value.argument == "terms"
