"""A step on a GPU as one recording of its kernels, launched at once: small batches wait for launches else."""

from collections.abc import Iterable
from functools import cache

import torch
from torch import Tensor, nn

from vocseg.errors import UserError
from vocseg.model.step import Compute, Computed


class StepGraph:
    """What one step does on a GPU: inputs, outputs and gradients keep their places in its memory."""

    def __init__(
        self, compute: Compute, image: Tensor, mask: Tensor, learning: Iterable[nn.Parameter]
    ) -> None:
        """Record the step; nothing is computed yet.

        Args:
            compute: See there; it must ask for no value.
            image: Of the size that all will have.
            mask: Likewise.
            learning: What gets gradients of the loss; nothing in scoring.
        """
        parameters = list(learning)
        for parameter in parameters:
            parameter.grad = None  # so that the recording writes gradients, and does not add to them
        self._image, self._mask = image.clone(), mask.clone()
        self._graph, self.norm = torch.cuda.CUDAGraph(), image.new_zeros((), dtype=torch.float32)
        with torch.cuda.graph(self._graph, stream=_aside(image.device)):
            outputs = compute(self._image, self._mask)
            if parameters:
                with torch.autocast(image.device.type, enabled=False):  # it holds for the forward pass alone
                    outputs.loss.backward()  # type: ignore[no-untyped-call]
                self.norm = gradient_norm(parameters)
        self._outputs = Computed(*(value.detach() for value in outputs))
        self._gradients = [(each, each.grad) for each in parameters]

    def __call__(self, image: Tensor, mask: Tensor) -> Computed:
        """Compute a batch; what is given out is written over by the next."""
        self._image.copy_(image, non_blocking=True)
        self._mask.copy_(mask, non_blocking=True)
        self._graph.replay()
        return self._outputs

    def hand_over(self) -> None:
        """Put the gradients where optimisers look for them."""
        for parameter, gradient in self._gradients:
            parameter.grad = gradient


def recorded(compute: Compute, image: Tensor, mask: Tensor, learning: Iterable[nn.Parameter]) -> StepGraph:
    """The recording of a step; arguments as of `StepGraph`.

    Raises:
        UserError: If the step asks for values, so that it cannot be recorded.
    """
    try:
        return StepGraph(compute, image, mask, learning)
    except RuntimeError as fault:
        if isinstance(fault, torch.OutOfMemoryError):
            raise
        reason = str(fault).strip().splitlines()[0][:160]
        raise UserError(
            f"this network's step cannot be recorded on the GPU ({reason}): "
            "set --model.execution.capture false"
        ) from fault


def computed_aside(compute: Compute, image: Tensor, mask: Tensor) -> Computed:
    """The same without a recording, on the stream of recordings where there is one."""
    if image.device.type != "cuda":
        return compute(image, mask)
    here, aside = torch.cuda.current_stream(image.device), _aside(image.device)
    aside.wait_stream(here)
    with torch.cuda.stream(aside):
        computed = compute(image, mask)
    here.wait_stream(aside)
    return computed


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Of the gradients of parameters together, those of them that have one; a scalar, float32."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]).float()


@cache
def _aside(device: torch.device) -> torch.cuda.Stream:
    """The stream of recordings. Steps before go there too: a gradient's place remembers where it was made."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call, no-any-return, unused-ignore]
