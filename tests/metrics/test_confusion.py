"""Confusion matrices and their metrics against an independent numpy scorer."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassConfusionMatrix

from vocseg.metrics.confusion import (
    class_iou,
    confusion_matrices,
    histogram,
    in_lanes,
    mean_iou,
    pixel_accuracy,
)

C = 21


def oracle(prediction: np.ndarray, mask: np.ndarray) -> dict[str, object]:
    """The development kit's definitions, written out class by class."""
    labelled = mask < 255
    ious = []
    for k in range(C):
        truth, said = (mask == k) & labelled, (prediction == k) & labelled
        union = int((truth | said).sum())
        ious.append(int((truth & said).sum()) / union if union else None)
    there = [iou for iou in ious if iou is not None]
    right = int(((prediction == mask) & labelled).sum())
    return {
        "iou": ious,
        "miou": sum(there) / len(there) if there else None,
        "accuracy": right / int(labelled.sum()) if labelled.any() else None,
    }


def _case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random masks with classes missing from truth, prediction or both, void, and now and then all void."""
    random = np.random.default_rng(seed)
    shape = (int(random.integers(1, 5)), int(random.integers(1, 40)), int(random.integers(1, 40)))
    truth = random.choice(C, int(random.integers(1, C + 1)), replace=False)
    said = random.choice(C, int(random.integers(1, C + 1)), replace=False)
    mask = random.choice([*truth, 255], shape).astype(np.uint8)
    if seed % 7 == 0:
        mask[0] = 255
    if seed % 31 == 0:
        mask[:] = 255
    prediction = np.where(random.random(shape) < 0.5, np.minimum(mask, 20), random.choice(said, shape))
    return prediction.astype(np.uint8), mask


@pytest.mark.parametrize("block", range(10))
def test_metrics_equal_independent_scorer(block: int) -> None:
    for seed in range(block * 100, block * 100 + 100):
        prediction, mask = _case(seed)
        matrix = confusion_matrices(torch.from_numpy(prediction), torch.from_numpy(mask), C).sum(0)
        wanted = oracle(prediction, mask)
        found = [None if iou != iou else iou for iou in class_iou(matrix).tolist()]
        assert found == wanted["iou"]
        for value, name in ((mean_iou(matrix), "miou"), (pixel_accuracy(matrix), "accuracy")):
            expected = wanted[name]
            assert value.isnan() if expected is None else abs(float(value) - expected) < 1e-15  # type: ignore[operator]


def test_counts_equal_torchmetrics() -> None:
    reference = MulticlassConfusionMatrix(C, ignore_index=255)
    for seed in range(50):
        prediction, mask = (torch.from_numpy(k) for k in _case(seed))
        assert torch.equal(
            confusion_matrices(prediction, mask, C).sum(0), reference(prediction.long(), mask.long())
        )


def test_each_image_has_its_own_matrix() -> None:
    prediction, mask = (torch.from_numpy(k) for k in _case(3))
    together = confusion_matrices(prediction, mask, C)
    alone = [confusion_matrices(prediction[k : k + 1], mask[k : k + 1], C)[0] for k in range(len(mask))]
    assert torch.equal(together, torch.stack(alone))
    assert together.sum((1, 2)).tolist() == (mask != 255).sum((1, 2)).tolist()


def test_invalid_prediction_raises() -> None:
    with pytest.raises(ValueError, match="a predicted class is 21, of 21"):
        confusion_matrices(torch.full((1, 2, 2), 21), torch.zeros(1, 2, 2, dtype=torch.uint8), C)


@pytest.mark.parametrize("weighted", [False, True])
def test_lanes_equal_histogram(weighted: bool) -> None:
    random = torch.Generator().manual_seed(3)
    cell = torch.randint(0, 40, (5001,), generator=random, dtype=torch.int32) ** 2 % 37
    weights = torch.randint(0, 10**9, (5001,), generator=random) if weighted else None
    counted = in_lanes(cell, 50, weights)
    assert counted.dtype == torch.int64
    assert torch.equal(counted, histogram(cell, 50, weights))
