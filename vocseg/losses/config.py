"""Configuration and class weights of the loss."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vocseg.errors import UserError, shown

BALANCED = "balanced"
LEAST, MOST = 1e-6, 1e6  # of a class weight, safe in float32
_CAP = 10.0  # times the median class's weight
_TERMS = ("cross_entropy", "dice", "lovasz")


def balanced_weights(pixels: Sequence[int]) -> list[float]:
    """Compute class weights 1 / sqrt(fraction of the pixels), at most 10 times the median class's.

    Args:
        pixels: Pixels of each class in the training masks.

    Returns:
        A weight a class with four digits. Their mean over the pixels is 1. A class without pixels gets the
        median class's weight.
    """
    # The square root, as background has some 300 times the pixels of VOC's rarest classes: that ratio as a
    # weight would let a few pixels dominate a step. VOC does not reach the cap (2 times the median).
    counts = np.array(pixels, np.float64)
    found = counts > 0
    if not found.any():  # all pixels are ignored
        return [1.0] * len(counts)
    fractions = counts / counts.sum()
    weights = 1 / np.sqrt(fractions, where=found, out=np.ones_like(fractions))
    median = np.median(weights[found])
    weights = np.where(found, np.minimum(weights, _CAP * median), median)
    weights /= (weights * fractions).sum()
    return [float(f"{weight:.4g}") for weight in weights]


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms in training and validation. A weight of 0 leaves a term out.

    Attributes:
        cross_entropy: Weight of the cross-entropy, averaged over the labelled pixels.
        dice: Weight of the soft Dice loss, averaged over the classes in the batch.
        lovasz: Weight of the Lovász-softmax loss, averaged over the classes in the batch.
        label_smoothing: Label smoothing of `cross_entropy`.
        class_weights: Class weights of `cross_entropy`. A list with a number for each class; balanced:
            1 / sqrt(fraction of the training pixels), at most 10 times the median class's; null: equal.
    """

    cross_entropy: float = 1.0
    dice: float = 0.0
    lovasz: float = 0.0
    label_smoothing: float = 0.0
    class_weights: str | list[float] | None = None

    def __post_init__(self) -> None:
        """Raise `UserError` if a number is out of range, or all terms are left out."""
        for name, most in (*((term, math.inf) for term in _TERMS), ("label_smoothing", 1)):
            value = float(getattr(self, name))
            if not 0 <= value < most:
                wanted = "from 0 and below 1" if most == 1 else "finite, from 0"
                raise UserError(f"--model.loss.{name} {value:g} is out of range. Give a number {wanted}.")
        if not any(getattr(self, name) for name in _TERMS):
            raise UserError("--model.loss: every term has weight 0. Set --model.loss.cross_entropy 1.")
        weights = self.class_weights
        if weights is None or weights == BALANCED:
            return
        if isinstance(weights, str) or not all(LEAST <= number <= MOST for number in weights):
            raise UserError(
                f"--model.loss.class_weights {shown(weights)}: give balanced, a list with a number from "
                f"{LEAST:f} to {MOST:.0f} for each class, or null; --data.classes can ignore a class"
            )

    def check_classes(self, classes: int) -> None:
        """Raise `UserError` if the number of class weights differs from the number of classes."""
        numbers = self.class_weights
        if isinstance(numbers, list) and len(numbers) != classes:
            raise UserError(
                f"--model.loss.class_weights {shown(numbers)}: {len(numbers)} numbers for {classes} classes. "
                "Give one for each, in the order of the class list."
            )

    def as_plain(self) -> dict[str, Any]:
        """Return the settings as plain numbers and text, for a checkpoint."""
        plain = {name: float(value) for name, value in asdict(self).items() if name != "class_weights"}
        numbers = self.class_weights
        text = " ".join(f"{number:g}" for number in numbers) if isinstance(numbers, list) else numbers
        return plain | {"class_weights": text}


CROSS_ENTROPY_ONLY = LossConfig()  # cross-entropy, as in the seed recipe
