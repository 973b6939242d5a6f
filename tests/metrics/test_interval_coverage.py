"""Coverage of the 95 % intervals on populations with known scores."""

import numpy as np
import pytest

from tests.metrics.interval_coverage import difference_coverage, draws_of, hit, pair, score_coverage
from tests.metrics.interval_coverage import population as pool
from tests.metrics.population import image_scores, population, worse
from vocseg.metrics.aggregate import MEASURES, compute_metrics, tp_gt_pred
from vocseg.metrics.paired_test import compare_groups
from vocseg.metrics.run_groups import RunGroup

IMAGES = 200


@pytest.fixture(scope="module")
def everything() -> np.ndarray:
    return population(3000, seed=8)


def test_score_intervals_have_nominal_coverage(everything: np.ndarray) -> None:
    found = score_coverage(everything, IMAGES, draws=400)
    for name, share in zip(MEASURES, found.measures, strict=True):
        assert 0.925 <= share <= 0.975, name
    assert 0.93 <= found.classes.mean() <= 0.97
    assert 0.90 <= found.classes.min() <= found.classes.max() <= 0.99


def test_difference_intervals_have_nominal_coverage(everything: np.ndarray) -> None:
    before, after = worse(everything, 0.10, seed=1), worse(everything, 0.07, seed=2)
    share = difference_coverage(before, after, IMAGES, draws=250, seed=2)
    assert 0.925 <= share[0] <= 0.975
    assert 0.92 <= share.min() <= share.max() <= 0.985  # of 250 cases: 95 give or take 1.4


def test_probability_without_difference_is_uniform(everything: np.ndarray) -> None:
    before, after = worse(everything, 0.08, seed=3), worse(everything, 0.08, seed=4)
    chances = []
    for draw in draws_of(3000, IMAGES, 200, seed=3):
        a, b = (RunGroup(name, (image_scores(m[draw]),)) for name, m in (("a", before), ("b", after)))
        chances.append(compare_groups(a, b, resamples=300).measures["pixel_accuracy"].better)
    assert 0.3 < np.mean(chances) < 0.7  # type: ignore[arg-type]


def test_seed_intervals_cover_recipe_difference(everything: np.ndarray) -> None:
    random = np.random.default_rng(5)
    pools = [
        [worse(everything, max(mean + random.normal(0, 0.02), 0), seed=100 * k + j) for j in range(8)]
        for k, mean in enumerate((0.10, 0.07))
    ]
    means = [np.mean([compute_metrics(tp_gt_pred(m.sum(0)))[0] for m in pool]) for pool in pools]
    hits: dict[int, list[float]] = {1: [], 3: []}
    for draw in draws_of(3000, IMAGES, 150, seed=4):
        for runs, list_ in hits.items():
            groups = [
                RunGroup(
                    name, tuple(image_scores(pool[k][draw]) for k in random.choice(8, runs, replace=False))
                )
                for name, pool in zip("ab", pools, strict=True)
            ]
            found = compare_groups(*groups, resamples=400).measures["mean_iou"].difference
            list_.append(hit(found, float(means[1] - means[0])))
    assert np.mean(hits[1]) < 0.91  # one run of each tells nothing of the spread from seed to seed
    assert 0.925 <= np.mean(hits[3]) <= 0.99


@pytest.mark.parametrize("name", ["fixed confusions", "random false positives"])
def test_mean_iou_of_100_images_has_nominal_coverage(name: str) -> None:
    found = score_coverage(pool(name), images=100, draws=100)
    assert 0.92 <= found.measures[0] <= 0.99  # of 100 cases: 95 give or take 2.2
    assert found.measures.min() >= 0.9
    assert 0.93 <= np.nanmean(found.classes) <= 0.98
    assert found.warned < 0.05


def test_too_few_images_give_warning() -> None:
    found = score_coverage(pool("mixed"), images=30, draws=40)
    assert found.measures[0] < 0.9
    assert found.warned == 1


def test_differences_of_100_images_have_nominal_coverage() -> None:
    before, after = pair("random false positives, fewer")
    assert 0.91 <= difference_coverage(before, after, images=100, draws=80)[0] <= 1
