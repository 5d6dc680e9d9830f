"""Figures 2 and 5: a drawing changes where the network does."""

from dataclasses import replace

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from reidkit.experiments.luo2019 import pipelines
from reidkit.experiments.luo2019.pipelines import walk
from reidkit.recipe import Network, Triplet
from reidkit.recipes.luo2019.ladder import BNNECK, STANDARD, STRONG

TINY = {"backbone": "resnet18", "width": 0.125}


@pytest.fixture(scope="module")
def standard():
    return walk(STANDARD)


@pytest.fixture(scope="module")
def strong():
    return walk(STRONG)


def boxes(diagram):
    return {box.key: box for box in diagram.boxes()}


def test_shapes_of_the_paper_by_hand(standard, strong):
    """Section 3.4: a last map of 8 x 4 with stride 2, of 16 x 8 with stride 1."""
    assert standard.backbone[-1].shape == (64, 2048, 8, 4)
    assert strong.backbone[-1].shape == (64, 2048, 16, 8)
    assert strong.backbone[-1].kind == "3 Bottleneck"
    assert [stage.detail for stage in standard.backbone[-4:]] == ["stride 1", "stride 2", "stride 2", "stride 2"]
    assert standard.feature == strong.feature == (64, 2048)


def test_losses_hang_on_the_features_of_figure_5(standard, strong):
    assert standard.one_feature
    assert not strong.one_feature
    sides = {loss.name: loss.side for loss in strong.losses}
    assert sides == {"identity": "f_i", "triplet": "f_t", "center": "f_t"}
    assert [part.detail for part in strong.losses[0].parts] == ["2048 to 751, no bias"]
    assert [part.detail for part in standard.losses[0].parts] == ["2048 to 751, bias"]


def test_the_neck_of_each(standard, strong):
    first, second = pipelines.neck_diagram(standard), pipelines.neck_diagram(strong)
    assert [box.title for box in first.chain] == ["pooling", "f"]
    assert [box.title for box in second.chain] == ["pooling", "fₜ", "BN", "fᵢ"]
    assert list(second.below) == ["f_i"]
    assert list(first.below) == ["f_t"]
    assert [box.title for box in second.above["f_t"]] == ["triplet loss", "centre loss"]
    assert [box.title for box in first.above["f_t"]] == ["triplet loss"]
    assert [box.title for box in second.after] == ["FC", "ID loss"]
    assert first.after[1].lines == ()  # a linear classifier has no margin
    assert second.after[1].lines == ("smoothing 0.1",)
    assert second.above["f_t"][0].lines == ("margin 0.3",)


def test_what_differs_from_standard_to_strong_is_the_six_tricks(standard, strong):
    first, second = boxes(pipelines.diagram(standard)), boxes(pipelines.diagram(strong))
    changed = {key for key, box in second.items() if first.get(key) != box}
    warm_up, erase, smooth, stride, neck, center = "rate", "augment", "identity", "backbone.layer4", "neck", "center"
    follows = {"f_t", "f_i", "identity.classifier", "use"}  # features, classifier and distance go by the neck
    assert changed == {warm_up, erase, smooth, stride, neck, center} | follows


def test_the_distance_is_the_one_of_table_2(standard, strong):
    """Its first row is f without BNNeck by the Euclidean distance, its last one f_i by the cosine."""
    assert pipelines.neck_diagram(standard).below["f_t"].lines[1] == "Euclidean distance"
    assert pipelines.neck_diagram(strong).below["f_i"].lines[1] == "cosine distance"


