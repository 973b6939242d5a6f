"""The alarm sounds on planted faults, once, and is silent on a healthy run."""

import warnings
from pathlib import Path

import pytest
import torch

from tests.conftest import tiny
from vocseg.__main__ import main
from vocseg.models.module import SegmentationModule


def _alarms(words: list[str]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        main(words)
    return [str(each.message) for each in caught if str(each.message).startswith("vocseg: ")]


def test_a_healthy_run_is_left_in_peace(sample: Path, here: Path) -> None:
    assert _alarms(["fit", *tiny(sample), "--model.lr", "1e-3", "--trainer.max_epochs", "4"]) == []


def test_collapsed_predictions_warn_after_patience(
    sample: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = SegmentationModule.forward

    def blind(module: SegmentationModule, image: torch.Tensor) -> torch.Tensor:
        logits = plain(module, image)
        return logits + 1e6 * torch.eye(21)[0].view(1, 21, 1, 1)

    monkeypatch.setattr(SegmentationModule, "forward", blind)
    assert _alarms(["fit", *tiny(sample), "--trainer.max_epochs", "2"]) == []
    said = _alarms(["fit", *tiny(sample), "--trainer.max_epochs", "4"])
    assert len(said) == 1
    assert "100.0% of the pixels are predicted as 'background'" in said[0]
