"""Synthetic confusion matrices whose true scores are known, with VOC's rarity of classes."""

import numpy as np

from vocseg.constants import CLASSES
from vocseg.metrics.per_image import PerImageConfusion, Protocol

PIXELS = 65_536
# In how many of the 1,449 validation images each class is, roughly.
IMAGES_OF_1449 = [90, 79, 103, 72, 96, 74, 127, 119, 123, 71, 75, 128, 79, 76, 446, 85, 57, 90, 84, 74]
PROTOCOL = Protocol("val", 1449, "0123456789abcdef", 256)


def population(images: int, seed: int) -> np.ndarray:
    """int64 `[N,21,21]`: objects of very unequal size, found well, badly, or as another class."""
    random = np.random.default_rng(seed)
    matrices = np.zeros((images, 21, 21), np.int64)
    skill = random.uniform(0.5, 0.9, 21)
    for matrix in matrices:
        there = np.flatnonzero(random.random(20) < np.array(IMAGES_OF_1449) / 1449) + 1
        there = there if len(there) else random.integers(1, 21, 1)
        for k in there:
            area = int(PIXELS * min(0.6 / len(there), random.lognormal(-2.3, 1.1)))
            hit = int(area * random.beta(8 * skill[k], 8 - 8 * skill[k]))
            other = random.integers(1, 21) if random.random() < 0.12 else 0
            matrix[k, k] += hit
            matrix[k, other] += area - hit
            matrix[0, k] += int(area * random.beta(1.2, 8) / 2)
        if random.random() < 0.25:
            matrix[0, random.integers(1, 21)] += int(PIXELS * min(0.1, random.lognormal(-4, 1.2)))
        matrix[0, 0] += PIXELS - matrix.sum()
    assert matrices.min() >= 0
    return matrices


def worse(matrices: np.ndarray, amount: float, seed: int) -> np.ndarray:
    """The same images, predicted worse in about a quarter of the cases."""
    random = np.random.default_rng(seed)
    found, image = matrices.copy(), np.arange(len(matrices))
    for k in range(21):
        share = amount * random.exponential(1, len(found)) * (random.random(len(found)) < 0.25)
        lost = (found[:, k, k] * np.minimum(share, 0.9)).astype(np.int64)
        found[:, k, k] -= lost
        found[image, k, random.integers(1, 21, len(found)) if k == 0 else np.zeros_like(image)] += lost
    return found


def image_scores(matrices: np.ndarray, /, **changes: object) -> PerImageConfusion:
    """With ids and VOC's classes, or what else they need for their size."""
    count = matrices.shape[-1]
    facts: dict[str, object] = {
        "ids": tuple(f"2008_{k:06d}" for k in range(len(matrices))),
        "matrices": matrices,
        "protocol": PROTOCOL,
        "classes": CLASSES[:count],
    }
    return PerImageConfusion(**(facts | changes))  # type: ignore[arg-type]
