"""Weighted sum of losses."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vocseg.errors import UserError
from vocseg.losses.config import BALANCED, LEAST, LossConfig, balanced_weights
from vocseg.losses.functional import cross_entropy, dice, lovasz, pixel_weight


class LossOutput(NamedTuple):
    """Loss of a batch; all scalars. An epoch's loss is the sum of `total` divided by the sum of `weight`.

    Attributes:
        loss: Objective, float32.
        total: Sum over the labelled pixels, float32. With a term over the whole batch: `loss` times `weight`.
        weight: Number of labelled pixels, int64. With class weights and cross-entropy only: the sum of the
            pixels' weights, float32.
    """

    loss: Tensor
    total: Tensor
    weight: Tensor


class CompositeLoss:
    """Weighted sum of losses. Finite on every batch, and 0 with zero gradients without labelled pixels."""

    # No nn.Module: class weights must be neither in a checkpoint nor averaged with the network's buffers.

    def __init__(self, settings: LossConfig, classes: int) -> None:
        """Set up the loss; `classes`: their number C.

        Raises:
            UserError: If the number of class weights differs.
        """
        settings.check_classes(classes)
        given = settings.class_weights
        self.settings = settings
        self.class_weights = [float(number) for number in given] if isinstance(given, list) else None
        self._tensor: Tensor | None = None  # class weights on the latest device

    @property
    def balanced(self) -> bool:
        """Whether class weights come from pixel counts, by `balance`."""
        return self.settings.class_weights == BALANCED

    def balance(self, pixels: Sequence[int] | None) -> None:
        """Set balanced class weights.

        Args:
            pixels: Pixels of each class in the training masks, or None if unknown.

        Raises:
            UserError: If they are unknown.
        """
        if pixels is None:
            raise UserError(
                "--model.loss.class_weights balanced: needs a data module that counts the classes' pixels: "
                "give a list with a number for each class instead"
            )
        self.class_weights, self._tensor = balanced_weights(pixels), None

    def __call__(self, logits: Tensor, mask: Tensor) -> LossOutput:
        """Compute the loss of a batch.

        Args:
            logits: float `[N,C,H,W]`.
            mask: integer `[N,H,W]`, 255 = ignored.
        """
        settings, logits = self.settings, logits.float()
        weights = self._weights(logits.device)
        parts: list[Tensor] = []
        if settings.dice:
            parts.append(settings.dice * dice(logits, mask))
        if settings.lovasz:
            parts.append(settings.lovasz * lovasz(logits, mask))
        if settings.cross_entropy:
            total = settings.cross_entropy * cross_entropy(logits, mask, weights, settings.label_smoothing)
            weight = pixel_weight(mask, weights)
            mean = total / weight.clamp(min=1 if weights is None else LEAST)
            if not parts:
                return LossOutput(mean, total, weight)
            parts.append(mean)
        loss, count = torch.stack(parts).sum(), pixel_weight(mask)
        return LossOutput(loss, loss * count, count)

    def _weights(self, device: torch.device) -> Tensor | None:
        """Class weights `[C]` on a device."""
        if self.class_weights is None:
            assert not self.balanced, "`balance` comes first"
            return None
        if self._tensor is None or self._tensor.device != device:
            with torch.inference_mode(False):  # training cannot use inference tensors
                self._tensor = torch.tensor(self.class_weights, device=device)
        return self._tensor
