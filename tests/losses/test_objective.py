"""The sum of equation 6, and terms of one's own."""

import dataclasses

import pytest
import torch
from torch import nn

from reidkit.errors import UsageError
from reidkit.losses import CenterLoss, IdentityLoss, Objective, Term, batch_hard_triplet, build_objective
from reidkit.recipe import Center, Identity, Network, Recipe, Triplet

LABEL = torch.arange(8) // 2
WHOLE = {"": slice(0, 6)}
HALVES = {"": slice(0, 6), "top": slice(0, 2), "bottom": slice(2, 6)}


def total(feat_bd, label_b):
    return feat_bd.sum()


def test_worked_example():
    """Ones before the neck and twos after it, two images of three numbers: 0.5 * 6 and 2 * (the first column, 4)."""
    f_t, f_i = torch.ones(2, 3), torch.full((2, 3), 2.0)
    objective = Objective(
        [Term("before", 0.5, total, "f_t"), Term("after", 2.0, total, "f_i", "left")],
        {"": slice(0, 3), "left": slice(0, 1)},
    )
    terms = objective(f_t, f_i, torch.tensor([0, 1]))
    assert {name: term.item() for name, term in terms.items()} == {"before": 3.0, "after": 8.0}


def test_each_term_of_a_recipe_takes_its_feature():
    recipe = Recipe(network=Network(neck="bnneck"), center=Center(weight=5e-4), identity=Identity(smoothing=0.1))
    objective = build_objective(recipe, WHOLE, 4)
    f_t, f_i = torch.randn(8, 6), torch.randn(8, 6)
    terms = objective(f_t, f_i, LABEL)
    assert list(terms) == ["identity", "triplet", "center"]
    assert terms["identity"].item() == pytest.approx(objective.identity(f_i, LABEL).item())
    assert terms["triplet"].item() == pytest.approx(batch_hard_triplet(f_t, LABEL, 0.3).item())
    squares = (f_t - objective.center.centers[LABEL]).square().sum(1)
    assert terms["center"].item() == pytest.approx(5e-4 * squares.mean().item())


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({"identity": Identity(weight=0.0)}, ["triplet"]),
        ({"triplet": Triplet(weight=0.0)}, ["identity"]),
        ({}, ["identity", "triplet"]),
    ],
)
def test_a_term_without_weight_is_not_there(change, left):
    objective = build_objective(dataclasses.replace(Recipe(), **change), WHOLE, 4)
    assert list(objective(torch.randn(8, 6), torch.randn(8, 6), LABEL)) == left


def test_weights_scale_their_terms():
    features = torch.randn(8, 6), torch.randn(8, 6), LABEL
    plain = build_objective(Recipe(), WHOLE, 4)
    heavy = build_objective(Recipe(identity=Identity(weight=3.0), triplet=Triplet(weight=2.0)), WHOLE, 4)
    heavy.load_state_dict(plain.state_dict())
    one, more = plain(*features), heavy(*features)
    assert more["identity"].item() == pytest.approx(3 * one["identity"].item())
    assert more["triplet"].item() == pytest.approx(2 * one["triplet"].item())


def test_classifier_has_a_bias_only_without_a_neck():
    assert build_objective(Recipe(), WHOLE, 4).identity.classifier.bias is not None
    assert build_objective(Recipe(network=Network(neck="bnneck")), WHOLE, 4).identity.classifier.bias is None


def test_step_moves_the_centres():
    objective = build_objective(Recipe(center=Center(weight=5e-4)), WHOLE, 4)
    before = objective.center.centers.clone()
    objective(torch.randn(8, 6), torch.randn(8, 6), LABEL)
    objective.step(3.5e-4)
    assert not torch.equal(objective.center.centers, before)


def test_the_state_has_the_keys_of_every_release():
    """Checkpoints of old runs hold these, and the optimizer numbers the parameters in this order."""
    recipe = Recipe(center=Center(weight=5e-4))
    assert list(build_objective(recipe, WHOLE, 4).state_dict()) == [
        "identity.classifier.weight",
        "identity.classifier.bias",
        "center.centers",
    ]
    sampled = dataclasses.replace(recipe, identity=Identity(sampled=16))
    assert set(build_objective(sampled, WHOLE, 40).state_dict()) == {
        "center.centers",
        *(f"identity.{name}" for name in ("seed", "steps", "rows.weight", "rows.mean", "rows.square", "rows.visits")),
    }


