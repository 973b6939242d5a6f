"""Stand-in for a captured step where there is no GPU."""

from typing import Any

import torch
from torch import Tensor

from vocseg.performance.cuda_graph import StepTensors


class Imitation:
    """Computes the step anew, into tensors that stay the same."""

    made: list["Imitation"]
    replays = 0

    def __init__(self, compute: Any, image: Tensor, mask: Tensor, parameters: Any) -> None:
        self.compute, self.parameters, self.gradients = compute, list(parameters), ()
        self.shape, self.outputs = image.shape, None
        Imitation.made.append(self)

    def __call__(self, image: Tensor, mask: Tensor) -> StepTensors:
        assert image.shape == self.shape
        Imitation.replays += 1
        found = self.compute(image, mask)
        if self.parameters:
            self.gradients = torch.autograd.grad(found.loss, self.parameters)
            self.norm = torch.nn.utils.get_total_norm(self.gradients)
        found = StepTensors(*(value.detach() for value in found))
        if self.outputs is None:
            self.outputs = found
        for place, value in zip(self.outputs, found, strict=True):
            place.copy_(value)
        return self.outputs

    def assign_gradients(self) -> None:
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
