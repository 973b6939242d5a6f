"""Configuration and class weights of the loss."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vocseg.errors import UserError, shown

_CAP = 10.0  # times the median class's weight


def balanced_weights(pixels: Sequence[int]) -> list[float]:
    """Weights that rise with the rarity of a class: 1 / sqrt(share of the pixels).

    The root, and not the share itself, because on VOC background has some 300 times the pixels of the rarest
    classes: with that ratio as a weight, the few pixels of a bicycle would rule every step that shows one,
    while its root is 17. The cap, which VOC does not reach (2 times the median class's), is for sets of one's
    own: a class more than 100 times rarer than the median class counts as 100 times rarer. Median-frequency
    balancing, the other common rule, needs counts by image besides.

    Args:
        pixels: By class, over the training masks.

    Returns:
        A weight by class, to four digits, scaled so that the mean over the pixels is 1. A class without any
        pixel gets the median class's: nothing is known of it, and it should not rule validation's loss.
    """
    counts = np.array(pixels, np.float64)
    found = counts > 0
    if not found.any():  # masks of void alone: nothing is learnt from them anyway
        return [1.0] * len(counts)
    shares = counts / counts.sum()
    weights = 1 / np.sqrt(shares, where=found, out=np.ones_like(shares))
    median = np.median(weights[found])
    weights = np.where(found, np.minimum(weights, _CAP * median), median)
    weights /= (weights * shares).sum()
    return [float(f"{weight:.4g}") for weight in weights]


BALANCED = "balanced"
LEAST, MOST = 1e-6, 1e6  # of a class's weight: float32 divides by a single pixel's without harm

_TERMS = ("cross_entropy", "dice", "lovasz", "focal", "ohem")


@dataclass(frozen=True)
class LossConfig:
    """The loss of training and validation: a weighted sum of terms, of which 0 leaves one out.

    Attributes:
        cross_entropy: Weight of the cross-entropy, a mean over the labelled pixels.
        dice: Weight of the soft Dice loss, a mean over the classes in the batch.
        lovasz: Weight of Lovasz-softmax, which stands for 1 - IoU; a mean over the classes in the batch.
        focal: Weight of the focal loss: the cross-entropy of a pixel counts less the surer and righter it is.
        ohem: Weight of the cross-entropy over the hardest labelled pixels of a batch alone.
        ohem_fraction: Their share of the labelled pixels.
        focal_gamma: Power of (1 - probability of the true class) in the focal loss; 0 makes it cross-entropy.
        label_smoothing: Share of certainty spread over all classes, in `cross_entropy` and `ohem`.
        class_weights: What a pixel of each class counts in `cross_entropy`, `focal` and `ohem`: a list with a
            number a class; `balanced`, from the training masks: 1 / sqrt(share of pixels), at most 10 times
            the median class's; null: all alike.
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
        """See that the numbers can be worked with.

        Raises:
            UserError: If not.
        """
        for name in (*_TERMS, "focal_gamma"):
            self._check(name, "give a finite number from 0", self._value(name) >= 0)
        share, smoothing = self.ohem_fraction, self.label_smoothing
        self._check("ohem_fraction", "give a share above 0 and at most 1, for example 0.25", 0 < share <= 1)
        self._check("label_smoothing", "give a share from 0 and below 1, for example 0.1", 0 <= smoothing < 1)
        if not any(self._value(name) for name in _TERMS):
            raise UserError(
                "--model.loss: every term has weight 0, so that nothing is learnt: give one a weight, for "
                "example --model.loss.cross_entropy 1"
            )
        _check_class_weights(self.class_weights)

    def check_classes(self, classes: int) -> None:
        """Whether there is a number for every class.

        Raises:
            UserError: If not.
        """
        numbers = self.class_weights
        if isinstance(numbers, list) and len(numbers) != classes:
            raise UserError(
                f"--model.loss.class_weights {shown(numbers)}: {_counted(len(numbers))} for {classes} "
                "classes: give one for each, in the order of the class list"
            )

    def as_plain(self) -> dict[str, Any]:
        """The settings as a checkpoint holds them: numbers of Python's own, one value a key."""
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
            f"{LEAST:f} to {MOST:.0f} for each class, or null; a class to leave out is void in --data.classes"
        )


def _counted(numbers: int) -> str:
    return f"{numbers} number{'s' * (numbers != 1)}"


CROSS_ENTROPY_ONLY = LossConfig()  # cross-entropy, as in the seed recipe
