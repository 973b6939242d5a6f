"""Capture of steps as CUDA graphs."""

import itertools
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from vocseg.errors import UserError
from vocseg.performance.graph_update import StepUpdate
from vocseg.performance.step_tensors import ComputeStep, StepTensors


class StepGraph:
    """A captured step. Its inputs, outputs and gradients keep their places in the GPU's memory."""

    def __init__(
        self,
        compute: ComputeStep,
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
        self._outputs = StepTensors(*(value.detach() for value in outputs))
        self._gradients = [(each, each.grad) for each in parameters]

    def __call__(self, image: Tensor, mask: Tensor, index: Tensor) -> StepTensors:
        """Replay with another batch. The outputs are overwritten by the next call."""
        for place, value in zip(self._inputs, (image, mask, index), strict=True):
            place.copy_(value, non_blocking=True)
        if self.update is not None:
            self.update.prepare()
        self._graph.replay()
        if self.update is not None:
            self.update.note()
        return self._outputs

    def assign_gradients(self) -> None:
        """Put the gradients where optimizers look for them; the step of an `update` has used them already."""
        if self.update is None:
            for parameter, gradient in self._gradients:
                parameter.grad = gradient


def capture_step(
    compute: ComputeStep,
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
            "set --model.performance.cuda_graphs false"
        ) from fault


def warmup_step(compute: ComputeStep, image: Tensor, mask: Tensor) -> StepTensors:
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


_WARM = 3  # steps of one kind before it is recorded, in which libraries choose kernels and make room


class CudaGraphSlot:
    """Computes steps, and from the fourth of one kind in a row on, replays its recording."""

    def __init__(self) -> None:
        """Nothing is recorded yet."""
        self._graph: StepGraph | None = None
        self._of: Any = None  # the kind that is recorded
        self._newest: Any = None
        self._times = 0  # that the newest kind came in a row

    def __call__(
        self,
        compute: ComputeStep,
        image: Tensor,
        mask: Tensor,
        index: Tensor,
        kind: Any,
        learning: Iterable[nn.Parameter],
        update: StepUpdate | None = None,
    ) -> tuple[StepTensors, StepGraph | None]:
        """A batch, and the recording that holds its gradients; None: nobody has made them yet.

        Args:
            compute: See there.
            image: uint8 `[N,3,H,W]`.
            mask: uint8 `[N,H,W]`.
            index: int64 `[N]`.
            kind: What a recording depends on besides the images' shape.
            learning: As of `StepGraph`.
            update: As of `StepGraph`.

        Raises:
            UserError: If the step asks for values, so that it cannot be recorded.
        """
        kind = (image.shape, kind)
        if kind != self._of:
            self._times = self._times + 1 if kind == self._newest else 1
            self._newest = kind
            if self._times <= _WARM:
                return warmup_step(compute, image, mask), None
            self._graph = self._of = None  # its memory first
            self._graph, self._of = capture_step(compute, image, mask, index, learning, update), kind
        assert self._graph is not None
        self._newest = kind
        return self._graph(image, mask, index), self._graph


class CudaGraphCache:
    """The recordings of a module: one of training, one of scoring."""

    def __init__(self) -> None:
        """Nothing is recorded yet."""
        self.reset()

    def reset(self) -> None:
        """Drop the recordings: weights may move to other places in memory."""
        self._training, self._scoring = CudaGraphSlot(), CudaGraphSlot()
        self._gradients: StepGraph | None = None  # of the training step under way
        self._parameters: list[nn.Parameter] = []  # found once: the search takes as long as the step's launch

    def invalidate(self) -> None:
        """A step is computed without us: a callback may change how many batches make an optimiser step."""
        self._gradients = None

    def train(
        self,
        compute: ComputeStep,
        image: Tensor,
        mask: Tensor,
        index: Tensor,
        network: nn.Module,
        update: StepUpdate | None = None,
    ) -> StepTensors:
        """A batch to learn from; `assign_gradients` tells whether there are gradients already.

        Args:
            compute: See there.
            image: uint8 `[N,3,H,W]`.
            mask: uint8 `[N,H,W]`.
            index: int64 `[N]`.
            network: Whose parameters learn, those of them that may.
            update: What is to follow the gradients within the step; None: nothing.

        Raises:
            UserError: As `CudaGraphSlot`.
        """
        parameters = self._learning(network)
        wanted = tuple(each.requires_grad for each in parameters)
        learning = itertools.compress(parameters, wanted)
        kind = wanted, None if update is None else (id(update), update.places)
        batch = image, mask, index
        computed, self._gradients = self._training(compute, *batch, kind, learning, update)
        return computed

    def score(
        self, compute: ComputeStep, image: Tensor, mask: Tensor, index: Tensor, kind: Any
    ) -> StepTensors:
        """A batch to score; arguments and faults as of `CudaGraphSlot`."""
        return self._scoring(compute, image, mask, index, kind, ())[0]

    def gradient_norm(self, network: nn.Module) -> Tensor:
        """Of the gradients of the newest training step; a replay has it ready.

        Args:
            network: Whose gradients.
        """
        if self._gradients is not None:
            return self._gradients.norm
        return gradient_norm(self._learning(network))

    def _learning(self, network: nn.Module) -> list[nn.Parameter]:
        if not self._parameters:
            self._parameters = list(network.parameters())
        return self._parameters

    def assign_gradients(self) -> bool:
        """Put the gradients of the newest training step in their place, if it was a replay."""
        if self._gradients is not None:
            self._gradients.assign_gradients()
        return self._gradients is not None

    @property
    def took_step(self) -> bool:
        """Whether the newest training step was a replay that took the optimizer's step too."""
        return self._gradients is not None and self._gradients.update is not None


def can_capture(trainer: Any) -> bool:
    """Whether a trainer's steps can be recorded: on one GPU, with an optimiser step for every batch.

    Several processes average gradients while they are made; fp16's scaler multiplies the loss by a figure
    that changes; gradients that are added up over batches would be written over.
    """
    if trainer is None or trainer.strategy.root_device.type != "cuda" or trainer.world_size > 1:
        return False
    plain = getattr(trainer.precision_plugin, "scaler", None) is None and not torch.is_anomaly_enabled()
    return plain and int(trainer.accumulate_grad_batches) == 1
