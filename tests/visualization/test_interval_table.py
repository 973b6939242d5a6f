"""Tables of intervals and comparisons."""

import re

import numpy as np
import pytest
from rich.console import Console, RenderableType

from tests.metrics.population import image_scores, population, worse
from vocseg.constants import CLASSES
from vocseg.metrics.aggregate import error_budget
from vocseg.metrics.bootstrap import Interval, score_intervals
from vocseg.metrics.paired_test import Comparison, compare_groups
from vocseg.metrics.run_groups import RunGroup
from vocseg.visualization.difference_tables import difference_tables, verdict
from vocseg.visualization.tables import interval_table, interval_text

MATRICES = population(80, seed=4)


def _text(table: RenderableType, width: int = 80) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table)
    return console.export_text()


def _compared(*matrices: np.ndarray, runs: int = 1) -> Comparison:
    groups = [
        RunGroup(n, tuple(image_scores(m) for m in matrices[k::2][:runs]))
        for k, n in enumerate(("one", "two"))
    ]
    return compare_groups(*groups, resamples=300)


def test_interval_text_is_in_per_cent() -> None:
    assert interval_text(Interval(0.56, 0.521, 0.598)) == "56.0 [52.1, 59.8]"
    assert interval_text(Interval(0.56)) == "56.0"
    assert interval_text(Interval(None)) == "-"


def test_interval_table_fits_80_columns() -> None:
    scores = image_scores(MATRICES, band=MATRICES // 4)
    text = _text(interval_table(scores, "test"))
    known = score_intervals(scores)
    assert "test: val" in text
    assert f"mean IoU                {interval_text(known.measures['mean_iou'])} %" in text
    for name, interval in known.class_iou.items():
        assert re.search(rf"{name} +│ +{re.escape(interval_text(interval))}", text), name
    rows = re.findall(r"│ (?:near|background predicted|object predicted).*?│ +([\d.]+) │", text)
    assert len(rows) == 4
    budget = error_budget(scores.total(), scores.classes, scores.total_band())
    assert sum(map(float, rows)) == pytest.approx(100 * budget.total, abs=0.21)
    assert max(map(len, text.splitlines())) <= 80


def test_budget_without_band_has_no_boundary_part() -> None:
    assert "near a boundary" not in _text(interval_table(image_scores(MATRICES), "test"))


def test_few_images_are_shown_without_interval() -> None:
    assert "fewer than 5 images" in _text(interval_table(image_scores(MATRICES[:3]), "test"))
    void = _text(interval_table(image_scores(np.zeros((2, 21, 21), int)), "test"))
    assert "mean IoU                - %" in void
    assert "error budget" not in void


def test_unreliable_interval_has_warning() -> None:
    text = " ".join(_text(interval_table(image_scores(MATRICES[:20]), "test")).split())
    assert "the interval of mean IoU is not reliable" in text
    assert "not reliable" not in _text(interval_table(image_scores(population(150, seed=1)), "test"))


def test_comparison_table_marks_clear_changes() -> None:
    found = _compared(MATRICES, worse(MATRICES, 0.6, 1))
    text = _text(difference_tables(found))
    assert "A: one" in text
    assert "B: two" in text
    assert "B is clearly worse than A: mean IoU -" in text
    row = next(line for line in text.splitlines() if "mean IoU  " in line)
    assert "▼" in row
    assert float(row.split("│")[-2].strip(" <%")) < 2.5
    assert found.images[0].id in text
    assert "there is one run of each" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_comparison_of_groups_shows_seed_spread() -> None:
    runs = [worse(MATRICES, 0.1, k) for k in range(4)]
    text = " ".join(_text(difference_tables(_compared(*runs, runs=2), "C")).split())
    assert "A: one (mean of 2 runs)" in text
    assert "C: two (mean of 2 runs)" in text
    assert "deviation of mean IoU between seeds" in text


def test_equal_runs_have_no_difference() -> None:
    found = _compared(MATRICES, MATRICES)
    assert verdict(found) == "B does not differ from A"
    text = _text(difference_tables(found))
    assert "images with the largest changes" not in text
    assert "▲" not in text.split("the interval excludes 0")[0].rsplit("┘", 1)[0]
    assert (
        verdict(_compared(MATRICES[:3], worse(MATRICES[:3], 2, 1))) == "too few images to distinguish A and B"
    )


def test_markup_names_are_printed_verbatim() -> None:
    names = ("background", "[/x]", "[red]cat", "[link=x]y", *(f"c{k}" for k in range(17)))
    one, two = (image_scores(m, classes=names) for m in (MATRICES, worse(MATRICES, 0.6, 1)))
    found = compare_groups(RunGroup("[/a]", (one,)), RunGroup("[b]", (two,)), resamples=100)
    shown = [name for name, each in found.class_iou.items() if each.before or each.after]
    assert names[1] in shown
    for text, there in (
        (_text(interval_table(one, "test")), names),
        (_text(difference_tables(found)), shown),
    ):
        for name in there:
            assert f" {name} " in text
    assert "A: [/a]\nB: [b]" in _text(difference_tables(found))


def test_only_predicted_class_is_marked() -> None:
    matrices = np.zeros((8, 21, 21), int)
    matrices[:, 0, 0], matrices[:, 0, 5] = 900, 100
    text = _text(interval_table(image_scores(matrices), "test"))
    assert re.search(r"bottle +│ +0\.0 \(only predicted\)", text)
    assert "(0 images)" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_comparison_omits_classes_at_0_and_redundant_names() -> None:
    found = compare_groups(
        RunGroup("before", (image_scores(MATRICES[:, :3, :3], classes=("background", "cat", "dog")),)),
        RunGroup("after", (image_scores(MATRICES[:, :3, :3], classes=("background", "cat", "dog")),)),
        resamples=100,
    )
    text = _text(difference_tables(found, "after", first="before", title="fine-tuning: "))
    assert "before: before" not in text
    assert "fine-tuning: val" in text
    assert re.search(r"│ frequency +│", text)
    matrices = MATRICES.copy()
    matrices[:, :, 7] = matrices[:, 7] = 0
    found = _compared(matrices, matrices)
    hidden = [name for name, each in found.class_iou.items() if not each.before and not each.after]
    text = _text(difference_tables(found))
    assert CLASSES[7] in hidden
    assert f" {CLASSES[7]} " not in text
    assert re.search(rf"not shown: {len(hidden)} class(es)? at 0 or absent in both", text)