def test_each_branch_of_a_head_has_its_own_id_loss():
    """Two branches of two and four numbers share the weight; triplet and centre loss see the whole vector."""
    recipe = Recipe(network=Network(neck="bnneck"), center=Center(weight=5e-4))
    objective = build_objective(recipe, HALVES, 4)
    f_t, f_i = torch.randn(8, 6), torch.randn(8, 6)
    terms = objective(f_t, f_i, LABEL)
    assert list(terms) == ["identity.top", "identity.bottom", "triplet", "center"]
    assert objective.identity_bottom.classifier.weight.shape == (4, 4)
    expected = objective.identity_top(f_i[:, :2], LABEL).item() / 2
    assert terms["identity.top"].item() == pytest.approx(expected)
    assert terms["triplet"].item() == pytest.approx(batch_hard_triplet(f_t, LABEL).item())
    nested = {"": slice(0, 6), "one": slice(0, 2), "two": slice(2, 6), "two.a": slice(2, 4), "two.b": slice(4, 6)}
    names = [term.name for term in build_objective(recipe, nested, 4).terms]
    assert names == ["identity.one", "identity.two.a", "identity.two.b", "triplet", "center"]


FIVE = {"": slice(0, 10), **{name: slice(2 * i, 2 * i + 2) for i, name in enumerate(("whole", *"abcd"))}}


@pytest.mark.parametrize(
    ("over", "weights"), [("mean", [0.2] * 5), ("sum", [1.0] * 5), ("halves", [0.5, *[0.125] * 4])]
)
def test_how_branches_share_a_weight(over, weights):
    """By halves as TransReID has it: losses of 2 for the whole and 1, 1, 1 and 5 for its parts are 2 together."""
    recipe = Recipe(network=Network(neck="bnneck"), identity=Identity(over=over), triplet=Triplet(over=over))
    objective = build_objective(recipe, FIVE, 4, ranked=("whole", *"abcd"))
    assert [term.weight for term in objective.terms] == pytest.approx(2 * weights)
    if over == "halves":
        losses = [2.0, 1.0, 1.0, 1.0, 5.0]
        assert sum(w * loss for w, loss in zip(weights, losses, strict=True)) == pytest.approx(2.0)
        alone = build_objective(recipe, WHOLE, 4)
        assert [term.weight for term in alone.terms] == [1.0, 1.0]


def test_six_classifiers_of_pcb_that_know_nothing():
    """Over four ids each costs ln 4: their sum is 8.3178, and their mean 1.3863."""
    six = {"": slice(0, 12), **{f"stripe{i}": slice(2 * i, 2 * i + 2) for i in range(6)}}
    for over, total_loss in (("sum", 8.3178), ("mean", 1.3863)):
        recipe = Recipe(network=Network(neck="bnneck"), identity=Identity(over=over), triplet=Triplet(weight=0.0))
        objective = build_objective(recipe, six, 4)
        for parameter in objective.parameters():
            nn.init.zeros_(parameter)
        terms = objective(torch.randn(8, 12), torch.randn(8, 12), LABEL)
        assert sum(term.item() for term in terms.values()) == pytest.approx(total_loss, abs=1e-4)


@pytest.mark.parametrize(("identity", "triplet", "wanted"), [(2.0, 1.0, 3.2726), (1.0, 1.0, 2.0794)])
def test_the_losses_of_mgn_that_knows_nothing(identity, triplet, wanted):
    """Eight cross entropies of ln 4: twice their mean and that of three triplets of 0.5; or with five soft ones."""
    eight = {"": slice(0, 16), **{f"b{i}": slice(2 * i, 2 * i + 2) for i in range(8)}}
    hinge = identity == 2.0
    recipe = Recipe(
        network=Network(neck="bnneck"),
        identity=Identity(weight=identity),
        triplet=Triplet(weight=triplet, margin=0.5, form="hinge" if hinge else "soft"),
    )
    objective = build_objective(recipe, eight, 4, ranked=[f"b{i}" for i in range(3 if hinge else 5)])
    for parameter in objective.parameters():
        nn.init.zeros_(parameter)
    equal = torch.ones(8, 16)  # d_p = d_n: the hinge costs its margin, the soft form ln 2
    terms = objective(equal, equal, LABEL)
    assert sum(term.item() for term in terms.values()) == pytest.approx(wanted, abs=1e-4)


class Proxies(nn.Module):
    """A loss of one's own that learns, and counts what the objective asks of it."""

    def __init__(self):
        super().__init__()
        self.proxies = nn.Parameter(torch.ones(4, 6))
        self.asked = []

    def forward(self, feat_bd, label_b):
        return (feat_bd - self.proxies[label_b]).square().mean()

    def step(self, lr):
        self.asked.append(lr)

    def collect(self):
        self.asked.append("collect")


