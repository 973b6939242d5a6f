"""Tables of scores, intervals and comparisons."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console, RenderableType

from tests.metrics.population import image_scores, population, worse
from vocseg.metrics.bootstrap import score_intervals
from vocseg.metrics.calibration import Calibration
from vocseg.metrics.paired_test import Comparison, compare_groups
from vocseg.metrics.per_image import Protocol
from vocseg.metrics.run_groups import RunGroup
from vocseg.metrics.score import Score
from vocseg.visualization.tables import (
    calibration_line,
    difference_tables,
    interval_table,
    interval_text,
    resolution_lines,
    score_table,
    verdict,
)

PROTOCOL = Protocol("val", 200, "0123456789abcdef", 256)
MATRICES = population(80, seed=4)


def _score(right: int) -> Score:
    matrix = torch.zeros(21, 21, dtype=torch.int64)
    matrix[0, 0], matrix[1, 1], matrix[1, 0] = 900, right, 100 - right
    return Score(matrix, PROTOCOL, 0.5)


def _text(table: RenderableType, width: int = 80) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table)
    return console.export_text()


def test_score_lines_have_protocol_classes_totals_and_upper_bound() -> None:
    text = _text(score_table(_score(50), "test"), 100)
    assert "test: val, 200 images at 256x256 (data 01234567)" in text
    assert "aeroplane" in text
    assert "tvmonitor" in text
    assert "mean IoU 72.4 %, pixel accuracy 95.0 %, loss 0.500" in text
    text = " ".join(str(resolution_lines(_score(50), _score(100))).split())
    assert text == (
        "input resolution (at 256x256): mean IoU 72.4 %, pixel accuracy 95.0 %, loss 0.500 "
        "upper bound of mean IoU at 256x256: 100.0 %"
    )


def test_calibration_line_has_resolution_and_bias() -> None:
    counts = np.zeros((15, 3), np.int64)
    counts[11] = [100, 60, round(100 * 0.78 * 2**24)]
    text = str(calibration_line(Calibration(counts, PROTOCOL)))
    wanted = "ECE 18.0 % at 256x256 (mean confidence 78.0 %, accuracy 60.0 %: overconfident)"
    assert text.endswith(wanted)
    assert str(calibration_line(Calibration(0 * counts, PROTOCOL))).endswith("ECE - % at 256x256")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "at 256x256 (data"),
        ({"tta": "flip"}, "at 256x256; tta: flip (data"),
        ({"resolution": "original"}, "at original resolution (predicted at 256x256) (data"),
        (
            {"resolution": "original", "tta": "flip", "windows": "stride 0.5"},
            "at original resolution (predicted in 256x256 windows, stride 0.5; tta: flip) (data",
        ),
    ],
)
def test_protocol_text_has_resolution_tta_and_windows(changes: dict[str, str], words: str) -> None:
    assert words in str(replace(PROTOCOL, **changes))  # type: ignore[arg-type]


def _compared(*matrices: np.ndarray, runs: int = 1) -> Comparison:
    groups = [
        RunGroup(n, tuple(image_scores(m) for m in matrices[k::2][:runs]))
        for k, n in enumerate(("one", "two"))
    ]
    return compare_groups(*groups, resamples=300)


def test_interval_table_fits_80_columns() -> None:
    scores = image_scores(MATRICES, band=MATRICES // 4)
    known = score_intervals(scores)
    text = _text(interval_table(scores, "test", known))
    assert "test: val" in text
    assert f"mean IoU                {interval_text(known.measures['mean_iou'])} %" in text
    assert re.fullmatch(r"\d+\.\d \[\d+\.\d, \d+\.\d\]", interval_text(known.measures["mean_iou"]))
    for name, interval in known.class_iou.items():
        assert re.search(rf"{name} +│ +{re.escape(interval_text(interval))}", text), name
    assert max(map(len, text.splitlines())) <= 80


def test_interval_table_of_few_images_has_no_intervals_or_warning() -> None:
    def text(matrices: np.ndarray) -> str:
        scores = image_scores(matrices)
        return " ".join(_text(interval_table(scores, "test", score_intervals(scores))).split())

    few = float(score_intervals(image_scores(MATRICES[:3])).measures["mean_iou"].estimate or 0)
    assert f"mean IoU {100 * few:.1f} %" in text(MATRICES[:3])
    assert "none for fewer than 5 images" in text(MATRICES[:3])
    assert "mean IoU - %" in text(np.zeros((2, 21, 21), int))
    assert "the interval of mean IoU is not reliable" in text(MATRICES[:20])
    assert "not reliable" not in text(population(150, seed=1))


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


def test_markup_names_in_difference_tables_are_printed_verbatim() -> None:
    names = ("background", "[/x]", "[red]cat", "[link=x]y", *(f"c{k}" for k in range(17)))
    one, two = (image_scores(m, classes=names) for m in (MATRICES, worse(MATRICES, 0.6, 1)))
    found = compare_groups(RunGroup("[/a]", (one,)), RunGroup("[b]", (two,)), resamples=100)
    tables = interval_table(one, "test", score_intervals(one)), difference_tables(found)
    for text in map(_text, tables):
        assert all(f" {name} " in text for name in names)
    assert "A: [/a]\nB: [b]" in _text(difference_tables(found))
