"""Squeeze and excitation, and half an instance norm: by hand, and from the definition."""

import torch

from reidkit.model.backbones.resnet import InstanceBatchNorm
from reidkit.model.blocks import SqueezeExcite


def test_squeeze_and_excitation_by_hand():
    """Means 1 and 3; W1 adds them to 4 (relu leaves it), W2 makes (0, ln 3) of it: sigmoid gives 1/2 and 3/4."""
    module = SqueezeExcite(2)
    assert module.fc1.weight.shape == (1, 2, 1, 1), "a sixteenth of the channels, but one at least"
    with torch.no_grad():
        module.fc1.weight.fill_(1)
        module.fc1.bias.zero_()
        module.fc2.weight.copy_(torch.tensor([0.0, torch.log(torch.tensor(3.0)) / 4]).view(2, 1, 1, 1))
        module.fc2.bias.zero_()
    x = torch.tensor([[[[0.0, 2.0]], [[2.0, 4.0]]]])
    torch.testing.assert_close(module(x), torch.tensor([[[[0.0, 1.0]], [[1.5, 3.0]]]]))


def test_the_relu_between_cuts():
    """W1 gives -4, of which the relu leaves 0: both channels are halved."""
    module = SqueezeExcite(2)
    with torch.no_grad():
        module.fc1.weight.fill_(-1)
        module.fc1.bias.zero_()
        module.fc2.bias.zero_()
    x = torch.tensor([[[[0.0, 2.0]], [[2.0, 4.0]]]])
    torch.testing.assert_close(module(x), x / 2)


def test_half_an_instance_norm_by_hand():
    """Channel 1: (1, 3) and (5, 7) by themselves, twice (-1, 1). Channel 2: (2, 4), (0, 2) by mean 2, variance 2."""
    module = InstanceBatchNorm(2).train()
    module.IN.eps = module.BN.eps = 1e-12
    found = module(torch.tensor([[[1.0, 3.0], [2.0, 4.0]], [[5.0, 7.0], [0.0, 2.0]]])[..., None])[..., 0]
    root = 2**0.5
    torch.testing.assert_close(found, torch.tensor([[[-1.0, 1.0], [0.0, root]], [[-1.0, 1.0], [-root, 0.0]]]))


def test_half_is_normalised_by_the_image_and_half_by_the_batch():
    torch.manual_seed(0)
    module = InstanceBatchNorm(5)
    x = torch.randn(3, 5, 4, 2) * 3 + 1
    own, shared = x[:, :2], x[:, 2:]
    for values in (module.IN, module.BN):
        torch.nn.init.uniform_(values.weight, 0.5, 2)
        torch.nn.init.normal_(values.bias)

    def normal(part, axes, norm):
        mean, var = part.mean(dim=axes, keepdim=True), part.var(dim=axes, keepdim=True, correction=0)
        return (part - mean) / (var + 1e-5).sqrt() * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)

    wanted = torch.cat([normal(own, (2, 3), module.IN), normal(shared, (0, 2, 3), module.BN)], dim=1)
    torch.testing.assert_close(module.train()(x), wanted)


def test_an_image_alone_has_the_same_first_half_in_search():
    """The instance norm knows nothing of other images; the batch norm has its running statistics then."""
    torch.manual_seed(0)
    module, x = InstanceBatchNorm(4), torch.randn(3, 4, 4, 2)
    module.train()(x)
    module.eval()
    torch.testing.assert_close(module(x)[:1], module(x[:1]))
