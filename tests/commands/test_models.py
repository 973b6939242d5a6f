"""`models`, the list of decoders and encoders."""

import re

import pytest

from tests.conftest import refused
from vocseg.__main__ import main


def _rows(capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    return {cells[0]: cells[1:] for line in lines if (cells := re.split(r" *│ *", line.strip("│ ")))}


def test_search_lists_parameters_and_weights_of_encoders(capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", "resnet34"])
    rows = _rows(capsys)
    assert rows["resnet34"] == ["21.3", "imagenet"]
    assert "resnet18" not in rows


def test_unknown_encoder_raises(capsys: pytest.CaptureFixture[str]) -> None:
    assert "smp has no such encoder" in refused(capsys, ["models", "nothing"])
