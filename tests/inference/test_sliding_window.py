"""Sliding windows against means taken pixel by pixel."""

import numpy as np
import pytest
import torch

from vocseg.inference.sliding_window import SlidingWindow

CPU = torch.device("cpu")
SHAPES = [(8, 8), (9, 20), (20, 9), (31, 17), (5, 30), (3, 2), (1, 1)]


def _image(shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, (*shape, 3), dtype=np.uint8)


def _by_pixel(images: torch.Tensor) -> torch.Tensor:
    """Logits `[M,3,S,S]` of a network that looks at each pixel by itself."""
    return images.float() / 64


def _by_place(images: torch.Tensor) -> torch.Tensor:
    """Logits `[M,2,S,S]` of a network that goes by the place in the window, and a little by all of it."""
    edge = images.shape[-1]
    place = torch.arange(edge * edge, dtype=torch.float32).view(1, edge, edge) / edge
    mean = images.float().mean((1, 2, 3)).view(-1, 1, 1)
    return torch.stack([place.expand(len(images), -1, -1), mean.expand(-1, edge, edge) / 30], dim=1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("stride", [1.0, 0.5, 0.3])
def test_overlapping_windows_are_averaged(shape: tuple[int, int], stride: float) -> None:
    windows, image = SlidingWindow(8, stride), _image(shape)
    padded = np.pad(image, [*((0, max(0, 8 - edge)) for edge in shape), (0, 0)], mode="reflect")
    sums, times = np.zeros((2, *padded.shape[:2])), np.zeros(padded.shape[:2])
    for y in windows.starts(padded.shape[0]):
        for x in windows.starts(padded.shape[1]):
            cut = torch.from_numpy(padded[y : y + 8, x : x + 8].copy()).permute(2, 0, 1)[None]
            sums[:, y : y + 8, x : x + 8] += _by_place(cut).softmax(1)[0].numpy()
            times[y : y + 8, x : x + 8] += 1
    assert times.min() >= 1
    wanted = (sums / times)[:, : shape[0], : shape[1]]
    for batch in (1, 3, 100):
        found = windows.probabilities(_by_place, image, batch, CPU)
        assert np.abs(found.numpy() - wanted).max() < 1e-6


def test_windows_cover_every_pixel_and_end_with_image() -> None:
    for stride in (0.05, 0.25, 0.5, 0.99, 1.0):
        for length in range(16, 80):
            starts = SlidingWindow(16, stride).starts(length)
            assert starts[0] == 0
            assert starts[-1] + 16 == length
            gaps = np.diff(starts)
            assert (gaps > 0).all()
            assert (gaps <= max(1, round(16 * stride))).all()


def test_windows_per_forward_pass_are_limited() -> None:
    seen: list[int] = []

    def predict(images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return _by_pixel(images)

    SlidingWindow(8, 0.5).probabilities(predict, _image((31, 17)), 4, CPU)
    assert max(seen) == 4
    assert sum(seen) == 7 * 4  # rows 0, 4, ..., 20, 23; columns 0, 4, 8, 9
