"""Clipping, optimizer, averaging and metric sums as parts of a captured step."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.optim import Optimizer

from vocseg.metrics.epoch import SegmentationMetrics
from vocseg.performance.step_tensors import StepTensors

_GRADIENT_HOOKS = ("on_after_backward", "on_before_optimizer_step", "on_before_zero_grad")


class CapturableOptimizer(Optimizer):
    """An optimizer whose step can be part of a captured step.

    A CUDA graph repeats its kernels with the numbers of the capture, so that the learning rate has to be a
    tensor there. The groups keep plain numbers, as Lightning, schedulers and checkpoints expect them.
    """

    taken = False  # whether a replay has taken the step that is asked for next

    @property
    def can_be_captured(self) -> bool:
        """Whether the step stays on the device.

        Only fused steps do: an Adam that is not fused counts its steps on the CPU, and such an SGD reads the
        value of a learning rate that is a tensor, which a capture forbids.
        """
        return all(group.get("fused") for group in self.param_groups)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """See torch's. Does nothing but call the closure if a replay takes the step in it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self.taken:
            self.taken = False
        else:
            self._take()
        return loss

    def _take(self) -> None:
        """The step itself."""
        super().step()

    def step_with(self, rates: Sequence[Tensor]) -> None:
        """Take a step with learning rates that are tensors.

        Args:
            rates: One a group, scalars.
        """
        before = [(group["lr"], group.get("capturable")) for group in self.param_groups]
        try:
            for group, rate in zip(self.param_groups, rates, strict=True):
                group["lr"] = rate
                if "capturable" in group:
                    group["capturable"] = True
            super().step()
        finally:
            for group, (lr, capturable) in zip(self.param_groups, before, strict=True):
                group["lr"] = lr
                if "capturable" in group:
                    group["capturable"] = capturable


class Adam(CapturableOptimizer, torch.optim.Adam):
    """See `CapturableOptimizer`. Lightning names the learning rate's curve after the class."""


class AdamW(CapturableOptimizer, torch.optim.AdamW):
    """See `CapturableOptimizer`."""


class SGD(CapturableOptimizer, torch.optim.SGD):
    """See `CapturableOptimizer`."""


class MovingAverage(Protocol):
    """A callback that averages the weights after every step, and can do it within a captured step."""

    def prepare_average(self) -> None:
        """On the host, before a replay: set the rate of the next update."""

    def update_average(self, module: nn.Module) -> None:
        """On the device, within a capture."""

    def note_average(self) -> None:
        """On the host, after a replay: an update was made."""


class StepUpdate:
    """Clipping, the optimizer's step, the moving average and the metric sums of a captured step."""

    def __init__(
        self,
        module: nn.Module,
        optimizer: CapturableOptimizer,
        metrics: SegmentationMetrics,
        clip: tuple[str, float] | None = None,
        average: MovingAverage | None = None,
    ) -> None:
        """Remember the parts.

        Args:
            module: What is averaged.
            optimizer: Has taken steps before: its state must not be made within a capture.
            metrics: Where the step is counted.
            clip: `norm` or `value`, and the limit of gradients; None: they are not clipped.
            average: Averages the weights.
        """
        self._module, self._optimizer, self._metrics = module, optimizer, metrics
        self._clip, self._average = clip, average
        device = next(module.parameters()).device
        exact = torch.float64 if device.type == "cpu" else torch.float32  # what torch's kernels take
        self._rates = [torch.zeros((), dtype=exact, device=device) for _ in optimizer.param_groups]
        self._filled: list[float | None] = [None] * len(self._rates)

    @property
    def places(self) -> tuple[int, ...]:
        """Where the metric sums lie in memory: a capture writes to these places."""
        return self._metrics.places

    def prepare(self) -> None:
        """On the host, before a replay: hand over the numbers that change from step to step."""
        for k, group in enumerate(self._optimizer.param_groups):
            if (lr := float(group["lr"])) != self._filled[k]:
                self._rates[k].fill_(lr)
                self._filled[k] = lr
        if self._average is not None:
            self._average.prepare_average()

    def apply(
        self, computed: StepTensors, index: Tensor, parameters: list[nn.Parameter], norm: Tensor
    ) -> None:
        """On the device, within a capture.

        Args:
            computed: What the step computed.
            index: int64 `[N]`, negative for images that count nowhere.
            parameters: Those with gradients.
            norm: Of all gradients together.
        """
        if self._clip is not None:
            clip_gradients(parameters, *self._clip, norm)
        self._optimizer.step_with(self._rates)
        if self._average is not None:
            self._average.update_average(self._module)
        with torch.no_grad():
            self._metrics.add(computed.confusion, computed.total, computed.weight, (index >= 0).sum())

    def note(self) -> None:
        """On the host, after a replay: the step is done."""
        self._optimizer.taken = True
        self._metrics.note()
        if self._average is not None:
            self._average.note_average()


def clip_gradients(
    parameters: list[nn.Parameter], kind: str, limit: float, norm: Tensor | None = None
) -> None:
    """Clip gradients as Lightning does, without making a GPU wait.

    Args:
        parameters: Those with gradients.
        kind: `norm` of all together, or `value` of each.
        limit: The most that is left.
        norm: Of all gradients together, if it is known.
    """
    if kind == "value":
        torch.nn.utils.clip_grad_value_(parameters, limit)
    elif norm is None:
        torch.nn.utils.clip_grad_norm_(parameters, limit)
    else:
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)


def step_update(module: Any, optimizer: Any, metrics: SegmentationMetrics, trainer: Any) -> StepUpdate | None:
    """What a trainer's steps do after their gradients; None: it cannot be part of a captured step.

    Args:
        module: Lightning's, which is trained.
        optimizer: The trainer's only one.
        metrics: Where steps are counted.
        trainer: Lightning's.
    """
    if not isinstance(optimizer, CapturableOptimizer) or not optimizer.can_be_captured:
        return None
    if any(_may_change_gradients(each) for each in trainer.callbacks):
        return None
    limit, kind = trainer.gradient_clip_val, trainer.gradient_clip_algorithm
    clip = (str(getattr(kind, "value", kind) or "norm"), float(limit)) if limit else None
    average = next((each for each in trainer.callbacks if getattr(each, "averages_steps", False)), None)
    return StepUpdate(module, optimizer, metrics, clip, average)


def _may_change_gradients(callback: Any) -> bool:
    """Whether a callback has a hook between the gradients and the optimizer's step."""
    changed = any(getattr(type(callback), hook) is not getattr(Callback, hook) for hook in _GRADIENT_HOOKS)
    return changed and not getattr(callback, "only_reads_gradients", False)
