"""What stands in for a recording where there is no GPU."""

from typing import Any

import torch
from torch import Tensor

from vocseg.performance.step_tensors import StepTensors


class Imitation:
    """Computes anew, into places that stay the same."""

    made: list["Imitation"]
    replays = 0

    def __init__(
        self, compute: Any, image: Tensor, mask: Tensor, index: Tensor, learning: Any, update: Any = None
    ) -> None:
        self.compute, self.learning, self.gradients = compute, list(learning), ()
        self.update = update
        self.shape, self.outputs = image.shape, None
        Imitation.made.append(self)

    def __call__(self, image: Tensor, mask: Tensor, index: Tensor) -> StepTensors:
        assert image.shape == self.shape
        if self.update is not None:
            self.update.prepare()
        Imitation.replays += 1
        found = self.compute(image, mask)
        if self.learning:
            self.gradients = torch.autograd.grad(found.loss, self.learning)
            self.norm = torch.nn.utils.get_total_norm(self.gradients)
            if self.update is not None:
                for parameter, gradient in zip(self.learning, self.gradients, strict=True):
                    parameter.grad = gradient
                with torch.autocast("cpu", enabled=False):
                    self.update.apply(found, index, self.learning, self.norm)
                self.update.note()
        found = StepTensors(*(value.detach() for value in found))
        if self.outputs is None:
            self.outputs = found
        for place, value in zip(self.outputs, found, strict=True):
            place.copy_(value)
        return self.outputs

    def assign_gradients(self) -> None:
        for parameter, gradient in zip(self.learning, self.gradients, strict=True):
            parameter.grad = gradient
