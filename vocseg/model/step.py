"""What a step takes, what the device computes in it, and what callbacks get."""

from collections.abc import Callable
from typing import NamedTuple, TypedDict

from torch import Tensor


class BatchTensors(TypedDict):
    """The batch as `vocseg.data` ships it."""

    image: Tensor
    mask: Tensor
    index: Tensor


class StepOutput(TypedDict):
    """What callbacks get.

    The loss, logits float32 `[N,C,H,W]`, predicted classes uint8 `[N,H,W]` and confusion matrices int64
    `[N,C,C]`.
    """

    loss: Tensor
    logits: Tensor
    prediction: Tensor
    confusion: Tensor


class Computed(NamedTuple):
    """All that a device computes of a batch.

    Attributes:
        loss: What to minimise, a scalar, float32.
        total: See `LossValue`.
        weight: See `LossValue`.
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


Compute = Callable[[Tensor, Tensor], Computed]  # of images uint8 [N,3,H,W] and masks uint8 [N,H,W]
