"""A step on a GPU as one recording of its kernels, launched at once: small batches wait for launches else."""

import itertools
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vocseg.errors import UserError

_WARM = 3  # steps of one kind before it is recorded, in which libraries choose kernels and make room


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
                self.norm = _norm(parameters)
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


class Capture:
    """Computes steps, and from the fourth of one kind in a row on, replays its recording."""

    def __init__(self) -> None:
        """Nothing is recorded yet."""
        self._graph: StepGraph | None = None
        self._of: Any = None  # the kind that is recorded
        self._newest: Any = None
        self._times = 0  # that the newest kind came in a row

    def __call__(
        self, compute: Compute, image: Tensor, mask: Tensor, kind: Any, learning: Iterable[nn.Parameter]
    ) -> tuple[Computed, StepGraph | None]:
        """A batch, and the recording that holds its gradients; None: nobody has made them yet.

        Args:
            compute: See there.
            image: uint8 `[N,3,H,W]`.
            mask: uint8 `[N,H,W]`.
            kind: What a recording depends on besides the images' shape.
            learning: As of `StepGraph`.

        Raises:
            UserError: If the step asks for values, so that it cannot be recorded.
        """
        kind = (image.shape, kind)
        if kind != self._of:
            self._times = self._times + 1 if kind == self._newest else 1
            self._newest = kind
            if self._times <= _WARM:
                return _computed_aside(compute, image, mask), None
            self._graph = self._of = None  # its memory first
            self._graph, self._of = _recorded(compute, image, mask, learning), kind
        assert self._graph is not None
        self._newest = kind
        return self._graph(image, mask), self._graph


class Recorder:
    """The recordings of a module: one of training, one of scoring."""

    def __init__(self) -> None:
        """Nothing is recorded yet."""
        self.forget()

    def forget(self) -> None:
        """Drop the recordings: weights may move to other places in memory."""
        self._training, self._scoring = Capture(), Capture()
        self._gradients: StepGraph | None = None  # of the training step under way
        self._parameters: list[nn.Parameter] = []  # found once: the search takes as long as the step's launch

    def train(self, compute: Compute, image: Tensor, mask: Tensor, network: nn.Module) -> Computed:
        """A batch to learn from; `hand_over` tells whether there are gradients already.

        Args:
            compute: See there.
            image: uint8 `[N,3,H,W]`.
            mask: uint8 `[N,H,W]`.
            network: Whose parameters learn, those of them that may.

        Raises:
            UserError: As `Capture`.
        """
        parameters = self._learning(network)
        wanted = tuple(each.requires_grad for each in parameters)
        learning = itertools.compress(parameters, wanted)
        computed, self._gradients = self._training(compute, image, mask, wanted, learning)
        return computed

    def score(self, compute: Compute, image: Tensor, mask: Tensor, kind: Any) -> Computed:
        """A batch to score; arguments and faults as of `Capture`."""
        return self._scoring(compute, image, mask, kind, ())[0]

    def gradient_norm(self, network: nn.Module) -> Tensor:
        """Of the gradients of the newest training step; a replay has it ready.

        Args:
            network: Whose gradients.
        """
        if self._gradients is not None:
            return self._gradients.norm
        return _norm(self._learning(network))

    def _learning(self, network: nn.Module) -> list[nn.Parameter]:
        if not self._parameters:
            self._parameters = list(network.parameters())
        return self._parameters

    def hand_over(self) -> bool:
        """Put the gradients of the newest training step in their place, if it was a replay."""
        if self._gradients is not None:
            self._gradients.hand_over()
        return self._gradients is not None


def _norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]).float()


@cache
def _aside(device: torch.device) -> torch.cuda.Stream:
    """The stream of recordings. Steps before go there too: a gradient's place remembers where it was made."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call, no-any-return, unused-ignore]


def _computed_aside(compute: Compute, image: Tensor, mask: Tensor) -> Computed:
    if image.device.type != "cuda":
        return compute(image, mask)
    here, aside = torch.cuda.current_stream(image.device), _aside(image.device)
    aside.wait_stream(here)
    with torch.cuda.stream(aside):
        computed = compute(image, mask)
    here.wait_stream(aside)
    return computed


def can_record(trainer: Any) -> bool:
    """Whether a trainer's steps can be recorded: on one GPU, with an optimiser step for every batch.

    Several processes average gradients while they are made; fp16's scaler multiplies the loss by a figure
    that changes; gradients that are added up over batches would be written over.
    """
    if trainer is None or trainer.strategy.root_device.type != "cuda" or trainer.world_size > 1:
        return False
    plain = getattr(trainer.precision_plugin, "scaler", None) is None and not torch.is_anomaly_enabled()
    return plain and int(trainer.accumulate_grad_batches) == 1


def _recorded(compute: Compute, image: Tensor, mask: Tensor, learning: Iterable[nn.Parameter]) -> StepGraph:
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
