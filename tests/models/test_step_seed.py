"""Every step has its chance from seed, epoch and batch alone."""

from typing import Any

import torch

from vocseg.models.step_seed import seed_step


def _drawn(seed: int, epoch: int, batch: int, rank: int = 0) -> list[float]:
    seed_step(seed, epoch, batch, rank, torch.device("cpu"))
    return [float(each) for each in torch.nn.functional.dropout(torch.ones(64), 0.5)]


def test_a_step_draws_the_same_whatever_was_drawn_before() -> None:
    first = _drawn(1, 2, 3)
    torch.rand(100)
    assert _drawn(1, 2, 3) == first


def test_every_step_epoch_seed_and_process_draws_its_own() -> None:
    drawn = [_drawn(*key) for key in ((1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3), (1, 2, 3, 1))]
    assert all(a != b for k, a in enumerate(drawn) for b in drawn[:k])


def test_only_devices_in_use_are_seeded(monkeypatch: Any) -> None:
    """Visiting all that torch knows takes half a millisecond, a fifth of a small step."""
    visited: list[int] = []
    monkeypatch.setattr(torch, "manual_seed", visited.append)
    assert _drawn(1, 2, 3) == _drawn(1, 2, 3)
    assert visited == []
