"""Coverage of the 95 % intervals by simulation: `python -m tests.metrics.interval_coverage [DRAWS]`, minutes.

Populations of 6,000 images with VOC's classes and known scores, from each of which samples are drawn. Models
differ in their errors: see `MODELS`.
"""

import sys
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tests.metrics.population import IMAGES_OF_1449, PIXELS, image_scores
from vocseg.metrics.aggregate import MEASURES, compute_metrics, tp_gt_pred
from vocseg.metrics.bootstrap import Interval, score_intervals
from vocseg.metrics.paired_test import compare_groups
from vocseg.metrics.run_groups import RunGroup

POPULATION = 6000
SAMPLES = (100, 300, 1449)
RESAMPLES = 600


class Model(NamedTuple):
    """Errors of a model.

    Attributes:
        fixed: Largest share of an object's missed pixels that go to the one partner of its class.
        swapped: Share of objects whose other missed pixels go to a random class; else to background.
        invented: False positives an image, on average, each of a random class.
    """

    fixed: float = 0.0
    swapped: float = 0.0
    invented: float = 0.0


MODELS = {
    "fixed confusions": Model(fixed=0.8),
    "random false positives": Model(invented=2.0),
    "mixed": Model(fixed=0.4, swapped=0.2, invented=1.0),
    "all classes equally frequent": Model(swapped=0.12, invented=0.3),
}
PAIRS = {
    "fixed confusions, less of them": (Model(fixed=0.8), Model(fixed=0.5)),
    "random false positives, fewer": (Model(invented=2.0), Model(invented=1.0)),
    "fixed confusions to random false positives": (Model(fixed=0.8), Model(invented=2.0)),
}


class Objects(NamedTuple):
    """The truth: image, class and area of each object, and the number of images."""

    image: np.ndarray
    kind: np.ndarray
    area: np.ndarray
    images: int


def objects(images: int, seed: int, level: bool = False) -> Objects:
    """Objects of very unequal size; every image has one at least; `level`: no class is rarer than another."""
    random = np.random.default_rng(seed)
    often = np.array(IMAGES_OF_1449) / 1449
    there = random.random((images, 20)) < (often.mean() if level else often)
    empty = ~there.any(1)
    there[empty, random.integers(0, 20, empty.sum())] = True
    image, kind = np.nonzero(there)
    share = np.minimum(0.6 / there.sum(1)[image], random.lognormal(-2.3, 1.1, len(image)))
    return Objects(image, kind + 1, (PIXELS * share).astype(np.int64), images)


def predicted(truth: Objects, model: Model, seed: int) -> np.ndarray:
    """Confusion matrices int64 `[N,21,21]`; hits and outlines are the same for every model of one seed."""
    random = np.random.default_rng(seed)
    image, kind, area, images = truth
    matrices = np.zeros((images, 21, 21), np.int64)
    skill, partner = random.uniform(0.5, 0.9, 21), np.r_[0, random.permutation(20) + 1]
    hits = (area * random.beta(8 * skill[kind], 8 - 8 * skill[kind])).astype(np.int64)
    confused = ((area - hits) * model.fixed * random.random(len(image))).astype(np.int64)
    other = np.where(random.random(len(image)) < model.swapped, random.integers(1, 21, len(image)), 0)
    outline = (area * random.beta(1.2, 8, len(image)) / 2).astype(np.int64)
    for true, said, pixels in (
        (kind, kind, hits),
        (kind, partner[kind], confused),
        (kind, other, area - hits - confused),
        (np.zeros_like(kind), kind, outline),
    ):
        np.add.at(matrices, (image, true, said), pixels)
    times = random.poisson(model.invented, images)
    where = np.repeat(np.arange(images), times)
    pixels = (PIXELS * np.minimum(0.1, random.lognormal(-4, 1.2, len(where)))).astype(np.int64)
    pixels //= np.maximum(1, times[where])
    np.add.at(matrices, (where, np.zeros_like(where), random.integers(1, 21, len(where))), pixels)
    matrices[:, 0, 0] += np.maximum(PIXELS - matrices.sum((1, 2)), 0)
    return matrices


def population(name: str) -> np.ndarray:
    """The matrices of a model of `MODELS`."""
    return predicted(objects(POPULATION, 8, level="equally" in name), MODELS[name], 9)


def pair(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The matrices of both models of `PAIRS`, on the same images."""
    truth = objects(POPULATION, 8)
    before, after = PAIRS[name]
    return predicted(truth, before, 9), predicted(truth, after, 9)


class Coverage(NamedTuple):
    """Share of draws whose interval holds the truth.

    Attributes:
        measures: Of each of `MEASURES`, `[4]`.
        classes: Of each class, `[21]`, where it has an interval.
        warned: Share of the draws with a warning.
    """

    measures: np.ndarray
    classes: np.ndarray
    warned: float


def score_coverage(matrices: np.ndarray, images: int, draws: int) -> Coverage:
    """Of the intervals of one model's scores."""
    truth = compute_metrics(tp_gt_pred(matrices.sum(0)))
    hits, warned = [], []
    for draw in draws_of(len(matrices), images, draws):
        found = score_intervals(image_scores(matrices[draw]), resamples=RESAMPLES)
        each = [*found.measures.values(), *found.class_iou.values()]
        hits.append([hit(interval, true) for interval, true in zip(each, truth, strict=True)])
        warned.append(found.warning is not None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of few images a class may never have an interval
        share = np.nanmean(hits, axis=0)
    return Coverage(share[: len(MEASURES)], share[len(MEASURES) :], float(np.mean(warned)))


def difference_coverage(
    before: np.ndarray, after: np.ndarray, images: int, draws: int, seed: int = 1
) -> np.ndarray:
    """Of the intervals of two models' differences, each of `MEASURES`, `[4]`."""
    truth = compute_metrics(tp_gt_pred(after.sum(0))) - compute_metrics(tp_gt_pred(before.sum(0)))
    hits = []
    for draw in draws_of(len(before), images, draws, seed):
        a, b = (RunGroup(name, (image_scores(m[draw]),)) for name, m in (("a", before), ("b", after)))
        found = compare_groups(a, b, resamples=RESAMPLES).measures.values()
        hits.append([hit(each.difference, true) for each, true in zip(found, truth, strict=False)])
    share: np.ndarray = np.mean(hits, axis=0)
    return share


def hit(interval: Interval, truth: float) -> float:
    """Whether an interval holds the truth; NaN if there is none."""
    if interval.low is None or interval.high is None:
        return np.nan
    return float(interval.low <= truth <= interval.high)


def draws_of(whole: int, images: int, draws: int, seed: int = 1) -> Iterator[np.ndarray]:
    """Indices of images drawn from a population."""
    for k in range(draws):
        yield np.random.default_rng([seed, k]).integers(whole, size=images)


def main(draws: int = 400) -> None:
    """Print the table of the README, and more."""
    for name in MODELS:
        matrices = population(name)
        for images in SAMPLES:
            found = score_coverage(matrices, images, draws)
            _print(f"{name}, warned of {found.warned:.0%}", images, found.measures)
    for name in PAIRS:
        before, after = pair(name)
        for images in SAMPLES:
            _print(f"difference: {name}", images, difference_coverage(before, after, images, draws))


def _print(name: str, images: int, shares: np.ndarray) -> None:
    parts = ", ".join(f"{measure} {share:.1%}" for measure, share in zip(MEASURES, shares, strict=True))
    print(f"{name:<60} {images:>5} images: {parts}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
