"""The backbone against what is known of the published networks."""

import pytest
import torch

from reidkit.errors import UsageError
from reidkit.model.backbones.resnet import KINDS, ResNet

# Parameters of the published ImageNet networks, less those of their classifier.
PARAMETERS = {
    "resnet18": 11_689_512 - 513_000,
    "resnet34": 21_797_672 - 513_000,
    "resnet50": 25_557_032 - 2_049_000,
    "resnet101": 44_549_160 - 2_049_000,
    "resnet152": 60_192_808 - 2_049_000,
    "seresnet50": 28_088_024 - 2_049_000,
    "seresnet101": 49_326_872 - 2_049_000,
    "seresnext50": 27_559_896 - 2_049_000,
    "seresnext101": 48_955_416 - 2_049_000,
    "resnet18-ibn-a": 11_689_512 - 513_000,
    "resnet34-ibn-a": 21_797_672 - 513_000,
    "resnet50-ibn-a": 25_557_032 - 2_049_000,
    "resnet101-ibn-a": 44_549_160 - 2_049_000,
    # An instance norm behind two blocks, of 64 and 128 channels, or four times as many.
    "resnet18-ibn-b": 11_689_512 - 513_000 + 2 * (64 + 128),
    "resnet34-ibn-b": 21_797_672 - 513_000 + 2 * (64 + 128),
    "resnet50-ibn-b": 25_557_032 - 2_049_000 + 2 * (256 + 512),
    "resnet101-ibn-b": 44_549_160 - 2_049_000 + 2 * (256 + 512),
}


def resnet(name="resnet18", **changes):
    return ResNet(name, **{"width": 1.0, "last_stride": 2, "stride_in": "3x3", "stem_relu": True} | changes)


@pytest.mark.parametrize("name", KINDS)
def test_size_is_the_published_one(name):
    with torch.device("meta"):
        network = resnet(name)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


def test_names_are_those_of_torchvision():
    names = set(resnet("resnet50").state_dict())
    assert {"conv1.weight", "bn1.running_var", "layer1.0.downsample.0.weight", "layer4.2.conv3.weight"} <= names
    assert not any(name.startswith("fc.") for name in names)
    assert "layer1.0.downsample.0.weight" not in resnet("resnet18").state_dict()


def test_names_of_the_variants_are_those_of_their_authors():
    squeezed, instance = set(resnet("seresnext50").state_dict()), set(resnet("resnet50-ibn-a").state_dict())
    assert {"layer1.0.se_module.fc1.bias", "layer4.2.se_module.fc2.weight"} <= squeezed
    assert {"layer3.5.bn1.IN.weight", "layer3.5.bn1.BN.running_var", "layer4.0.bn1.weight"} <= instance
    assert "layer4.0.bn1.IN.weight" not in instance, "the last stage has batch norms only"
    behind = set(resnet("resnet50-ibn-b").state_dict())
    assert {"bn1.weight", "layer1.2.IN.weight", "layer2.3.IN.bias"} == {
        name for name in behind if "IN.weight" in name or name in {"bn1.weight", "layer2.3.IN.bias"}
    } - {"layer2.3.IN.weight"}
    assert "bn1.running_mean" not in behind, "the norm of the stem knows nothing of other images"


@pytest.mark.parametrize(("last_stride", "height"), [(2, 4), (1, 8)])
@pytest.mark.parametrize("name", ["resnet18", "seresnet50", "seresnext50", "resnet50-ibn-a"])
def test_last_stride_doubles_the_map(name, last_stride, height):
    network = resnet(name, last_stride=last_stride, width=0.25)
    feature_map = network.eval()(torch.zeros(1, 3, 128, 64))
    assert feature_map.shape == (1, network.channels, height, height // 2)


def test_groups_share_the_3x3_convolution_out():
    """32 groups of 4 channels at a stage of 64: 128 channels inside of 256; at an eighth of the width one each."""
    block = resnet("seresnext50").layer1[0]
    assert (block.conv2.in_channels, block.conv2.groups, block.conv3.out_channels) == (128, 32, 256)
    assert resnet("seresnext50", width=0.125).layer1[0].conv2.in_channels == 32


@pytest.mark.parametrize("name", ["seresnet50", "seresnext101", "resnet50-ibn-a"])
def test_a_variant_learns(name):
    """Every weight of it gets a gradient, in bf16 and channels last, too."""
    torch.manual_seed(0)
    network = resnet(name, width=0.125).to(memory_format=torch.channels_last).train()
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.randn(4, 3, 64, 32)).float().square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    assert network.layer1[0].conv1.weight.grad.abs().sum() > 0


def test_stride_sits_where_it_is_told():
    torchvision = resnet("resnet50", width=0.25)
    caffe = resnet("resnet50", width=0.25, stride_in="1x1")
    assert (torchvision.layer2[0].conv1.stride, torchvision.layer2[0].conv2.stride) == ((1, 1), (2, 2))
    assert (caffe.layer2[0].conv1.stride, caffe.layer2[0].conv2.stride) == ((2, 2), (1, 1))
    assert torchvision.layer2[0].downsample[0].stride == caffe.layer2[0].downsample[0].stride == (2, 2)


def test_stem_without_relu_lets_negatives_through():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 64, 32)
    seen = []
    for stem_relu in (True, False):
        network = resnet(width=0.25, stem_relu=stem_relu).eval()
        network.maxpool.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].min().item()))
        network(images)
    assert seen[0] == 0.0
    assert seen[1] < 0.0


def test_basic_block_by_the_equation():
    """Relu(x + bn(conv(relu(bn(conv(x)))))), with batch norms that change nothing."""
    block = resnet(width=0.125).layer1[0].eval()
    x = torch.randn(1, 8, 5, 3)
    once = torch.nn.functional.conv2d(x, block.conv1.weight, padding=1) / (1 + 1e-5) ** 0.5
    twice = torch.nn.functional.conv2d(once.relu(), block.conv2.weight, padding=1) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(block(x), (x + twice).relu())


def test_width_is_a_multiple_of_eight():
    assert resnet(width=0.5).channels == 256
    assert resnet(width=0.3).conv1.out_channels == 16
    assert resnet(width=0.01).conv1.out_channels == 8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "resnet51"}, "did you mean resnet"),
        ({"last_stride": 3}, "last_stride must be 1 or 2, not 3"),
        ({"stride_in": "auto"}, "stride_in must be 3x3 or 1x1, not auto"),
    ],
)
def test_what_it_does_not_have_is_refused(options, words):
    with pytest.raises(UsageError, match=words):
        resnet(**options)


def test_the_pool_of_the_stem_in_both_ways():
    """Of a ramp 0, 1, ..., 7 the maxima of three: padded 1, 3, 5, 7; without padding and rounded up 2, 4, 6, 7."""
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    padded, ceil = (resnet(width=0.125, stem_pool=how).maxpool(ramp)[0, 0, 0].tolist() for how in ("padded", "ceil"))
    assert (padded, ceil) == ([1, 3, 5, 7], [2, 4, 6, 7])