@pytest.mark.parametrize("figure", [pipelines.figure2, pipelines.figure5])
def test_words_stay_inside_their_boxes(figure):
    """Measured as they are drawn: every text that starts in a box ends in it, with room on all sides."""
    made = figure()
    canvas = FigureCanvasAgg(made)
    canvas.draw()
    renderer = canvas.get_renderer()
    inside = 0
    for axes in made.axes:
        frames = [patch.get_window_extent(renderer) for patch in axes.patches]
        assert all(frame.x0 >= 0 and frame.x1 <= made.bbox.x1 for frame in frames)
        for text in axes.texts:
            there = text.get_window_extent(renderer)
            middle = (there.x0 + there.x1) / 2, (there.y0 + there.y1) / 2
            for frame in (frame for frame in frames if frame.contains(*middle)):
                inside += 1
                room = 0.03 * made.dpi
                assert there.x0 - frame.x0 > room, text.get_text()
                assert frame.x1 - there.x1 > room, text.get_text()
                assert there.y0 - frame.y0 > room, text.get_text()
                assert frame.y1 - there.y1 > room, text.get_text()
    assert inside > 20


def test_another_network_is_another_drawing():
    changed = replace(BNNECK, network=Network(**TINY, neck="bnneck", embedding=2), triplet=Triplet(weight=0))
    found = boxes(pipelines.diagram(walk(changed, num_ids=10)))
    assert found["embedding"].lines == ("64 → 2", "bias")
    assert found["backbone.layer4"].lines[0] == "2 BasicBlock"
    assert found["identity.classifier"].lines == ("2 → 10", "no bias")
    assert "triplet" not in found
    without = boxes(pipelines.diagram(walk(replace(changed, network=Network(**TINY, stem_relu=False)), num_ids=10)))
    assert "BN, ReLU" in found["stem"].lines
    assert "BN" in without["stem"].lines


def test_what_both_have_of_the_backbone_is_one_box(standard, strong):
    """Stem, layer1, layer2 and layer3 are alike; of equal backbones the last stage keeps its own box."""
    alike = pipelines.shared(standard, strong)
    assert [stage.path for stage in standard.backbone[alike:]] == ["backbone.layer4"]
    assert pipelines.shared(strong, strong) == alike
    chain = [box.key for box in pipelines.diagram(strong, alike).chain]
    assert chain[:4] == ["batch", "augment", "backbone", "backbone.layer4"]
    assert boxes(pipelines.diagram(strong, alike))["backbone"].lines == ("up to layer3", "1024×16×8")


def test_figure_5_says_which_loss_pulls_at_which_feature():
    """Section 3.5: both at f; with BNNeck the triplet loss at f_t and the ID loss at f_i. Only the neck differs."""
    first, second = pipelines.figure5().axes
    assert "(a) ID loss and triplet loss on f" in {text.get_text() for text in first.texts}
    assert "(b) ID loss on fᵢ, triplet loss on fₜ" in {text.get_text() for text in second.texts}
    orange = {text.get_text() for text in second.texts if text.get_color() == pipelines.WARM}
    assert orange == {
        "orange: what differs from (a)",
        "fₜ",
        "BN",
        "shift held at 0",
        "fᵢ",
        "2048-d",
        "no bias",
        "cosine distance",
    }


def test_every_box_is_drawn_and_new_ones_have_thick_edges(standard, strong):
    figure = pipelines.figure5(STANDARD, STRONG)
    first, second = figure.axes
    assert len(first.patches) == len(pipelines.neck_diagram(standard).boxes())
    assert {patch.get_linewidth() for patch in first.patches} == {1.0}
    drawn = pipelines.neck_diagram(strong).boxes()
    thick = sum(patch.get_linewidth() > 2 for patch in second.patches)
    assert len(second.patches) == len(drawn)
    assert thick == len(set(drawn) - set(pipelines.neck_diagram(standard).boxes()))
    written = {text.get_text() for text in second.texts}
    assert {"BN", "fₜ", "fᵢ", "shift held at 0", "2048 → 751"} <= written


def test_walking_leaves_the_random_numbers_alone():
    import torch

    torch.manual_seed(0)
    before = torch.get_rng_state()
    walk(replace(STRONG, network=Network(**TINY)), num_ids=4)
    assert torch.equal(before, torch.get_rng_state())
