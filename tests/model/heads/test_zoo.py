"""The heads of papers: their size, their spans, and what is special about each."""

import pytest
import torch
from safetensors.torch import save_file

from reidkit import recipe
from reidkit.errors import UsageError, WeightsError
from reidkit.model import ResNet, Single, build_network, fuse_batch_norms
from reidkit.model.weights import load_backbone

TINY = {"backbone": "resnet18", "width": 0.125, "last_stride": 1, "neck": "bnneck"}
HEADS = {
    "pcb": 6,
    "rpp": 6,
    "mgn": 8,
    "bdb": 2,
    "pyramid": 21,
    "trinet": 1,
    "svdnet": 1,
    "aligned": 1,
    "scpnet": 4,
    "mancs": 1,
}
"""Each head and its number of branches."""


def tiny(head, **more):
    embedding = {"scpnet": 0, "aligned": 0, "mancs": 0}.get(head, 8)
    torch.manual_seed(0)
    return build_network(recipe.Network(head=head, **{**TINY, "embedding": embedding, **more}))


def branches(network):
    return [name for name in network.spans if not any(other.startswith(f"{name}.") for other in network.spans if name)]


@pytest.mark.parametrize(
    ("head", "millions", "length"),
    [
        ("single", 23.512, 2048),
        ("pcb", 26.658, 1536),
        ("rpp", 26.660, 1536),
        ("mgn", 68.810, 2048),
        ("bdb", 31.121, 1536),
        ("pyramid", 29.021, 2688),
        ("trinet", 25.740, 128),
        ("svdnet", 25.607, 1024),
        ("aligned", 23.778, 2048),
        ("scpnet", 40.310, 8192),
    ],
)
def test_parameters_on_a_resnet50_as_published(head, millions, length):
    with torch.device("meta"):
        network = build_network(recipe.Network(head=head, last_stride=1, neck="bnneck"))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=5e-4)
    assert network.channels == length


@pytest.mark.parametrize("head", HEADS)
def test_branches_fill_the_vector_side_by_side(head):
    network = tiny(head)
    found = [network.spans[name] for name in branches(network) if name or len(network.spans) == 1]
    assert len(found) == HEADS[head]
    assert [span.start for span in found] == [0, *(span.stop for span in found[:-1])]
    assert found[-1].stop == network.channels
    assert set(network.ranked) <= set(network.spans)


@pytest.mark.parametrize("head", HEADS)
def test_both_features_and_what_is_aside(head):
    network, images = tiny(head), torch.randn(4, 3, 64, 32)
    features = network.train()(images)
    assert features.f_t.shape == features.f_i.shape == (4, network.channels)
    if network.aside:
        widths = [span.stop - span.start for span in network.aside.values()]
        assert features.aside.shape == (4, sum(widths))
    else:
        assert features.aside is None
    network.eval()
    alone = torch.cat([network(image[None]).f_i for image in images])
    torch.testing.assert_close(network(images).f_i, alone, rtol=1e-4, atol=1e-5)
    assert network(images).aside is None


@pytest.mark.parametrize("head", HEADS)
def test_every_weight_learns_and_a_state_comes_back(head):
    network = tiny(head)
    features = network.train()(torch.randn(4, 3, 64, 32))
    sum(side.square().sum() for side in features if side is not None).backward()
    silent = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert not silent
    other = tiny(head)
    other.load_state_dict(network.state_dict())
    images = torch.randn(2, 3, 64, 32)
    assert torch.equal(other.eval()(images).f_i, network.eval()(images).f_i)
    fused = fuse_batch_norms(network)
    torch.testing.assert_close(fused(images).f_i, network(images).f_i, rtol=1e-3, atol=1e-4)


def test_several_of_one_whole_view_is_single():
    """PCB with one stripe."""
    network, images = tiny("pcb", stripes=1).eval(), torch.randn(2, 3, 64, 32)
    leaf = network.head.heads["stripe0"]
    assert isinstance(leaf, Single)
    map_bchw = network.backbone(images)
    assert torch.equal(network(images).f_i, leaf(map_bchw).f_i)
    assert torch.equal(leaf(map_bchw).f_t, leaf.embedding(map_bchw.mean((2, 3))))


def test_spans_of_mgn():
    """In the order one, two (whole, stripes), three (whole, stripes): groups are spans, too."""
    with torch.device("meta"):
        spans = build_network(recipe.Network(head="mgn", last_stride=1)).spans
    assert spans["two.stripes"] == slice(512, 1024)
    assert spans["three.stripes"] == slice(1280, 2048)


