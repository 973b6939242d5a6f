"""Weighted sum of losses."""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from vocseg.errors import UserError
from vocseg.losses.config import BALANCED, LEAST, LossConfig, balanced_weights
from vocseg.losses.pixelwise import cross_entropy, focal, ohem_cross_entropy, pixel_weight
from vocseg.losses.region import dice, lovasz


class LossOutput(NamedTuple):
    """The loss of a batch; all scalars.

    Attributes:
        loss: What to minimise, float32.
        total: What to add up over an epoch, float32.
        weight: What that sum is divided by, added up likewise. Of terms over pixels alone, `total` is their
            sum and `weight` the number of labelled pixels (int64) or, with class weights, the sum of these
            (float32): the epoch's figure is exactly the mean over all its pixels, as torch takes it. As soon
            as a term looks at a batch as a whole, `weight` is the number of labelled pixels, and `total` that
            times the objective.
    """

    loss: Tensor
    total: Tensor
    weight: Tensor


class CompositeLoss:
    """A weighted sum of terms; finite on every batch, and 0 with gradients of 0 where all is void.

    No `nn.Module`: class weights are no part of the network, neither in a checkpoint nor where a callback
    averages parameters and buffers.
    """

    def __init__(self, settings: LossConfig, classes: int) -> None:
        """Remember the settings.

        Args:
            settings: Terms and weights.
            classes: Number of classes C.

        Raises:
            UserError: If there are class weights for another number of classes.
        """
        settings.check_classes(classes)
        given = settings.class_weights
        self.settings = settings
        self.class_weights = [float(number) for number in given] if isinstance(given, list) else None
        self._tensor: Tensor | None = None  # the class weights, where they were used last

    @property
    def balanced(self) -> bool:
        """Whether `balance` must be called before there is a loss."""
        return self.settings.class_weights == BALANCED

    def balance(self, pixels: Sequence[int] | None) -> None:
        """Weigh the classes by how often they occur, if that is asked for.

        Args:
            pixels: By class, over the training masks; None: nobody can tell.

        Raises:
            UserError: If they are needed and not known.
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
        """The loss of a batch.

        Args:
            logits: float `[N,C,H,W]`.
            mask: integer `[N,H,W]`, 255 = ignored.
        """
        logits, weights = logits.float(), self._weights(logits.device)  # in full precision, whatever it was
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
        """The terms in words, for the user: `cross_entropy + 0.5 dice`."""
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
        """Sums over the labelled pixels, which `pixel_weight` turns into means."""
        settings, sums = self.settings, []
        if settings.cross_entropy:
            total = cross_entropy(logits, mask, weights, settings.label_smoothing)
            sums.append(settings.cross_entropy * total)
        if settings.focal:
            sums.append(settings.focal * focal(logits, mask, settings.focal_gamma, weights))
        return sums

    def _over_batch(self, logits: Tensor, mask: Tensor, weights: Tensor | None) -> list[Tensor]:
        """Terms that only a whole batch has."""
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
        """The class weights, `[C]` on a device: copied there once."""
        if self.class_weights is None:
            assert not self.balanced, "`balance` comes first"
            return None
        if self._tensor is None or self._tensor.device != device:
            with torch.inference_mode(False):  # else training after a validation could not use it
                self._tensor = torch.tensor(self.class_weights, device=device)
        return self._tensor
