"""Eager and captured steps of a module."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from vocseg.data.batch import BatchTensors
from vocseg.inference.tta import Predict, TTAConfig
from vocseg.losses.composite import CompositeLoss
from vocseg.metrics.confusion import confusion_matrices
from vocseg.models.network import Network
from vocseg.performance.cuda_graph import CudaGraphCache, can_capture
from vocseg.performance.graph_update import StepUpdate
from vocseg.performance.step_tensors import StepTensors

_PLAIN = TTAConfig()  # the image alone


class StepRunner:
    """Logits, loss, classes and counts of batches, and gradients where a replay has made them."""

    def __init__(self, predict: Predict, network: Network, objective: CompositeLoss, classes: int) -> None:
        """Nothing is recorded yet.

        Args:
            predict: Gives the logits of images.
            network: Whose they are; in training or in scoring, as it says itself.
            objective: What is minimised.
            classes: Their number C.
        """
        self._predict, self._network = predict, network
        self._objective, self._classes = objective, classes
        self._recorder = CudaGraphCache()

    def __call__(
        self, batch: BatchTensors, variants: TTAConfig, trainer: Any, update: StepUpdate | None = None
    ) -> StepTensors:
        """A batch, replayed where that can be.

        Args:
            batch: Images and masks.
            variants: As which images are scored; in training each is seen as it is.
            trainer: Lightning's; None: there is none.
            update: What is to follow the gradients of training within the step, where it is replayed.

        Raises:
            UserError: If a GPU cannot record the step.
        """
        seen = _PLAIN if self._network.training else variants
        compute = partial(self.compute, variants=seen)
        if not self._network.execution.use_cuda_graphs or not can_capture(trainer):
            self._recorder.invalidate()
            return compute(batch["image"], batch["mask"])
        tensors = batch["image"], batch["mask"], batch["index"]
        if self._network.training:
            return self._recorder.train(compute, *tensors, self._network, update)
        return self._recorder.score(compute, *tensors, seen)

    def compute(self, image: Tensor, mask: Tensor, variants: TTAConfig = _PLAIN) -> StepTensors:
        """A batch, computed.

        Args:
            image: uint8 `[N,3,H,W]`.
            mask: uint8 `[N,H,W]`.
            variants: As which the network sees an image.
        """
        logits = variants.logits(self._predict, image)  # [N,C,H,W]
        loss = self._objective(logits, mask)
        prediction = logits.detach().argmax(1).to(torch.uint8)  # [N,H,W]
        confusion = confusion_matrices(prediction, mask, self._classes)
        return StepTensors(loss.loss, loss.total, loss.weight, logits.detach(), prediction, confusion)

    def assign_gradients(self) -> bool:
        """Whether the newest training step was a replay, whose gradients lie in their place then."""
        return self._recorder.assign_gradients()

    @property
    def took_step(self) -> bool:
        """Whether the newest training step was a replay with the optimizer's step and the counting in it."""
        return self._recorder.took_step

    def gradient_norm(self) -> Tensor:
        """Of all gradients together, a scalar, float32; no finite number if one of them is not."""
        return self._recorder.gradient_norm(self._network)

    def reset(self) -> None:
        """Drop the recordings: weights may move to other places in memory."""
        self._recorder.reset()