def test_copies_start_equal_and_part_after_a_step():
    network = tiny("mgn").train()
    tails = [network.head.views[name] for name in ("one", "two", "three")]
    first = [tail.layer4[0].conv1.weight for tail in tails]
    assert torch.equal(first[0], first[1])
    assert torch.equal(first[0], first[2])
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    network(torch.randn(4, 3, 64, 32)).f_t.square().sum().backward()
    optimizer.step()
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[1], first[2])


@pytest.mark.parametrize("head", ["mgn", "mancs", "pcb"])
def test_weights_of_a_plain_backbone_fill_every_copy(tmp_path, head):
    torch.manual_seed(5)
    plain = ResNet("resnet18", width=0.125)
    state = {**plain.state_dict(), "fc.weight": torch.zeros(3, 64), "fc.bias": torch.zeros(3)}
    save_file(state, tmp_path / "weights.safetensors")
    network = tiny(head)
    words = load_backbone(network, tmp_path / "weights.safetensors")
    assert "fc.weight" in words
    filled = 0
    for name, value in network.named_parameters():
        key = name.removeprefix("backbone.").removeprefix("head.")
        for prefix in ("views.one.", "views.two.", "views.three.", "first.", "second."):
            key = key.removeprefix(prefix)
        if key in state and (name.startswith("backbone.") or "layer" in name):
            assert torch.equal(value, state[key]), name
            assert name in network.filled
            filled += 1
    copied = [key for key in state if key.startswith(("layer3.1", "layer4")) and key.endswith(("weight", "bias"))]
    plain_names = [name for name, _ in plain.named_parameters()]
    assert filled == len(plain_names) + (2 * len(copied) if head == "mgn" else 0)
    assert not any("embedding" in name or "neck" in name for name in network.filled)


def test_weights_that_lack_a_stage_are_refused(tmp_path):
    state = {
        name: value for name, value in ResNet("resnet18", width=0.125).state_dict().items() if "layer4" not in name
    }
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match=r"it lacks at? ?.*layer4|it lacks layer4"):
        load_backbone(tiny("mgn"), tmp_path / "weights.safetensors")


def test_branch_one_of_mgn_has_the_stride_that_the_recipe_gives():
    images = torch.randn(2, 3, 64, 32)
    for stride, rows in ((2, 2), (1, 4)):
        network = tiny("mgn", last_stride=stride)
        views = network.head.views
        map_bchw = network.backbone(images)
        assert [views[name](map_bchw).shape[2] for name in ("one", "two", "three")] == [rows, 4, 4]


def test_the_stripes_of_scpnet_have_no_gradient():
    network = tiny("scpnet").train()
    features = network(torch.randn(4, 3, 64, 32))
    assert not features.aside.requires_grad
    map_bchw = network.backbone(torch.randn(4, 3, 64, 32))
    stripes = network.head.beside(map_bchw)
    torch.testing.assert_close(stripes[:, : network.backbone.channels], map_bchw[:, :, :1].mean((2, 3)))


def test_in_evaluation_unit_branches_have_length_one():
    network, images = tiny("pcb", unit=True), torch.randn(3, 3, 64, 32)
    f_i = network.eval()(images).f_i
    lengths = torch.stack([f_i[:, span].norm(dim=1) for name, span in network.spans.items() if name])
    torch.testing.assert_close(lengths, torch.ones(6, 3))
    assert (network.train()(images).f_i.norm(dim=1) - 6**0.5).abs().max() > 0.1


def test_dropout_is_on_what_the_id_loss_sees_alone():
    network, images = tiny("pcb", dropout=0.5).train(), torch.randn(64, 3, 32, 32)
    features = network(images)
    assert (features.f_i == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert not (features.f_t == 0).any()
    assert not (network.eval()(images).f_i == 0).any()


@pytest.mark.parametrize("head", ["bdb", "rpp", "pyramid", "trinet", "aligned", "scpnet"])
def test_a_map_of_any_number_of_channels_will_do(head):
    """18, as of a very narrow transformer: not even a multiple of four."""
    embedding = 0 if head in {"aligned", "scpnet"} else 8
    made = {"backbone": "vit-tiny", "width": 0.1, "head": head, "embedding": embedding}
    network = build_network(recipe.Network(**made)).train()
    assert network.backbone.channels == 18
    assert network(torch.randn(2, 3, 64, 32)).f_i.shape == (2, network.channels)


def test_what_no_head_can_be_made_of_is_refused():
    with pytest.raises(UsageError, match=r"network.embedding must be 0 for the head scpnet"):
        recipe.Network(head="scpnet", embedding=8)
    with pytest.raises(UsageError, match=r"network.stripes must be between 0"):
        recipe.Network(stripes=17)
