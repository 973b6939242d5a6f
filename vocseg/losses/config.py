"""Configuration and class weights of the loss."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vocseg.errors import UserError, shown

_CAP = 10.0  # times the median class's weight


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


BALANCED = "balanced"
LEAST, MOST = 1e-6, 1e6  # of a class weight, safe in float32

_TERMS = ("cross_entropy", "dice", "lovasz", "focal", "ohem")


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms in training and validation. A weight of 0 leaves a term out.

    Attributes:
        cross_entropy: Weight of the cross-entropy, averaged over the labelled pixels.
        dice: Weight of the soft Dice loss, averaged over the classes in the batch.
        lovasz: Weight of the Lovász-softmax loss, averaged over the classes in the batch.
        focal: Weight of the focal loss, which down-weights well-classified pixels.
        ohem: Weight of the cross-entropy over the hardest labelled pixels of a batch.
        ohem_fraction: Fraction of the labelled pixels in `ohem`.
        focal_gamma: Exponent of (1 - probability of the true class) in `focal`.
        label_smoothing: Label smoothing of `cross_entropy` and `ohem`.
        class_weights: Class weights of `cross_entropy`, `focal` and `ohem`. A list with a number for each
            class; balanced: 1 / sqrt(fraction of the training pixels), at most 10 times the median class's;
            null: equal weights.
    """

    cross_entropy: float = 1.0
    dice: float = 0.0
    lovasz: float = 0.0
    focal: float = 0.0
    ohem: float = 0.0
    ohem_fraction: float = 0.25
    focal_gamma: float = 2.0
    label_smoothing: float = 0.0
    class_weights: str | list[float] | None = None

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UserError: If one is out of range.
        """
        for name in (*_TERMS, "focal_gamma"):
            self._check(name, "give a finite number from 0", self._value(name) >= 0)
        fraction, smoothing = self.ohem_fraction, self.label_smoothing
        self._check(
            "ohem_fraction", "give a fraction above 0 and at most 1, for example 0.25", 0 < fraction <= 1
        )
        self._check(
            "label_smoothing", "give a fraction from 0 and below 1, for example 0.1", 0 <= smoothing < 1
        )
        if not any(self._value(name) for name in _TERMS):
            raise UserError(
                "--model.loss: every term has weight 0: give one a weight, for example "
                "--model.loss.cross_entropy 1"
            )
        _check_class_weights(self.class_weights)

    def check_classes(self, classes: int) -> None:
        """Check the number of class weights.

        Raises:
            UserError: If it differs from the number of classes.
        """
        numbers = self.class_weights
        if isinstance(numbers, list) and len(numbers) != classes:
            raise UserError(
                f"--model.loss.class_weights {shown(numbers)}: {_counted(len(numbers))} for {classes} "
                "classes: give one for each, in the order of the class list"
            )

    def as_plain(self) -> dict[str, Any]:
        """Return the settings as plain numbers and text, for a checkpoint."""
        plain = {name: float(value) for name, value in asdict(self).items() if name != "class_weights"}
        numbers = self.class_weights
        text = " ".join(f"{number:g}" for number in numbers) if isinstance(numbers, list) else numbers
        return plain | {"class_weights": text}

    def _value(self, name: str) -> float:
        return float(getattr(self, name))

    def _check(self, name: str, remedy: str, fine: bool) -> None:
        if not (fine and math.isfinite(self._value(name))):
            raise UserError(f"--model.loss.{name} {self._value(name):g}: {remedy}")


def _check_class_weights(weights: str | Sequence[float] | None) -> None:
    if weights is None or weights == BALANCED:
        return
    if isinstance(weights, str) or not all(LEAST <= number <= MOST for number in weights):
        raise UserError(
            f"--model.loss.class_weights {shown(weights)}: give balanced, a list with a number from "
            f"{LEAST:f} to {MOST:.0f} for each class, or null; --data.classes can ignore a class"
        )


def _counted(numbers: int) -> str:
    return f"{numbers} number{'s' * (numbers != 1)}"


CROSS_ENTROPY_ONLY = LossConfig()  # cross-entropy, as in the seed recipe
