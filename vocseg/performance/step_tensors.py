"""Tensors that a step computes on the device."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class StepTensors(NamedTuple):
    """All that a device computes of a batch.

    Attributes:
        loss: What to minimise, a scalar, float32.
        total: See `LossOutput`.
        weight: See `LossOutput`.
        logits: float32 `[N,C,H,W]`.
        prediction: Classes, uint8 `[N,H,W]`.
        confusion: int64 `[N,C,C]`.
    """

    loss: Tensor
    total: Tensor
    weight: Tensor
    logits: Tensor
    prediction: Tensor
    confusion: Tensor


ComputeStep = Callable[[Tensor, Tensor], StepTensors]  # of images uint8 [N,3,H,W] and masks uint8 [N,H,W]
