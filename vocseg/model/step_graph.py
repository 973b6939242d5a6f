"""One training or scoring step captured as a CUDA graph, so that a small batch does not wait for launches."""

from collections.abc import Iterable
from functools import cache

import torch
from torch import Tensor, nn

from vocseg.errors import UserError
from vocseg.model.step import Compute, Computed
from vocseg.model.step_update import StepUpdate


class StepGraph:
    """A captured step. Its inputs, outputs and gradients keep their places in the GPU's memory."""

    def __init__(
        self,
        compute: Compute,
        image: Tensor,
        mask: Tensor,
        index: Tensor,
        learning: Iterable[nn.Parameter],
        update: StepUpdate | None,
    ) -> None:
        """Capture the step. Nothing is computed yet.

        Args:
            compute: Forward pass, loss and counts. It must not make the host wait.
            image: uint8 `[N,3,H,W]`, of the size that all batches will have.
            mask: uint8 `[N,H,W]`.
            index: int64 `[N]`.
            learning: Parameters that get gradients of the loss; none in scoring.
            update: What follows the gradients within the step; None: the caller's loop does it.
        """
        parameters = list(learning)
        for parameter in parameters:
            parameter.grad = None  # so that the capture writes gradients, and does not add to them
        self._inputs = image.clone(), mask.clone(), index.clone()
        self._graph, self.norm = torch.cuda.CUDAGraph(), image.new_zeros((), dtype=torch.float32)
        self.update = update
        if update is not None:
            update.prepare()
        with torch.cuda.graph(self._graph, stream=_aside(image.device)):
            outputs = compute(*self._inputs[:2])
            if parameters:
                with torch.autocast(image.device.type, enabled=False):  # it holds for the forward pass alone
                    outputs.loss.backward()  # type: ignore[no-untyped-call]
                    self.norm = gradient_norm(parameters)
                    if update is not None:
                        update.apply(outputs, self._inputs[2], parameters, self.norm)
        self._outputs = Computed(*(value.detach() for value in outputs))
        self._gradients = [(each, each.grad) for each in parameters]

    def __call__(self, image: Tensor, mask: Tensor, index: Tensor) -> Computed:
        """Replay with another batch. The outputs are overwritten by the next call."""
        for place, value in zip(self._inputs, (image, mask, index), strict=True):
            place.copy_(value, non_blocking=True)
        if self.update is not None:
            self.update.prepare()
        self._graph.replay()
        if self.update is not None:
            self.update.note()
        return self._outputs

    def hand_over(self) -> None:
        """Put the gradients where optimizers look for them; the step of an `update` has used them already."""
        if self.update is None:
            for parameter, gradient in self._gradients:
                parameter.grad = gradient


def captured(
    compute: Compute,
    image: Tensor,
    mask: Tensor,
    index: Tensor,
    learning: Iterable[nn.Parameter],
    update: StepUpdate | None = None,
) -> StepGraph:
    """The captured step; arguments as of `StepGraph`.

    Raises:
        UserError: If the step makes the host wait, so that it cannot be captured.
    """
    try:
        return StepGraph(compute, image, mask, index, learning, update)
    except RuntimeError as fault:
        if isinstance(fault, torch.OutOfMemoryError):
            raise
        reason = str(fault).strip().splitlines()[0][:160]
        raise UserError(
            f"this network's step cannot be captured as a CUDA graph ({reason}): "
            "set --model.execution.capture false"
        ) from fault


def computed_aside(compute: Compute, image: Tensor, mask: Tensor) -> Computed:
    """The same without a capture, on the stream of captures where there is one."""
    if image.device.type != "cuda":
        return compute(image, mask)
    here, aside = torch.cuda.current_stream(image.device), _aside(image.device)
    aside.wait_stream(here)
    with torch.cuda.stream(aside):
        computed = compute(image, mask)
    here.wait_stream(aside)
    return computed


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Norm of all gradients together; a scalar, float32."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]).float()


@cache
def _aside(device: torch.device) -> torch.cuda.Stream:
    """The stream of captures. Steps before go there too: a gradient's place remembers where it was made."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call, no-any-return, unused-ignore]
