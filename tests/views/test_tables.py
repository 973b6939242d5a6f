"""Tables."""

import json

import torch
from rich.console import Console, RenderableType

from vocseg.scores import Protocol, Score
from vocseg.views import comparison_table, score_table

PROTOCOL = Protocol("val", 200, "0123456789abcdef", 256)


def _score(right: int) -> Score:
    matrix = torch.zeros(21, 21, dtype=torch.int64)
    matrix[0, 0], matrix[1, 1], matrix[1, 0] = 900, right, 100 - right
    return Score(matrix, PROTOCOL, 0.5)


def _text(table: RenderableType) -> str:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table)
    return console.export_text()


def test_a_score_names_its_protocol_its_classes_and_its_totals() -> None:
    text = _text(score_table(_score(50), "test"))
    assert "test: val, 200 images at 256x256 (data 01234567)" in text
    assert "aeroplane" in text
    assert "tvmonitor" in text
    assert "mean IoU 72.4 % over 2 classes (19 neither there nor predicted)" in text
    assert "pixel accuracy 95.0 %" in text


def test_a_comparison_shows_both_and_the_difference() -> None:
    text = _text(comparison_table(_score(50), _score(80), "fine-tuning"))
    row = next(line for line in text.splitlines() if "aeroplane" in line)
    assert row.replace("│", " ").split() == ["aeroplane", "50.0", "80.0", "+30.0"]
    assert "-" in next(line for line in text.splitlines() if "sofa" in line)


def test_a_score_is_plain_values_for_json() -> None:
    score = _score(50)
    plain = json.loads(json.dumps(score.as_dict()))
    assert plain["protocol"] == {
        "split": "val",
        "images": 200,
        "fingerprint": "0123456789abcdef",
        "size": 256,
        "resolution": "network",
    }
    assert plain["matrix"] == score.matrix.tolist()
    assert plain["class_iou"][2] is None
