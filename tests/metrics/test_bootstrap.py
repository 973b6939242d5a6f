"""Bootstrap intervals of one run."""

import json

import numpy as np
import pytest

from tests.metrics.population import image_scores, population
from vocseg.metrics.aggregate import MEASURES, TRIMAP, compute_metrics, tp_gt_pred
from vocseg.metrics.bootstrap import (
    FEWEST_IMAGES,
    ScoreIntervals,
    influence,
    iou_bias,
    percentile_interval,
    resampled_sums,
    score_intervals,
)


@pytest.fixture(scope="module")
def matrices() -> np.ndarray:
    return population(150, seed=1)


def test_estimates_equal_metrics_of_all_images_and_lie_within_intervals(matrices: np.ndarray) -> None:
    found = score_intervals(image_scores(matrices), resamples=500)
    wanted = compute_metrics(tp_gt_pred(matrices.sum(0)))
    each = [*found.measures.values(), *found.class_iou.values()]
    assert [interval.estimate for interval in each] == wanted.tolist()
    assert list(found.measures) == list(MEASURES)
    for interval in each:
        assert interval.low is not None
        assert interval.high is not None
        assert 0 <= interval.low < interval.estimate < interval.high <= 1  # type: ignore[operator]


def test_resample_has_as_many_images_as_split() -> None:
    drawn = resampled_sums(np.ones((7, 1)), 300_000, seed=0)  # more than one block
    assert (drawn == 7).all()
    first = resampled_sums(np.eye(7), 50_000, seed=0)
    assert first.mean(0) == pytest.approx(np.ones(7), abs=0.02)
    assert first.var(0) == pytest.approx(np.full(7, 6 / 7), abs=0.05)


def test_intervals_depend_on_seed_but_not_on_image_order(matrices: np.ndarray) -> None:
    straight = image_scores(matrices)
    order = np.random.default_rng(0).permutation(len(matrices))
    mixed = image_scores(matrices[order], ids=tuple(straight.ids[k] for k in order))
    assert score_intervals(straight, 300) == score_intervals(mixed, 300)
    assert score_intervals(straight, 300) != score_intervals(straight, 300, seed=1)


def test_rare_class_has_no_interval_and_absent_class_no_iou() -> None:
    matrices = np.zeros((9, 3, 3), np.int64)
    matrices[:, 0, 0], matrices[:, 0, 1] = np.arange(100, 109), 5
    matrices[: FEWEST_IMAGES - 1, 1, 1] = 10
    found = score_intervals(image_scores(matrices), 300)
    assert found.warning is None  # one class of two
    assert found.class_iou["background"].low is not None
    assert found.class_iou["aeroplane"].estimate == 40 / 85
    assert (found.class_iou["aeroplane"].low, found.class_iou["aeroplane"].high) == (None, None)
    assert found.class_iou["bicycle"].estimate is None
    assert list(found.images.values()) == [9, 4, 0]


def test_jackknife_variance_of_mean_is_exact() -> None:
    values = np.random.default_rng(0).normal(size=(500, 1))
    total = values.sum(0)
    found = influence(total / 500, (total - values) / 499)
    assert found.variance == pytest.approx(values.var(0, ddof=1) / 500)
    assert found.freedom == pytest.approx(500, rel=0.3)  # normal values: about as many as there are


def test_interval_width_follows_student_t() -> None:
    replicates = np.random.default_rng(0).normal(size=(50_000, 3))
    low, high = percentile_interval(replicates, np.array([1e6, 10.0, 4.0]))
    assert [low[0], high[0]] == pytest.approx([-1.96, 1.96], abs=0.04)
    assert high[1] == pytest.approx(2.228, abs=0.05)
    assert high[2] == pytest.approx(2.776, abs=0.08)


def test_trimap_measure_is_mean_iou_of_band(matrices: np.ndarray) -> None:
    band = matrices // 3
    found = score_intervals(image_scores(matrices, band=band), 300)
    alone = score_intervals(image_scores(band), 300)
    assert found.measures[TRIMAP] == alone.measures["mean_iou"]
    assert found.measures["mean_iou"] == score_intervals(image_scores(matrices), 300).measures["mean_iou"]


def test_interval_subtracts_twice_the_bias(matrices: np.ndarray) -> None:
    sums = tp_gt_pred(matrices)
    estimate, replicates = compute_metrics(sums.sum(0)), compute_metrics(resampled_sums(sums, 2000, seed=0))
    bias = iou_bias(estimate, replicates)
    assert bias[0] == pytest.approx(np.nanmean(replicates[:, 4:], 0).mean() - estimate[4:].mean(), abs=1e-12)
    assert bias[0] < 0
    assert bias[1] == bias[2] == 0
    interval = score_intervals(image_scores(matrices)).measures["mean_iou"]
    middle = (interval.low + interval.high) / 2  # type: ignore[operator]
    assert middle - estimate[0] == pytest.approx(-bias[0], abs=0.003)


def test_mostly_rare_classes_give_warning() -> None:
    found = score_intervals(image_scores(population(30, seed=1)), 200)
    there = [found.images[name] for name, iou in found.class_iou.items() if iou.estimate is not None]
    few = sum(images < FEWEST_IMAGES for images in there)
    assert found.warning is not None
    assert f"{few} of the {len(there)} classes are in fewer than 5 images" in found.warning
    assert ScoreIntervals.from_dict(json.loads(json.dumps(found.as_dict()))) == found
