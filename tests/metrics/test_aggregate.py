"""Metrics beyond mean IoU and the error budget."""

from dataclasses import asdict
from fractions import Fraction

import numpy as np
import pytest
import torch

from vocseg.metrics.aggregate import MEASURES, compute_metrics, error_budget, tp_gt_pred
from vocseg.metrics.confusion import mean_iou, pixel_accuracy

NAMES = ("background", "cat", "dog")
# Unions: background 6+2+1+1 = 10, cat 3+2+3 = 8 ... by row (true) and column (predicted).
SMALL = np.array([[6, 2, 1], [1, 3, 0], [0, 3, 4]])
UNIONS = (10, 9, 8)


def _random(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A matrix and its band; some classes are neither there nor predicted."""
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 22))
    matrix = random.integers(0, 10 ** int(random.integers(1, 7)), (count, count))
    gone = random.random(count) < 0.3
    matrix[gone] = 0
    matrix[:, gone] = 0
    return matrix, (matrix * random.random(matrix.shape)).astype(np.int64)


def test_class_accuracy_and_weighted_iou_match_hand_computation() -> None:
    found = dict(zip(MEASURES, compute_metrics(tp_gt_pred(SMALL)), strict=False))
    assert found["mean_class_accuracy"] == pytest.approx((6 / 9 + 3 / 4 + 4 / 7) / 3, abs=1e-15)
    weighted = (9 * 6 / 10 + 4 * 3 / 9 + 7 * 4 / 8) / 20
    assert found["frequency_weighted_iou"] == pytest.approx(weighted, abs=1e-15)


def test_class_without_true_pixels_has_iou_but_no_accuracy() -> None:
    found = compute_metrics(tp_gt_pred(np.array([[8, 2], [0, 0]])))
    assert found.tolist() == pytest.approx([0.4, 0.8, 0.8, 0.8, 0.8, 0.0])


def test_measures_on_random_matrices_equal_torch() -> None:
    for seed in range(200):
        matrix, _ = _random(seed)
        found = dict(zip(MEASURES, compute_metrics(tp_gt_pred(matrix)), strict=False))
        for name, value in (("mean_iou", mean_iou), ("pixel_accuracy", pixel_accuracy)):
            wanted = float(value(torch.from_numpy(matrix)))
            assert found[name] == pytest.approx(wanted, abs=1e-15, nan_ok=True)


def test_error_budget_matches_hand_computation() -> None:
    background, cat, dog = (1 / k for k in UNIONS)
    budget = error_budget(SMALL, NAMES)
    assert budget.boundary is None
    invented = (2 * (background + cat) + 1 * (background + dog)) / 3
    assert budget.background_for_object == pytest.approx(invented, abs=1e-15)
    assert budget.object_for_background == pytest.approx((background + cat) / 3, abs=1e-15)
    assert budget.another_class == pytest.approx(3 * (cat + dog) / 3, abs=1e-15)
    without = error_budget(SMALL, ("road", "cat", "dog"))  # no class is background
    assert (without.background_for_object, without.object_for_background) == (0, 0)


def test_wrong_boundary_pixels_count_in_boundary_part_only() -> None:
    band = np.array([[5, 1, 0], [0, 2, 0], [0, 3, 1]])
    background, cat, dog = (1 / k for k in UNIONS)
    budget = error_budget(SMALL, NAMES, band)
    assert budget.boundary == pytest.approx((1 * (background + cat) + 3 * (cat + dog)) / 3, abs=1e-15)
    assert budget.background_for_object == pytest.approx(
        (1 * (background + cat) + 1 * (background + dog)) / 3, abs=1e-15
    )
    assert budget.another_class == 0


@pytest.mark.parametrize("banded", [False, True])
@pytest.mark.parametrize("first", ["background", "road"])
def test_error_budget_parts_sum_to_one_minus_miou(banded: bool, first: str) -> None:
    for seed in range(200):
        matrix, band = _random(seed)
        budget = error_budget(matrix, [first] * len(matrix), band if banded else None)
        union = [int(matrix[k].sum() + matrix[:, k].sum() - matrix[k, k]) for k in range(len(matrix))]
        ious = [Fraction(int(matrix[k, k]), u) for k, u in enumerate(union) if u]
        if not ious:
            assert np.isnan(budget.total)
            continue
        assert abs(budget.total - float(1 - sum(ious) / len(ious))) < 1e-14
        assert all(value >= 0 for value in asdict(budget).values() if value is not None)
