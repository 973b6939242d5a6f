"""Paired bootstrap of two runs or two groups of runs."""

import dataclasses
import re

import numpy as np
import pytest

from tests.metrics.population import PROTOCOL, image_scores, population, worse
from vocseg.errors import UserError
from vocseg.metrics.aggregate import TRIMAP, compute_metrics, tp_gt_pred
from vocseg.metrics.paired_test import Comparison, Difference, compare_groups
from vocseg.metrics.per_image import PerImageConfusion
from vocseg.metrics.run_groups import RunGroup

BASE = population(120, seed=2)
RUNS = [image_scores(worse(BASE, 0.05 + 0.02 * k, seed=k)) for k in range(4)]


def _compare(a: list[PerImageConfusion], b: list[PerImageConfusion], **settings: int) -> Comparison:
    return compare_groups(RunGroup("a", tuple(a)), RunGroup("b", tuple(b)), **({"resamples": 400} | settings))


def _figures(found: Comparison) -> list[Difference]:
    return [*found.measures.values(), *found.class_iou.values()]


@pytest.mark.parametrize("members", [[0], [0, 1], [2, 0, 1]])
def test_group_against_itself_is_exactly_zero(members: list[int]) -> None:
    group = [RUNS[k] for k in members]
    found = _compare(group, group[::-1])
    for each in _figures(found):
        assert (each.difference.estimate, each.difference.low, each.difference.high) == (0, 0, 0)
        assert each.better == 0.5
        assert not each.clear
    assert all(image.change == 0 for image in found.images)


@pytest.mark.parametrize("runs", [1, 2])
def test_group_metric_is_mean_of_members(runs: int) -> None:
    found = _compare(RUNS[:runs], RUNS[4 - runs :])
    a, b = (
        np.mean([compute_metrics(tp_gt_pred(run.total())) for run in runs], 0)
        for runs in (RUNS[:runs], RUNS[4 - runs :])
    )
    assert [each.before for each in _figures(found)] == pytest.approx(a.tolist(), abs=1e-15)
    assert [each.difference.estimate for each in _figures(found)] == pytest.approx(
        (b - a).tolist(), abs=1e-15
    )


def test_swapped_runs_negate_differences() -> None:
    there, back = _compare([RUNS[0]], [RUNS[3]]), _compare([RUNS[3]], [RUNS[0]])
    for one, other in zip(_figures(there), _figures(back), strict=True):
        assert one.difference.estimate == pytest.approx(-other.difference.estimate, abs=1e-15)  # type: ignore[operator]
        if one.difference.low is not None:
            assert one.difference.low == pytest.approx(-other.difference.high, abs=1e-12)  # type: ignore[operator]
            assert one.better == pytest.approx(1 - other.better, abs=1e-12)  # type: ignore[operator]


def test_comparison_does_not_depend_on_image_order() -> None:
    order = np.random.default_rng(1).permutation(len(BASE))
    mixed = [image_scores(run.matrices[order], ids=tuple(run.ids[k] for k in order)) for run in RUNS[:2]]
    assert (
        _compare([mixed[0]], [RUNS[1]]) == _compare([RUNS[0]], [mixed[1]]) == _compare([RUNS[0]], [RUNS[1]])
    )


def test_seed_spread_widens_interval() -> None:
    apart = [image_scores(worse(BASE, amount, seed=9)) for amount in (0.02, 0.30)]
    alike = [image_scores(worse(BASE, amount, seed=9)) for amount in (0.15, 0.17)]
    other = [image_scores(worse(BASE, amount, seed=9)) for amount in (0.05, 0.06)]
    widths = []
    for group in (apart, alike):
        found = _compare(other, group)
        difference = found.measures["mean_iou"].difference
        widths.append(difference.high - difference.low)  # type: ignore[operator]
        ious = [[compute_metrics(tp_gt_pred(run.total()))[0] for run in runs] for runs in (other, group)]
        pooled = np.sqrt(np.mean([np.var(each, ddof=1) for each in ious]))
        assert found.seed_spread == pytest.approx(pooled, rel=1e-9)
    assert widths[0] > 3 * widths[1]
    assert _compare([other[0]], [apart[0]]).seed_spread is None


