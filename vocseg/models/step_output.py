"""Types of a batch and of what a step returns."""

from typing import TypedDict

from torch import Tensor


class StepOutput(TypedDict):
    """What callbacks get.

    The loss, logits float32 `[N,C,H,W]`, predicted classes uint8 `[N,H,W]` and confusion matrices int64
    `[N,C,C]`.
    """

    loss: Tensor
    logits: Tensor
    prediction: Tensor
    confusion: Tensor
