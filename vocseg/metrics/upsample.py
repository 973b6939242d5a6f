"""Exact argmax of bilinearly upsampled logits.

Equal to `interpolate(..., mode="bilinear")` and `argmax` at every pixel, and several times faster on a CPU:
OpenCV upsamples class by class with a running maximum. Close pixels are recomputed with torch's weights, and
pixels that rounding decides by torch itself.
"""

from functools import reduce
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.intp]

_PLACE = 5e-7  # source pixels: largest distance of OpenCV's float32 positions from torch's, for two classes
_SUM = 5e-7  # largest float32 rounding error of a mean of four, for two classes


def argmax_upsampled(logits: Tensor, shape: tuple[int, int]) -> Tensor:
    """Argmax of the upsampled logits.

    Torch's own result depends in the last bit on the memory layout; this one is that of `[C,h,w]`.

    Args:
        logits: float32 `[C,h,w]`, C up to 255.
        shape: Height H and width W of the image.

    Returns:
        uint8 `[H,W]` on the same device.
    """
    logits = logits.detach().float()
    if logits.device.type == "cpu":
        channels = _channels_first(logits)
        lowest, highest = float(channels.min()), float(channels.max())
        if np.isfinite(highest - lowest):
            best, lead = _running_best(channels, shape)
            close = np.flatnonzero(lead <= _PLACE * (highest - lowest) * sum(channels.shape[1:]))
            if close.size:
                best.ravel()[close] = _close_classes(channels, shape, close, _SUM * max(-lowest, highest))
            return torch.from_numpy(best)
    return _interpolate(logits.contiguous(), shape).argmax(0).to(torch.uint8)


def full_size_confidence(logits: Tensor, shape: tuple[int, int]) -> Tensor:
    """The largest softmax probability of upsampled logits, float32 `[H,W]` of `[C,h,w]` and (H, W)."""
    # Class by class: all classes of a large image at original resolution would take gigabytes.
    channels = logits.detach().float().contiguous()[:, None].unbind()  # C times [1,h,w]
    best = reduce(torch.maximum, (_interpolate(each, shape) for each in channels))
    total = sum((_interpolate(each, shape).sub_(best).exp_() for each in channels), torch.zeros_like(best))
    return (1 / total)[0]


def _interpolate(logits: Tensor, shape: tuple[int, int]) -> Tensor:
    return functional.interpolate(logits[None], shape, mode="bilinear")[0]  # [C,H,W]


def _channels_first(logits: Tensor) -> Floats:
    """The logits `[C,h,w]`, contiguous."""
    last = logits.permute(1, 2, 0)
    if not last.is_contiguous():
        return np.ascontiguousarray(logits.numpy())
    turned = cv2.transpose(last.reshape(-1, len(logits)).numpy())  # four times as fast as numpy
    return np.asarray(turned, np.float32).reshape(logits.shape)


def _running_best(channels: Floats, shape: tuple[int, int]) -> tuple[Bytes, Floats]:
    """First best class by OpenCV, uint8 `[H,W]`, and its lead over the second best."""
    size, best, label = shape[::-1], np.zeros(shape, np.uint8), np.empty(shape, np.uint8)
    upsampled, lower = np.empty(shape, np.float32), np.empty(shape, np.float32)
    first = cv2.resize(channels[0], size, interpolation=cv2.INTER_LINEAR)
    second = np.full(shape, -np.inf, np.float32)
    for index in range(1, len(channels)):
        cv2.resize(channels[index], size, dst=upsampled, interpolation=cv2.INTER_LINEAR)
        label.fill(index)
        cv2.copyTo(label, cv2.compare(upsampled, first, cv2.CMP_GT), best)  # numpy takes fifty times as long
        cv2.min(first, upsampled, dst=lower)
        cv2.max(second, lower, dst=second)
        cv2.max(first, upsampled, dst=first)
    return best, np.subtract(first, second, out=lower)


def _close_classes(channels: Floats, shape: tuple[int, int], pixels: Integers, tolerance: float) -> Bytes:
    """Classes at M pixels with torch's weights, and by torch where rounding decides."""
    means = _means(channels, shape, pixels)  # [C,M]
    classes: Bytes = means.argmax(0).astype(np.uint8)
    rivals = means >= means.max(0) - tolerance
    tied = rivals.sum(0) > 1
    if tied.any():
        classes[tied] = _torch_classes(channels, shape, pixels[tied], rivals[:, tied].any(1))
    return classes


def _torch_classes(
    channels: Floats, shape: tuple[int, int], pixels: Integers, candidates: npt.NDArray[np.bool_]
) -> Bytes:
    """Classes at M pixels by torch, which interpolates the candidate classes only."""
    chosen = np.flatnonzero(candidates)
    if len(channels) == 3:  # on one thread torch rounds three channels differently from any other number
        chosen = np.arange(3)
    elif len(chosen) == 3:
        chosen = np.append(chosen, chosen[-1])
    means = _interpolate(torch.from_numpy(channels[chosen]), shape).flatten(1)  # [K,H*W]
    return np.asarray(chosen[means[:, torch.from_numpy(pixels)].argmax(0).numpy()], np.uint8)


class _Axis(NamedTuple):
    """The two source pixels of each target pixel of an axis, and the weight of the second."""

    first: Integers
    second: Integers
    weight: Floats

    @classmethod
    def of(cls, source: int, target: int) -> "_Axis":
        """Weights of torch without aligned corners."""
        scale = np.float64(np.float32(source) / np.float32(target))
        place = np.maximum(scale * (np.arange(target) + 0.5) - 0.5, 0).astype(np.float32)
        first = np.minimum(place.astype(np.intp), source - 1)
        # Torch's weights depend on the processor: stripes give the weight of the odd source pixel.
        stripes = torch.arange(source, dtype=torch.float32).remainder(2).view(1, 1, source)
        odd = _interpolate(stripes, (1, target)).numpy().ravel()
        weight = np.where(first % 2 == 0, odd, 1 - odd).astype(np.float32)
        weight[first == source - 1] = 0
        return cls(first, np.minimum(first + 1, source - 1), weight)


def _means(channels: Floats, shape: tuple[int, int], pixels: Integers) -> Floats:
    """Interpolated logits `[C,M]` at M pixels."""
    rows, columns = (_Axis.of(*pair) for pair in zip(channels.shape[1:], shape, strict=True))
    y, x = np.divmod(pixels, shape[1])
    lines = [
        channels[:, line[y], columns.first[x]] * (1 - columns.weight[x])
        + channels[:, line[y], columns.second[x]] * columns.weight[x]
        for line in (rows.first, rows.second)
    ]
    return np.asarray(lines[0] * (1 - rows.weight[y]) + lines[1] * rows.weight[y], np.float32)
