"""Rows that step themselves, against torch's own Adam."""

import pytest
import torch

from reidkit.losses.partial_fc import BETAS, CHUNK, EPSILON, ClassifierRows


def use(rows, index, gradient, lr=0.1):
    """One step with this gradient of these rows."""
    taken, start = rows.take(torch.tensor(index))
    assert start == 0
    (taken * gradient).sum().backward()
    rows.step(lr)


def test_worked_example():
    """The first step of Adam is lr against the sign of the gradient; rows that were not taken stay."""
    rows = ClassifierRows(torch.ones(3, 2), weight_decay=0.0)
    use(rows, [2, 0], torch.tensor([[5.0, -0.1], [0.2, 0.3]]))
    torch.testing.assert_close(rows.weight, torch.tensor([[0.9, 0.9], [1.0, 1.0], [0.9, 1.1]]))
    assert rows.visits.tolist() == [1, 0, 1]


def test_constants_are_those_of_torch():
    group = torch.optim.Adam([torch.zeros(1, requires_grad=True)]).param_groups[0]
    assert (group["betas"], group["eps"]) == (BETAS, EPSILON)


@pytest.mark.parametrize("people", [5, CHUNK // 64 + 3])
def test_all_rows_in_every_step_are_adam(people):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(people, 64, generator=generator)
    rows = ClassifierRows(weight.clone(), weight_decay=5e-3)
    theirs = weight.clone().requires_grad_()
    adam = torch.optim.Adam([theirs], weight_decay=5e-3)
    for lr in (1e-2, 1e-2, 3e-3, 1e-3):
        gradient = torch.randn(people, 64, generator=generator)
        use(rows, list(range(people)), gradient, lr)
        adam.param_groups[0]["lr"] = lr
        theirs.grad = gradient
        adam.step()
    torch.testing.assert_close(rows.weight, theirs.detach(), atol=1e-6, rtol=1e-6)


def test_a_row_goes_as_if_it_were_alone():
    """A row that is taken in some of the steps takes those of an Adam that has seen no other steps."""
    generator = torch.Generator().manual_seed(0)
    rows = ClassifierRows(torch.randn(4, 3, generator=generator), weight_decay=1e-2)
    alone = [row.clone().requires_grad_() for row in rows.weight]
    adams = [torch.optim.Adam([row], lr=0.1, weight_decay=1e-2) for row in alone]
    for index in ([0, 1], [1, 3], [1], [3, 0], [1, 0]):
        gradient = torch.randn(len(index), 3, generator=generator)
        use(rows, index, gradient)
        for number, row in zip(index, gradient, strict=True):
            alone[number].grad = row
            adams[number].step()
    torch.testing.assert_close(rows.weight, torch.stack([row.detach() for row in alone]), atol=1e-6, rtol=1e-6)
    assert rows.visits.tolist() == [3, 4, 0, 2]


def test_a_step_is_taken_once_and_not_without_a_gradient():
    rows = ClassifierRows(torch.ones(2, 2), weight_decay=0.1)
    rows.step(0.1)
    rows.take(torch.tensor([0]))
    rows.step(0.1)
    assert torch.equal(rows.weight, torch.ones(2, 2))
    use(rows, [0], torch.ones(1, 2))
    once = rows.weight.clone()
    rows.step(0.1)
    assert torch.equal(rows.weight, once)
    assert rows.visits.tolist() == [1, 0]


def test_it_moves_to_another_device_and_type_as_a_module_does():
    rows = ClassifierRows(torch.ones(2, 3), weight_decay=0.0).double()
    assert [getattr(rows, name).dtype for name in ("weight", "mean", "square")] == [torch.float64] * 3
    assert rows.visits.dtype == torch.int64
    assert {value.device.type for value in rows.to("meta").state_dict().values()} == {"meta"}


@pytest.mark.parametrize("change", [lambda s: s.pop("mean"), lambda s: s.update(weight=torch.ones(4, 3))])
def test_a_state_that_does_not_fit_is_refused(change):
    rows = ClassifierRows(torch.ones(3, 3), weight_decay=0.0)
    state = rows.state_dict()
    change(state)
    with pytest.raises(RuntimeError, match=r"Missing key.*mean|size mismatch for weight"):
        rows.load_state_dict(state)


def test_the_state_goes_on_where_it_was():
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(6, 2, 3, generator=generator)
    unbroken, broken = (ClassifierRows(torch.ones(3, 3), weight_decay=1e-2) for _ in range(2))
    for gradient in gradients:
        use(unbroken, [0, 2], gradient)
    for gradient in gradients[:3]:
        use(broken, [0, 2], gradient)
    resumed = ClassifierRows(torch.zeros(3, 3), weight_decay=1e-2)
    resumed.load_state_dict({name: value.clone() for name, value in broken.state_dict().items()})
    for gradient in gradients[3:]:
        use(resumed, [0, 2], gradient)
    assert torch.equal(resumed.weight, unbroken.weight)
    assert set(unbroken.state_dict()) == {"weight", "mean", "square", "visits"}
    assert [*unbroken.parameters(), *unbroken.buffers()] == []