def test_terms_of_ones_own():
    mine = Proxies()
    objective = Objective([Term("proxies", 1.0, mine, "f_i"), Term("id", 1.0, IdentityLoss(6, 4), "f_i")])
    assert list(objective.state_dict()) == ["proxies.proxies", "id.classifier.weight"]
    objective.step(0.1)
    objective.collect()
    assert mine.asked == [0.1, "collect"]
    assert set(objective(torch.ones(8, 6), torch.ones(8, 6), LABEL)) == {"proxies", "id"}


@pytest.mark.parametrize(
    ("term", "words"),
    [
        (Term("step", 1.0, total, "f_t"), "cannot be called 'step'"),
        (Term("loss", 1.0, total, "f_t"), "cannot be called 'loss'"),
        (Term("", 1.0, total, "f_t"), "cannot be called ''"),
        (Term("a b", 1.0, total, "f_t"), "cannot be called 'a b'"),
        (Term("mine", 1.0, total, "both"), "the side of the term mine must be f_t, f_i, aside or all, not both"),  # type: ignore[arg-type]
        (Term("mine", 1.0, total, "f_t", "left"), "the network has '', 'top', 'bottom'"),
        (Term("center", 1.0, total, "f_t"), "two terms are called 'center'"),
    ],
)
def test_a_term_that_cannot_be_is_refused(term, words):
    with pytest.raises(UsageError, match=words):
        Objective([Term("center", 1.0, CenterLoss(6, 4), "f_t"), term], HALVES)


def test_without_a_term_there_is_nothing_to_minimise():
    with pytest.raises(UsageError, match="give at least one term"):
        Objective([])


def test_the_id_losses_are_told_which_images_have_another_style() -> None:
    objective = build_objective(Recipe(), {"": slice(0, 4)}, 3)
    marks = torch.tensor([True, False])
    objective.mark_styled(marks)
    assert objective.get_submodule("identity").styled_b is marks
    assert "identity.styled_b" not in objective.state_dict()


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (torch.ones(8), r"a tensor \[8\]"),
        (torch.ones(1), r"a tensor \[1\]"),
        (torch.ones((), dtype=torch.complex64), "a complex number"),
        (0.5, "a float"),
        (None, "a NoneType"),
    ],
)
def test_a_loss_that_is_not_one_number(value, found):
    objective = Objective([Term("mine", 1.0, lambda *_: value, "f_t")])
    with pytest.raises(UsageError, match=f"the loss of the term mine is {found}: let it return one real number"):
        objective(torch.ones(8, 6), torch.ones(8, 6), LABEL)


def with_mine(loss, weight=1.0, side="f_t"):
    return Objective([Term("id", 1.0, IdentityLoss(6, 4), "f_i"), Term("mine", weight, loss, side)])


def features(*, learned=True):
    return torch.ones(8, 6).requires_grad_(learned) * 1


@pytest.mark.parametrize(
    "loss",
    [
        lambda feat_bd, _: feat_bd.detach().sum(),
        lambda feat_bd, _: (feat_bd > 0).sum(),
        lambda feat_bd, _: torch.tensor(float(feat_bd.detach().sum())),
    ],
)
def test_a_loss_without_a_gradient(loss):
    """It was logged, and nothing was learned by it. Frozen features have none, nor has a pass without gradients."""
    objective = with_mine(loss)
    with pytest.raises(UsageError, match="the loss of the term mine has no gradient"):
        objective(features(), features(), LABEL)
    with pytest.raises(UsageError, match="the loss of the term mine has no gradient"):
        with_mine(lambda sides, label_b: loss(sides.f_t, label_b), side="all")(features(), features(), LABEL)
    assert "mine" in objective(features(learned=False), features(), LABEL)
    assert "mine" in with_mine(loss, weight=0.0)(features(), features(), LABEL)
    with torch.no_grad():
        assert "mine" in objective(features(), features(), LABEL)
    with torch.inference_mode():
        assert "mine" in objective(torch.ones(8, 6), torch.ones(8, 6), LABEL)


def test_a_batch_in_which_there_is_nothing_to_learn():
    nothing = with_mine(lambda *_: torch.tensor(0.0))(features(), features(), LABEL)
    assert nothing["mine"] == 0


@pytest.mark.parametrize(
    "loss",
    [
        lambda feat_bd, _: feat_bd.mul_(2).sum(),
        lambda feat_bd, _: feat_bd[:, :2].clamp_(min=1e-6).log().sum(),
        lambda feat_bd, label_b: (label_b.add_(1), feat_bd.sum())[1],
    ],
)
def test_a_loss_that_changes_what_it_is_given(loss):
    """A term behind it saw other features, and the centres moved by others."""
    with pytest.raises(UsageError, match="the loss of the term mine changes the features or labels in place"):
        with_mine(loss)(features(), features(), LABEL.clone())
