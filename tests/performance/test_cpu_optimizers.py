"""A step in one kernel is torch's step, on the same parameters and the same state."""

import io
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from vocseg.performance import cpu_optimizers

KINDS = {
    "adam": (Adam, cpu_optimizers.Adam, {}),
    "adamw": (AdamW, cpu_optimizers.AdamW, {"weight_decay": 0.1}),
    "sgd": (SGD, cpu_optimizers.SGD, {"momentum": 0.9}),
}


def _network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 19, 3), nn.Conv2d(19, 5, 3), nn.Conv2d(5, 7, 1), nn.Linear(3, 2)
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def _step(network: nn.Module, optimizer: Optimizer, number: int) -> None:
    chance = torch.Generator().manual_seed(number)
    for p in network.parameters():
        p.grad = torch.empty_like(p).copy_(torch.randn(p.shape, generator=chance))  # laid out as p
    optimizer.step()


def _trained(make: Any, options: dict[str, Any], steps: int) -> tuple[nn.Module, Optimizer]:
    network = _network()
    optimizer: Optimizer = make(network.parameters(), lr=1e-2, **options)
    for number in range(steps):
        _step(network, optimizer, number)
    return network, optimizer


def _same(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, one.parameters(), other.parameters()))


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_and_state_are_torchs(kind: str) -> None:
    theirs, ours, options = KINDS[kind]
    (plain, usual), (network, optimizer) = _trained(theirs, options, 5), _trained(ours, options, 5)
    for a, b in zip(plain.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
        assert a.stride() == b.stride()
        assert b.grad is not None
        assert b.grad.shape == b.shape
    wanted, found = usual.state_dict(), optimizer.state_dict()
    assert found["param_groups"] == wanted["param_groups"]
    assert list(found["state"]) == list(wanted["state"])
    for key, values in wanted["state"].items():
        assert list(found["state"][key]) == list(values)
        for name, value in values.items():
            torch.testing.assert_close(found["state"][key][name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_state_goes_on_to_the_bit(kind: str) -> None:
    make, options = KINDS[kind][1:]
    whole, _ = _trained(make, options, 6)
    network, optimizer = _trained(make, options, 3)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    again = make(network.parameters(), lr=1e-2, **options)
    again.load_state_dict(torch.load(file, weights_only=True))
    for number in range(3, 6):
        _step(network, again, number)
    assert _same(network, whole)


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_of_torchs_own_optimiser_goes_on_whatever_its_layout(kind: str) -> None:
    theirs, ours, options = KINDS[kind]
    whole, _ = _trained(theirs, options, 6)
    network, optimizer = _trained(theirs, options, 3)
    state = optimizer.state_dict()
    for values in state["state"].values():
        values |= {name: value.contiguous() for name, value in values.items() if value is not None}
    again = ours(network.parameters(), lr=1e-2, **options)
    again.load_state_dict(state)
    for number in range(3, 6):
        _step(network, again, number)
    for a, b in zip(network.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


class _Kernels(TorchDispatchMode):
    """Looks at what fused kernels are given."""

    def __init__(self) -> None:
        super().__init__()
        self.contiguous: list[bool] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "_fused_" in func.overloadpacket.__name__:
            self.contiguous += [x.is_contiguous() for group in args if isinstance(group, list) for x in group]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", KINDS)
def test_the_kernel_has_nothing_to_copy(kind: str) -> None:
    make, options = KINDS[kind][1:]
    network = _network()
    optimizer: Optimizer = make(network.parameters(), lr=1e-2, **options)
    assert not all(p.is_contiguous() for p in network.parameters())
    with _Kernels() as kernels:
        for number in range(2):
            _step(network, optimizer, number)
    assert len(kernels.contiguous) >= 2 * 2 * 8
    assert all(kernels.contiguous)


def test_parameters_without_a_gradient_stay_and_the_closure_has_gradients() -> None:
    network = _network()
    frozen = [p.detach().clone() for p in network[1].parameters()]  # type: ignore[index]
    optimizer = cpu_optimizers.Adam(network.parameters(), lr=1e-2)

    def closure() -> float:
        loss = network[0](torch.ones(1, 3, 8, 8)).square().mean()  # type: ignore[index]
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) > 0
    assert all(map(torch.equal, frozen, network[1].parameters()))  # type: ignore[index]


def test_a_step_that_fails_leaves_parameters_and_gradients_as_they_were() -> None:
    network, optimizer = _trained(cpu_optimizers.Adam, {}, 1)
    shapes = [(p.shape, p.stride()) for p in network.parameters()]
    optimizer.state[next(iter(network.parameters()))]["exp_avg"] = torch.zeros(1, 1, 1, 1, dtype=torch.int32)
    with pytest.raises(RuntimeError):
        _step(network, optimizer, 1)
    assert [(p.shape, p.stride()) for p in network.parameters()] == shapes
    assert [p.grad.shape for p in network.parameters() if p.grad is not None] == [s for s, _ in shapes]
    assert optimizer.param_groups[0]["fused"] is None


def test_gradients_can_be_clipped_in_bf16() -> None:
    network, optimizer = _trained(cpu_optimizers.Adam, {}, 1)
    MixedPrecision("bf16-mixed", "cpu").clip_gradients(optimizer, 1e-3)
    norm = torch.nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_that_were_frozen_at_first_step_as_torchs(kind: str) -> None:
    theirs, ours, options = KINDS[kind]
    sides = []
    for make in (theirs, ours):
        network = _network()
        optimizer: Optimizer = make(network.parameters(), lr=1e-2, **options)
        for number in range(4):
            for p in network[0].parameters():
                p.requires_grad_(number > 1)
            chance = torch.Generator().manual_seed(number)
            for p in network.parameters():
                drawn = torch.empty_like(p).copy_(torch.randn(p.shape, generator=chance))
                p.grad = drawn if p.requires_grad else None
            optimizer.step()
        sides.append(network)
    for a, b in zip(*(side.parameters() for side in sides), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
