"""Capture of training and evaluation steps as CUDA graphs."""

import itertools
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vocseg.errors import UserError

_WARMUP_STEPS = 3  # before a capture: libraries choose kernels and allocate workspaces in them


class StepTensors(NamedTuple):
    """Tensors that a step computes on the device.

    Attributes:
        loss: Objective, a scalar, float32.
        total: See `LossOutput`.
        weight: See `LossOutput`.
        logits: float32 `[N,C,H,W]`, detached.
        prediction: Class indices, uint8 `[N,H,W]`.
        confusion: Confusion matrix of each image, int64 `[N,C,C]`.
    """

    loss: Tensor
    total: Tensor
    weight: Tensor
    logits: Tensor
    prediction: Tensor
    confusion: Tensor


ComputeStep = Callable[[Tensor, Tensor], StepTensors]  # of images uint8 [N,3,H,W] and masks uint8 [N,H,W]


class StepGraph:
    """One captured step. Its inputs, outputs and gradients have fixed addresses on the GPU.

    The optimizer's step is not part of it. On an H100 with batches of 4, capturing it as well gave 644
    instead of 642 images/s, as the host launches it while the GPU still computes gradients.
    """

    def __init__(
        self, compute: ComputeStep, image: Tensor, mask: Tensor, parameters: Iterable[nn.Parameter]
    ) -> None:
        """Capture a step without running it.

        Args:
            compute: Forward pass, loss and metrics, without host synchronisation.
            image: uint8 `[N,3,H,W]`, of the shape of all later batches.
            mask: uint8 `[N,H,W]`.
            parameters: Parameters that get gradients. None in evaluation.
        """
        self._parameters = list(parameters)
        for parameter in self._parameters:
            parameter.grad = None  # the capture then writes gradients, and does not add to them
        self._inputs = image.clone(), mask.clone()
        self._graph, self.norm = torch.cuda.CUDAGraph(), image.new_zeros((), dtype=torch.float32)
        with torch.cuda.graph(self._graph, stream=_capture_stream(image.device)):
            outputs = compute(*self._inputs)
            if self._parameters:
                # Autocast is for the forward pass alone.
                with torch.autocast(image.device.type, enabled=False):
                    outputs.loss.backward()  # type: ignore[no-untyped-call]
                    self.norm = gradient_norm(self._parameters)
        self._outputs = StepTensors(*(value.detach() for value in outputs))
        self._gradients = [parameter.grad for parameter in self._parameters]

    def __call__(self, image: Tensor, mask: Tensor) -> StepTensors:
        """Replay the step with another batch. The next call overwrites the returned tensors."""
        for static, value in zip(self._inputs, (image, mask), strict=True):
            static.copy_(value, non_blocking=True)
        self._graph.replay()
        return self._outputs

    def assign_gradients(self) -> None:
        """Set the `grad` of every parameter."""
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient


class CudaGraphSlot:
    """Runs steps eagerly, and replays a captured one from the fourth consecutive step of one kind on."""

    def __init__(self) -> None:
        self._graph: StepGraph | None = None
        self._captured: Any = None  # the kind of the captured step
        self._latest: Any = None
        self._count = 0  # of consecutive steps of the latest kind

    def __call__(
        self,
        compute: ComputeStep,
        image: Tensor,
        mask: Tensor,
        kind: Any,
        parameters: Iterable[nn.Parameter],
    ) -> tuple[StepTensors, StepGraph | None]:
        """Run a step; arguments as of `StepGraph`.

        `kind`: all that a capture depends on except the images' shape.

        Returns:
            The tensors of the step, and the graph that has its gradients, or None after an eager step.
        """
        kind = (image.shape, kind)
        if kind != self._captured:
            self._count = self._count + 1 if kind == self._latest else 1
            self._latest = kind
            if self._count <= _WARMUP_STEPS:
                return warmup_step(compute, image, mask), None
            self._graph = self._captured = None  # frees its memory first
            self._graph, self._captured = capture_step(compute, image, mask, parameters), kind
        assert self._graph is not None
        self._latest = kind
        return self._graph(image, mask), self._graph


class CudaGraphCache:
    """Captured steps of a network: one of training, one of evaluation."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Drop captured steps, as weights may move to other addresses."""
        self._training, self._evaluation = CudaGraphSlot(), CudaGraphSlot()
        self._replayed: StepGraph | None = None  # the graph of the current training step
        self._parameters: list[nn.Parameter] = []

    def __call__(
        self,
        compute: ComputeStep,
        image: Tensor,
        mask: Tensor,
        network: nn.Module,
        kind: Any = None,
        capture: bool = True,
    ) -> StepTensors:
        """Run a step; arguments as of `CudaGraphSlot`. The mode of `network` tells training from evaluation.

        After a training step, `assign_gradients` tells whether it computed gradients.
        """
        self._replayed = None
        if not capture:
            return compute(image, mask)
        if not network.training:
            return self._evaluation(compute, image, mask, kind, ())[0]
        parameters = self._all_parameters(network)
        kind = tuple(parameter.requires_grad for parameter in parameters)
        trainable = itertools.compress(parameters, kind)
        tensors, self._replayed = self._training(compute, image, mask, kind, trainable)
        return tensors

    def assign_gradients(self) -> bool:
        """Set the gradients of the latest training step if it was a replay, and return whether it was."""
        if self._replayed is not None:
            self._replayed.assign_gradients()
        return self._replayed is not None

    def gradient_norm(self, network: nn.Module) -> Tensor:
        """Norm of the gradients of the latest training step; a scalar, float32."""
        if self._replayed is not None:
            return self._replayed.norm
        return gradient_norm(self._all_parameters(network))

    def _all_parameters(self, network: nn.Module) -> list[nn.Parameter]:
        if not self._parameters:  # the traversal takes as long as the launch of a captured step
            self._parameters = list(network.parameters())
        return self._parameters


def can_capture(trainer: Any) -> bool:
    """Return whether a trainer's steps can be captured: on one GPU, one optimizer step per batch.

    Excluded are several processes, which average gradients during the backward pass; fp16, whose loss scale
    changes; accumulated gradients, which a replay would overwrite; and anomaly detection.
    """
    if trainer is None or trainer.strategy.root_device.type != "cuda" or trainer.world_size > 1:
        return False
    if getattr(trainer.precision_plugin, "scaler", None) is not None or torch.is_anomaly_enabled():
        return False
    return int(trainer.accumulate_grad_batches) == 1


def capture_step(
    compute: ComputeStep, image: Tensor, mask: Tensor, parameters: Iterable[nn.Parameter]
) -> StepGraph:
    """Capture a step, or raise `UserError` if it makes the host wait; arguments as of `StepGraph`."""
    try:
        return StepGraph(compute, image, mask, parameters)
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = str(error).strip().splitlines()[0][:160]
        raise UserError(
            f"this network's step cannot be captured as a CUDA graph ({reason}): "
            "set --model.performance.cuda_graphs false"
        ) from error


def warmup_step(compute: ComputeStep, image: Tensor, mask: Tensor) -> StepTensors:
    """Run a step eagerly, on the stream of captures if there is one."""
    if image.device.type != "cuda":
        return compute(image, mask)
    current, capture = torch.cuda.current_stream(image.device), _capture_stream(image.device)
    capture.wait_stream(current)
    with torch.cuda.stream(capture):
        tensors = compute(image, mask)
    current.wait_stream(capture)
    return tensors


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Norm of all gradients together; a scalar, float32."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]).float()


@cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    # Warm-up steps use it as well: autograd accumulates a gradient on the stream that first produced it.
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call, no-any-return, unused-ignore]
