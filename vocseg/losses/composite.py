"""Weighted sum of losses."""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from vocseg.errors import UserError
from vocseg.losses.config import BALANCED, LEAST, LossConfig, balanced_weights
from vocseg.losses.functional import cross_entropy, dice, focal, lovasz, ohem_cross_entropy, pixel_weight


class LossOutput(NamedTuple):
    """Loss of a batch; all scalars. An epoch's loss is the sum of `total` divided by the sum of `weight`.

    Attributes:
        loss: Objective, float32.
        total: Sum over the labelled pixels, float32. With a term over the whole batch: `loss` times `weight`.
        weight: Number of labelled pixels, int64. With class weights and pixel-wise terms only: the sum of the
            pixels' weights, float32.
    """

    loss: Tensor
    total: Tensor
    weight: Tensor


class CompositeLoss:
    """Weighted sum of losses. Finite on every batch, and 0 with zero gradients without labelled pixels."""

    # No nn.Module: class weights must be neither in a checkpoint nor averaged with the network's buffers.

    def __init__(self, settings: LossConfig, classes: int) -> None:
        """Set up the loss.

        Args:
            settings: Terms and weights.
            classes: Number of classes C.

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
        """Set balanced class weights, if configured.

        Args:
            pixels: Pixels of each class in the training masks, or None if unknown.

        Raises:
            UserError: If they are needed and unknown.
        """
        if not self.balanced:
            return
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
        logits, weights = logits.float(), self._weights(logits.device)
        pixels, regions = self._over_pixels(logits, mask, weights), self._over_batch(logits, mask, weights)
        parts, weight = list(regions), pixel_weight(mask, weights)
        if pixels:
            total = reduce(torch.add, pixels)
            mean = total / weight.clamp(min=1 if weights is None else LEAST)
            if not regions:
                return LossOutput(mean, total, weight)
            parts.append(mean)
        loss, count = reduce(torch.add, parts), pixel_weight(mask)
        return LossOutput(loss, loss * count, count)

    def describe(self) -> str:
        """Return the terms as text, such as `cross_entropy + 0.5 dice`."""
        settings = self.settings
        terms = {"cross_entropy": settings.cross_entropy, "dice": settings.dice, "lovasz": settings.lovasz}
        terms |= {
            f"focal (gamma {settings.focal_gamma:g})": settings.focal,
            f"ohem (hardest {settings.ohem_fraction:.3g})": settings.ohem,
        }
        words = [name if value == 1 else f"{value:g} {name}" for name, value in terms.items() if value]
        more = f", label smoothing {settings.label_smoothing:g}" if settings.label_smoothing else ""
        return " + ".join(words) + more

    def _over_pixels(self, logits: Tensor, mask: Tensor, weights: Tensor | None) -> list[Tensor]:
        """Pixel-wise terms, summed over the labelled pixels."""
        settings, sums = self.settings, []
        if settings.cross_entropy:
            total = cross_entropy(logits, mask, weights, settings.label_smoothing)
            sums.append(settings.cross_entropy * total)
        if settings.focal:
            sums.append(settings.focal * focal(logits, mask, settings.focal_gamma, weights))
        return sums

    def _over_batch(self, logits: Tensor, mask: Tensor, weights: Tensor | None) -> list[Tensor]:
        """Terms over the whole batch."""
        settings, terms = self.settings, []
        if settings.dice:
            terms.append(settings.dice * dice(logits, mask))
        if settings.lovasz:
            terms.append(settings.lovasz * lovasz(logits, mask))
        if settings.ohem:
            mean = ohem_cross_entropy(logits, mask, settings.ohem_fraction, weights, settings.label_smoothing)
            terms.append(settings.ohem * mean)
        return terms

    def _weights(self, device: torch.device) -> Tensor | None:
        """Class weights `[C]` on a device."""
        if self.class_weights is None:
            assert not self.balanced, "`balance` comes first"
            return None
        if self._tensor is None or self._tensor.device != device:
            with torch.inference_mode(False):  # training cannot use inference tensors
                self._tensor = torch.tensor(self.class_weights, device=device)
        return self._tensor