def test_images_are_ranked_by_exact_change() -> None:
    before = np.zeros((7, 3, 3), np.int64)
    before[:6, 0, 0], before[:6, 1, 1] = 80, 10  # the last image is ignored completely
    after = before.copy()
    after[4, 1] = [5, 5, 0]  # class 1: half of it is lost to background: 10/10 -> 5/10, and 80/80 -> 80/85
    after[2, 0] = [60, 20, 0]  # 80/80 -> 60/80, and 10/10 -> 10/30
    found = _compare([image_scores(before)], [image_scores(after)]).images
    assert [each.id for each in found] == [f"2008_{k:06d}" for k in (2, 4, 0, 1, 3, 5)]
    assert found[0].change == pytest.approx((60 / 80 + 10 / 30) / 2 - 1, abs=1e-15)
    assert found[1].change == pytest.approx((80 / 85 + 5 / 10) / 2 - 1, abs=1e-15)


def test_class_without_iou_in_one_run_has_no_difference() -> None:
    before = np.zeros((8, 3, 3), np.int64)
    before[:, 0, 0] = 100
    after = before.copy()
    after[0, 0] = [90, 10, 0]  # now class 1 has an IoU, of 0
    found = _compare([image_scores(before)], [image_scores(after)]).class_iou
    assert (found["aeroplane"].before, found["aeroplane"].after) == (None, 0)
    assert found["aeroplane"].difference.estimate is None
    assert found["bicycle"].before is found["bicycle"].after is found["bicycle"].better is None


OTHER = {
    "fingerprint": (
        {"protocol": dataclasses.replace(PROTOCOL, fingerprint="f")},
        "fingerprint differs ('0123456789abcdef' and 'f')",
    ),
    "classes": ({"classes": tuple(f"c{k}" for k in range(21))}, "classes differs ('background' and 'c0')"),
    "ids": (
        {"ids": tuple(f"2009_{k:06d}" for k in range(120))},
        "ids differs ('2008_000000' and '2009_000000')",
    ),
}


@pytest.mark.parametrize("field", OTHER)
def test_different_images_or_protocol_raise(field: str) -> None:
    changes, words = OTHER[field]
    with pytest.raises(UserError, match=re.escape(f"a and b cannot be compared: their {words}")):
        _compare([RUNS[0]], [RUNS[1], image_scores(BASE, **changes)])


def test_trimap_measure_is_compared_if_all_runs_have_it() -> None:
    banded = [image_scores(run.matrices, band=run.matrices // 4) for run in RUNS[:2]]
    alone = [image_scores(run.matrices // 4) for run in RUNS[:2]]
    found = _compare([banded[0]], [banded[1]])
    assert found.measures[TRIMAP] == _compare([alone[0]], [alone[1]]).measures["mean_iou"]
    assert TRIMAP not in _compare([banded[0]], [RUNS[1]]).measures


def test_allowed_protocol_difference_applies_between_groups_only() -> None:
    flipped = dataclasses.replace(PROTOCOL, tta="flip")
    other = image_scores(RUNS[1].matrices, protocol=flipped)
    groups = RunGroup("a", (RUNS[0],)), RunGroup("b", (other,))
    with pytest.raises(UserError, match=r"their tta differs \(None and 'flip'\)\. .* --allow_different tta"):
        compare_groups(*groups, resamples=100)
    found = compare_groups(*groups, resamples=100, across=("tta",))
    assert found.protocols == (PROTOCOL, flipped)
    mixed = RunGroup("b", (other, RUNS[2]))
    with pytest.raises(UserError, match="tta differs"):
        compare_groups(groups[0], mixed, resamples=100, across=("tta",))
    larger = image_scores(2 * RUNS[1].matrices, protocol=dataclasses.replace(PROTOCOL, size=512))
    with pytest.raises(UserError, match="number of labelled pixels differs"):
        compare_groups(groups[0], RunGroup("c", (larger,)), resamples=100, across=("size",))
