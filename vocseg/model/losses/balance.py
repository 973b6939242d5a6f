"""Class weights from how often each class occurs."""

from collections.abc import Sequence

import numpy as np

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
