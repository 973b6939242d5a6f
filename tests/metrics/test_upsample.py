"""Argmax of upsampled logits against torch."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from vocseg.metrics.aggregate import boundary_band
from vocseg.metrics.upsample import argmax_upsampled

SHAPES = [(375, 500), (500, 333), (64, 80), (30, 41), (1, 1), (200, 1), (64, 128)]


def _reference(logits: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    return functional.interpolate(logits[None].contiguous(), shape, mode="bilinear").argmax(1)[0]


def _smooth(seed: int, classes: int = 21) -> torch.Tensor:
    """Logits of soft regions with noise on them, as a network gives."""
    generator = torch.Generator().manual_seed(seed)
    coarse = 4 * torch.randn(1, classes, 5, 6, generator=generator)
    noise = 0.05 * torch.randn(classes, 64, 80, generator=generator)
    return functional.interpolate(coarse, (64, 80), mode="bicubic")[0] + noise


def _last(logits: torch.Tensor) -> torch.Tensor:
    return logits.permute(1, 2, 0).contiguous().permute(2, 0, 1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [2, 3, 4, 5, 21])
def test_every_pixel_equals_torch(shape: tuple[int, int], classes: int) -> None:
    for seed in range(4):
        for logits in (_smooth(seed, classes), _last(_smooth(seed, classes))):
            assert (argmax_upsampled(logits, shape) == _reference(logits, shape)).all()


@pytest.mark.parametrize("classes", [2, 3, 4, 21])
@pytest.mark.parametrize("threads", [1, 2])  # torch has a way of its own for three channels on one thread
def test_close_logits_equal_torch(classes: int, threads: int) -> None:
    """Two classes within a few bits of each other nearly everywhere, which rounding decides."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    for seed in range(6):
        logits = _smooth(seed, classes)
        noise = torch.randn(64, 80, generator=torch.Generator().manual_seed(seed))
        logits[0] += 6
        logits[1] = logits[0] + 1e-6 * noise
        for each in (logits, _last(logits)):
            assert (argmax_upsampled(each, (375, 500)) == _reference(each, (375, 500))).all()
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "logits",
    [
        torch.zeros(21, 8, 8),
        torch.full((21, 8, 8), -3.5),
        torch.eye(21)[:, :16].reshape(21, 4, 4),
        torch.full((21, 8, 8), float("nan")),
        torch.zeros(21, 8, 8).index_fill(0, torch.tensor([4]), float("inf")),
        torch.randn(21, 1, 1),
        1e30 * torch.randn(21, 8, 8),
        torch.randn(21, 8, 8, dtype=torch.bfloat16),
    ],
)
def test_degenerate_logits_equal_torch(logits: torch.Tensor) -> None:
    assert (argmax_upsampled(logits, (100, 120)) == _reference(logits.float(), (100, 120))).all()


def test_boundary_band_is_near_other_labels() -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[:, 15:] = 7
    band = boundary_band(mask, width=2)
    assert band[:, 13:17].all()
    assert not band[:, :13].any()
    assert not band[:, 17:].any()
    assert not boundary_band(np.full((9, 9), 3, np.uint8)).any()
