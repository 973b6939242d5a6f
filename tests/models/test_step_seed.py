"""Random state of a training step."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vocseg.models.module import SegmentationModule


def _drawn(seed: int, epoch: int, batch: int, rank: int = 0) -> list[float]:
    trainer = SimpleNamespace(
        datamodule=SimpleNamespace(seed=seed),
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        current_epoch=epoch,
        global_rank=rank,
    )
    module: Any = SimpleNamespace(trainer=trainer)
    SegmentationModule.on_train_batch_start(module, {}, batch)  # type: ignore[typeddict-item]
    return [float(each) for each in torch.nn.functional.dropout(torch.ones(64), 0.5)]


def test_step_draws_the_same_whatever_was_drawn_before() -> None:
    first = _drawn(1, 2, 3)
    torch.rand(100)
    assert _drawn(1, 2, 3) == first


def test_steps_epochs_seeds_and_processes_draw_differently() -> None:
    drawn = [_drawn(*key) for key in ((1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3), (1, 2, 3, 1))]
    assert all(a != b for k, a in enumerate(drawn) for b in drawn[:k])


def test_step_seeds_only_devices_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Visiting all that torch knows takes half a millisecond, a fifth of a small step."""
    visited: list[int] = []
    monkeypatch.setattr(torch, "manual_seed", visited.append)
    assert _drawn(1, 2, 3) == _drawn(1, 2, 3)
    assert visited == []
