"""Searches for a learning rate and a batch size."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import refused, tiny
from vocseg.__main__ import main
from vocseg.commands.tune import smoothed, steepest
from vocseg.models.module import SegmentationModule

Capture = pytest.CaptureFixture[str]


def test_steepest_rate_is_found() -> None:
    """A loss that falls like a logistic curve around 1e-3 and explodes at the end."""
    rates = np.logspace(-7, 0, 200)
    losses = 3 - 2 / (1 + np.exp(-4 * (np.log10(rates) + 3))) + np.exp(40 * (np.log10(rates) + 0.2))
    found = steepest(smoothed(rates.tolist(), losses.tolist()))
    assert found is not None
    assert math.log10(found) == pytest.approx(-3, abs=0.1)


def test_rising_loss_gives_no_rate() -> None:
    assert steepest([(1e-3, 1.0), (1e-2, 2.0), (1e-1, 3.0)]) is None


def test_tune_prints_rate_and_saves_nothing(sample: Path, here: Path, capsys: Capture) -> None:
    cli = main(["tune", *tiny(sample), "--num_training", "40"])
    said = capsys.readouterr().out
    assert "--model.lr" in said
    assert not list(here.iterdir())
    assert isinstance(cli.model, SegmentationModule)


def test_tune_prints_largest_batch_size(
    sample: Path, here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = SegmentationModule.training_step

    def small(self: SegmentationModule, batch: Any, batch_idx: int) -> Any:
        if len(batch["index"]) > 4:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return original(self, batch, batch_idx)

    monkeypatch.setattr(SegmentationModule, "training_step", small)
    main(["tune", *tiny(sample), "--target", "batch_size", "--max_batch_size", "16"])
    assert "--data.batch_size 4" in capsys.readouterr().out
    assert not list(here.iterdir())


def test_batch_size_search_on_cpu_without_limit_raises(sample: Path, here: Path, capsys: Capture) -> None:
    assert "--max_batch_size" in refused(capsys, ["tune", *tiny(sample), "--target", "batch_size"])
