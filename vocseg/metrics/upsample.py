"""Exact argmax of bilinearly upsampled logits."""

from functools import reduce

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_SMALL = 1 << 13  # pixels; below, torch interpolates many channels by another kernel than one


def argmax_upsampled(logits: Tensor, shape: tuple[int, int]) -> Tensor:
    """Argmax of the upsampled logits, equal to `interpolate(..., mode="bilinear")` and `argmax`.

    Torch's own result depends in the last bit on the memory layout; this one is that of `[C,h,w]`.

    Args:
        logits: float32 `[C,h,w]`, C up to 255.
        shape: Height H and width W of the image.

    Returns:
        uint8 `[H,W]` on the same device.
    """
    logits = logits.detach().float()
    if logits.device.type == "cpu" and (last := logits.permute(1, 2, 0)).is_contiguous():
        turned = cv2.transpose(last.flatten(0, 1).numpy())  # four times as fast as torch
        logits = torch.from_numpy(turned).reshape(logits.shape)
    logits = logits.contiguous()
    # On one thread torch rounds three channels differently from any other number.
    alone = len(logits) != 3 and shape[0] * shape[1] >= _SMALL
    if alone and logits.device.type == "cpu" and bool(logits.sum().isfinite()):
        return _running_argmax(logits, shape)
    return _interpolate(logits, shape).argmax(0).to(torch.uint8)


def full_size_confidence(logits: Tensor, shape: tuple[int, int]) -> Tensor:
    """The largest softmax probability of upsampled logits, float32 `[H,W]` of `[C,h,w]` and (H, W)."""
    # Class by class: all classes of a large image at original resolution would take gigabytes.
    channels = logits.detach().float().contiguous()[:, None].unbind()  # C times [1,h,w]
    best = reduce(torch.maximum, (_interpolate(each, shape) for each in channels))
    total = sum((_interpolate(each, shape).sub_(best).exp_() for each in channels), torch.zeros_like(best))
    return (1 / total)[0]


def _interpolate(logits: Tensor, shape: tuple[int, int]) -> Tensor:
    return functional.interpolate(logits[None], shape, mode="bilinear")[0]  # [C,H,W]


def _running_argmax(logits: Tensor, shape: tuple[int, int]) -> Tensor:
    """Argmax class by class, five times as fast on a CPU as over all classes at once."""
    best, label = np.zeros(shape, np.uint8), np.empty(shape, np.uint8)
    highest = _interpolate(logits[:1], shape)[0].numpy()
    for index in range(1, len(logits)):
        upsampled = _interpolate(logits[index : index + 1], shape)[0].numpy()
        label.fill(index)
        better = cv2.compare(upsampled, highest, cv2.CMP_GT)
        cv2.copyTo(label, better, best)  # numpy takes fifty times as long
        cv2.max(highest, upsampled, dst=highest)
    return torch.from_numpy(best)
