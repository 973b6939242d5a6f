"""Which steps of a module are recorded on a GPU and replayed, and which are computed."""

import itertools
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from vocseg.model.step import Compute, Computed
from vocseg.model.step_graph import StepGraph, captured, computed_aside, gradient_norm
from vocseg.model.step_update import StepUpdate

_WARM = 3  # steps of one kind before it is recorded, in which libraries choose kernels and make room


class Capture:
    """Computes steps, and from the fourth of one kind in a row on, replays its recording."""

    def __init__(self) -> None:
        """Nothing is recorded yet."""
        self._graph: StepGraph | None = None
        self._of: Any = None  # the kind that is recorded
        self._newest: Any = None
        self._times = 0  # that the newest kind came in a row

    def __call__(
        self,
        compute: Compute,
        image: Tensor,
        mask: Tensor,
        index: Tensor,
        kind: Any,
        learning: Iterable[nn.Parameter],
        update: StepUpdate | None = None,
    ) -> tuple[Computed, StepGraph | None]:
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
                return computed_aside(compute, image, mask), None
            self._graph = self._of = None  # its memory first
            self._graph, self._of = captured(compute, image, mask, index, learning, update), kind
        assert self._graph is not None
        self._newest = kind
        return self._graph(image, mask, index), self._graph


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

    def pause(self) -> None:
        """A step is computed without us: a callback may change how many batches make an optimiser step."""
        self._gradients = None

    def train(
        self,
        compute: Compute,
        image: Tensor,
        mask: Tensor,
        index: Tensor,
        network: nn.Module,
        update: StepUpdate | None = None,
    ) -> Computed:
        """A batch to learn from; `hand_over` tells whether there are gradients already.

        Args:
            compute: See there.
            image: uint8 `[N,3,H,W]`.
            mask: uint8 `[N,H,W]`.
            index: int64 `[N]`.
            network: Whose parameters learn, those of them that may.
            update: What is to follow the gradients within the step; None: nothing.

        Raises:
            UserError: As `Capture`.
        """
        parameters = self._learning(network)
        wanted = tuple(each.requires_grad for each in parameters)
        learning = itertools.compress(parameters, wanted)
        kind = wanted, None if update is None else (id(update), update.places)
        batch = image, mask, index
        computed, self._gradients = self._training(compute, *batch, kind, learning, update)
        return computed

    def score(self, compute: Compute, image: Tensor, mask: Tensor, index: Tensor, kind: Any) -> Computed:
        """A batch to score; arguments and faults as of `Capture`."""
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

    def hand_over(self) -> bool:
        """Put the gradients of the newest training step in their place, if it was a replay."""
        if self._gradients is not None:
            self._gradients.hand_over()
        return self._gradients is not None

    @property
    def took_step(self) -> bool:
        """Whether the newest training step was a replay that took the optimizer's step too."""
        return self._gradients is not None and self._gradients.update is not None


def can_record(trainer: Any) -> bool:
    """Whether a trainer's steps can be recorded: on one GPU, with an optimiser step for every batch.

    Several processes average gradients while they are made; fp16's scaler multiplies the loss by a figure
    that changes; gradients that are added up over batches would be written over.
    """
    if trainer is None or trainer.strategy.root_device.type != "cuda" or trainer.world_size > 1:
        return False
    plain = getattr(trainer.precision_plugin, "scaler", None) is None and not torch.is_anomaly_enabled()
    return plain and int(trainer.accumulate_grad_batches) == 1
