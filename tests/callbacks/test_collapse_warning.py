"""Warnings about planted faults, and none about a valid run."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import tiny
from vocseg.__main__ import main
from vocseg.callbacks.collapse_warning import collapse
from vocseg.models.module import SegmentationModule


def _alarms(words: list[str]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        main(words)
    return [str(each.message) for each in caught if str(each.message).startswith("vocseg: ")]


def test_valid_run_gives_no_warning(sample: Path, here: Path) -> None:
    assert _alarms(["fit", *tiny(sample), "--model.lr", "1e-3", "--trainer.max_epochs", "4"]) == []


def test_collapsed_predictions_warn_after_patience(
    sample: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = SegmentationModule.forward

    def blind(module: SegmentationModule, image: torch.Tensor) -> torch.Tensor:
        logits = plain(module, image)
        return logits + 1e6 * torch.eye(21)[0].view(1, 21, 1, 1)

    monkeypatch.setattr(SegmentationModule, "forward", blind)
    short = ["--trainer.limit_train_batches", "1"]
    assert _alarms(["fit", *tiny(sample), *short, "--trainer.max_epochs", "2"]) == []
    said = _alarms(["fit", *tiny(sample), *short, "--trainer.max_epochs", "4"])
    assert len(said) == 1
    assert "100.0% of the pixels are predicted as 'background'" in said[0]


NAMES = ("background", *(f"class {k}" for k in range(1, 21)))
TRUE_PIXELS = np.array([730_000, *(np.arange(1, 21) * 1_300)])


def test_background_everywhere_is_collapse() -> None:
    matrix = np.zeros((21, 21), np.int64)
    matrix[:, 0] = TRUE_PIXELS
    sentence = collapse(matrix, NAMES)
    assert sentence is not None
    assert "100.0% of the pixels are predicted as 'background', but only 72.8% are" in sentence
    assert "pixel accuracy of 0.73" in sentence


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 1.0])
def test_network_with_objects_is_no_collapse(share: float) -> None:
    matrix = np.diag((share * TRUE_PIXELS).astype(np.int64))
    matrix[:, 0] += ((1 - share) * TRUE_PIXELS).astype(np.int64)
    assert collapse(matrix, NAMES) is None


def test_mostly_background_data_is_no_collapse() -> None:
    matrix = np.zeros((2, 2), np.int64)
    matrix[:, 0] = [990, 10]
    assert collapse(matrix, ("background", "speck")) is None


def test_empty_matrix_gives_no_warning() -> None:
    empty = np.zeros((21, 21), np.int64)
    assert collapse(empty, NAMES) is None
