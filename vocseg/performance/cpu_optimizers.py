"""Optimizer steps in one kernel on CPUs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, optim

from vocseg.performance.graph_update import CapturableOptimizer

_TO_MEMORY, _BACK = (0, 2, 3, 1), (0, 3, 1, 2)  # channels-last `[K,C,R,S]` lies in memory as `[K,R,S,C]`


class FusedCPUOptimizer(CapturableOptimizer):
    """Steps fused, on contiguous views of channels-last parameters: else torch's kernel copies to and fro.

    The state keeps the shapes that torch gives it, and is loaded and saved as ever. Only within a step the
    groups say `fused`: said to torch at the beginning, Lightning would refuse to clip gradients.
    """

    can_be_captured = True  # only in tests: a CPU has no CUDA graphs

    def _take(self) -> None:
        with self._fused():
            super()._take()

    def step_with(self, rates: Sequence[Tensor]) -> None:
        """See `CapturableOptimizer`."""
        with self._fused():
            super().step_with(rates)

    @contextmanager
    def _fused(self) -> Iterator[None]:
        usual = [group.get("fused") for group in self.param_groups]
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        try:
            for group in self.param_groups:
                group["fused"] = True
            with _contiguous([p for p in parameters if _channels_last(p)], self.state):
                yield
        finally:
            for group, before in zip(self.param_groups, usual, strict=True):
                group["fused"] = before


# Named as torch's: Lightning names the learning rate's curve after the class.


class Adam(FusedCPUOptimizer, optim.Adam):
    """See `FusedCPUOptimizer`."""


class AdamW(FusedCPUOptimizer, optim.AdamW):
    """See `FusedCPUOptimizer`."""


class SGD(FusedCPUOptimizer, optim.SGD):
    """See `FusedCPUOptimizer`."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step; see torch's, whose kernel wants the momentum of all parameters or of none.

        Those that were frozen at first have none when they thaw; one of zero gives the same step.
        """

        def begun() -> Any:
            loss = None if closure is None else closure()
            for group in self.param_groups:
                for p in group["params"] if group["momentum"] else ():
                    if p.grad is not None and self.state[p].get("momentum_buffer") is None:
                        self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            return loss

        return super().step(begun)


def _channels_last(parameter: Tensor) -> bool:
    """Whether a parameter and its gradient are of four axes, channels-last, and not contiguous anyway."""
    both = [parameter, parameter.grad]
    last = torch.channels_last
    return parameter.ndim == 4 and all(
        x is not None and x.is_contiguous(memory_format=last) and not x.is_contiguous() for x in both
    )


@contextmanager
def _contiguous(parameters: list[Any], state: Any) -> Iterator[None]:
    """Parameters, their gradients and what is remembered of them, as contiguous views of the same numbers."""
    kept = [(p, p.data, p.grad) for p in parameters]
    try:
        for p, data, gradient in kept:
            p.grad, p.data = None, data.permute(_TO_MEMORY)
            p.grad = gradient.permute(_TO_MEMORY)
            _turn(state.get(p, {}), _TO_MEMORY)
        yield
    finally:
        for p, data, gradient in kept:
            p.grad, p.data = None, data
            p.grad = gradient
            _turn(state.get(p, {}), _BACK)


def _turn(remembered: dict[str, Any], order: tuple[int, ...]) -> None:
    """Put the axes of a parameter's state in another order; a checkpoint's may lie otherwise in memory."""
    for name, value in remembered.items():
        if isinstance(value, Tensor) and value.ndim == 4:
            turned = value.permute(order)
            remembered[name] = turned.contiguous() if order == _TO_MEMORY else turned
