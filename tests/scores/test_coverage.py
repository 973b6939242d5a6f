"""A 95 % interval holds the truth in 95 of 100 cases: shown on populations whose truth is known."""

from collections.abc import Iterator

import numpy as np
import pytest

from tests.scores.population import image_scores, population, worse
from vocseg.scores.comparison import compare_groups
from vocseg.scores.groups import Group
from vocseg.scores.intervals import Interval, score_intervals
from vocseg.scores.measures import MEASURES, measure, parts

IMAGES = 200


@pytest.fixture(scope="module")
def everything() -> np.ndarray:
    return population(3000, seed=8)


def _draws(number: int, seed: int) -> Iterator[np.ndarray]:
    for k in range(number):
        yield np.random.default_rng([seed, k]).integers(3000, size=IMAGES)


def _hit(interval: Interval, truth: float) -> float:
    if interval.low is None or interval.high is None:
        return np.nan
    return float(interval.low <= truth <= interval.high)


def test_intervals_hold_the_truth_as_often_as_they_claim(everything: np.ndarray) -> None:
    truth = measure(parts(everything.sum(0)))
    hits = []
    for draw in _draws(400, seed=1):
        found = score_intervals(image_scores(everything[draw]), resamples=600)
        each = [*found.measures.values(), *found.class_iou.values()]
        hits.append([_hit(interval, true) for interval, true in zip(each, truth, strict=True)])
    share = np.nanmean(hits, axis=0)
    for name, found_share in zip(MEASURES, share, strict=False):
        assert 0.925 <= found_share <= 0.975, name
    classes = share[len(MEASURES) :]
    assert 0.93 <= classes.mean() <= 0.97
    assert 0.90 <= classes.min() <= classes.max() <= 0.99


def test_intervals_of_a_difference_hold_the_true_one(everything: np.ndarray) -> None:
    before, after = worse(everything, 0.10, seed=1), worse(everything, 0.07, seed=2)
    truth = measure(parts(after.sum(0))) - measure(parts(before.sum(0)))
    hits, certain = [], []
    for draw in _draws(250, seed=2):
        a, b = (Group(name, (image_scores(m[draw]),)) for name, m in (("a", before), ("b", after)))
        found = compare_groups(a, b, resamples=600)
        hits.append(
            [_hit(each.difference, t) for each, t in zip(found.measures.values(), truth, strict=False)]
        )
        certain.append(found.measures["mean_iou"].better)
    share = np.mean(hits, axis=0)
    assert 0.925 <= share[0] <= 0.975
    assert 0.92 <= share.min() <= share.max() <= 0.985  # of 250 cases: 95 give or take 1.4
    assert np.median(certain) > 0.5


def test_where_nothing_differs_on_the_whole_the_probability_is_even(everything: np.ndarray) -> None:
    before, after = worse(everything, 0.08, seed=3), worse(everything, 0.08, seed=4)
    chances = []
    for draw in _draws(200, seed=3):
        a, b = (Group(name, (image_scores(m[draw]),)) for name, m in (("a", before), ("b", after)))
        chances.append(compare_groups(a, b, resamples=300).measures["pixel_accuracy"].better)
    assert 0.3 < np.mean(chances) < 0.7  # type: ignore[arg-type]


def test_with_seeds_the_interval_holds_for_the_recipe_not_the_run(everything: np.ndarray) -> None:
    random = np.random.default_rng(5)
    pools = [
        [worse(everything, max(mean + random.normal(0, 0.02), 0), seed=100 * k + j) for j in range(8)]
        for k, mean in enumerate((0.10, 0.07))
    ]
    means = [np.mean([measure(parts(m.sum(0)))[0] for m in pool]) for pool in pools]
    hits: dict[int, list[float]] = {1: [], 3: []}
    for draw in _draws(150, seed=4):
        for runs, list_ in hits.items():
            groups = [
                Group(name, tuple(image_scores(pool[k][draw]) for k in random.choice(8, runs, replace=False)))
                for name, pool in zip("ab", pools, strict=True)
            ]
            found = compare_groups(*groups, resamples=400).measures["mean_iou"].difference
            list_.append(_hit(found, float(means[1] - means[0])))
    assert np.mean(hits[1]) < 0.91  # one run of each tells nothing of the spread from seed to seed
    assert 0.925 <= np.mean(hits[3]) <= 0.99
