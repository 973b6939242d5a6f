"""Score tables."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console, RenderableType

from vocseg.metrics.calibration import Calibration
from vocseg.metrics.protocol import Protocol
from vocseg.metrics.score import Score
from vocseg.visualization import tables
from vocseg.visualization.tables import calibration_line, resolution_lines, score_table

PROTOCOL = Protocol("val", 200, "0123456789abcdef", 256)


def _score(right: int) -> Score:
    matrix = torch.zeros(21, 21, dtype=torch.int64)
    matrix[0, 0], matrix[1, 1], matrix[1, 0] = 900, right, 100 - right
    return Score(matrix, PROTOCOL, 0.5)


def _text(table: RenderableType) -> str:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table)
    return console.export_text()


def test_three_best_and_worst_classes_have_a_colour() -> None:
    console = Console(width=100, record=True, file=open("/dev/null", "w"), force_terminal=True)  # noqa: SIM115
    console.print(tables._class_table([(f"c{k}", f"{k}", k / 21) for k in range(21)]))
    text = console.export_text(styles=True)
    assert set(re.findall(r"31m(c\d+)", text)) == {"c0", "c1", "c2"}
    assert set(re.findall(r"32m(c\d+)", text)) == {"c18", "c19", "c20"}


def test_score_table_has_protocol_classes_and_totals() -> None:
    text = _text(score_table(_score(50), "test"))
    assert "test: val, 200 images at 256x256 (data 01234567)" in text
    assert "aeroplane" in text
    assert "tvmonitor" in text
    assert "mean IoU 72.4 % over 2 classes (19 neither present nor predicted)" in text
    assert "pixel accuracy 95.0 %" in text


def test_markup_class_names_are_printed_verbatim() -> None:
    names = ("background", "[/x]", "[red]cat", "[link=x]y", *(f"c{k}" for k in range(17)))
    text = _text(score_table(replace(_score(50), classes=names), "test"))
    for name in names:
        assert f" {name} " in text


def test_resolution_lines_have_views_and_upper_bound() -> None:
    text = " ".join(str(resolution_lines(_score(50), _score(100))).split())
    assert text == (
        "input resolution (at 256x256): mean IoU 72.4 %, pixel accuracy 95.0 %, loss 0.500 "
        "upper bound of mean IoU at 256x256: 100.0 %"
    )
    assert str(resolution_lines(_score(50), None, windows=True)).startswith(
        "input resolution (resized to 256x256, without windows)"
    )
    assert str(resolution_lines(_score(50), None, alone=True)) == "loss 0.500"


def test_calibration_line_has_resolution_and_bias() -> None:
    counts = np.zeros((15, 3), np.int64)
    counts[11] = [100, 60, round(100 * 0.78 * 2**24)]
    text = str(calibration_line(Calibration(counts, PROTOCOL)))
    wanted = "ECE 18.0 % at 256x256 (mean confidence 78.0 %, accuracy 60.0 %: overconfident)"
    assert text.endswith(wanted)
    counts[11, 1] = 90
    original = replace(PROTOCOL, resolution="original", windows="stride 0.5")
    text = str(calibration_line(Calibration(counts, original)))
    assert "12.0 % at original resolution" in text
    assert "underconfident" in text
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


def test_score_as_dict_is_json() -> None:
    score = _score(50)
    plain = json.loads(json.dumps(score.as_dict()))
    assert plain["protocol"] == {
        "split": "val",
        "images": 200,
        "fingerprint": "0123456789abcdef",
        "size": 256,
        "resolution": "network",
        "tta": None,
        "windows": None,
    }
    assert plain["matrix"] == score.matrix.tolist()
    assert plain["class_iou"][2] is None
