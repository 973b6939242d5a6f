"""Pixel-wise losses: cross-entropy, focal, OHEM.

Sums, so that a mean over batches or processes weighs every pixel alike.

Logits are float `[N,C,H,W]` of any precision and memory order, masks integer `[N,H,W]` with 255 = ignored,
weights float32 `[C]` by class. Nothing here makes a GPU wait.
"""

import torch
from torch import Tensor
from torch.nn import functional

from vocseg.constants import IGNORE_INDEX
from vocseg.losses.config import LEAST

_SURE = 1e-8  # 1 - p is taken for at least this: below a power of 1, its slope at 0 is infinite


def cross_entropy(
    logits: Tensor, mask: Tensor, weights: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy summed over the labelled pixels; divided by `pixel_weight` it is torch's mean.

    Args:
        logits: See above.
        mask: See above.
        weights: See above; None: all pixels count alike.
        smoothing: Share of certainty spread over all classes.

    Returns:
        A scalar, float32; 0 without a labelled pixel.
    """
    return _each(logits, mask, weights, smoothing, "sum")


def focal(logits: Tensor, mask: Tensor, gamma: float, weights: Tensor | None = None) -> Tensor:
    """(1 - p)^gamma times cross-entropy, summed; p is the softmax probability of the true class.

    smp's `FocalLoss` is another: it takes each class for a yes-or-no question of its own, with a sigmoid,
    while predictions are read from argmax and softmax; besides, it is NaN for a batch that is all void.

    Args:
        logits: See above.
        mask: See above.
        gamma: From 0, which gives cross-entropy.
        weights: As of `cross_entropy`.

    Returns:
        As `cross_entropy`.
    """
    entropy = _each(logits, mask)  # [N,H,W], 0 in void
    each = (-torch.expm1(-entropy)).clamp(min=_SURE) ** gamma * entropy
    if weights is not None:
        each = each * _by_pixel(mask, weights)
    return each.sum()


def ohem_cross_entropy(
    logits: Tensor, mask: Tensor, share: float, weights: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Mean cross-entropy over the labelled pixels of a batch at which it is highest.

    Ranked by a sort, since taking the first k would make a GPU wait for k. Of equals, the first are taken.

    Args:
        logits: See above.
        mask: See above.
        share: Of the labelled pixels, to the nearest whole one, and at least one.
        weights: As of `cross_entropy`; pixels are ranked by what they count.
        smoothing: As of `cross_entropy`.

    Returns:
        A scalar, float32; 0 without a labelled pixel.
    """
    labelled = mask.flatten() != IGNORE_INDEX
    each = _each(logits, mask, weights, smoothing).flatten()
    ranked, place = torch.where(labelled, each, -1.0).sort(descending=True, stable=True)  # void comes last
    count = labelled.sum()
    wanted = (share * count).round().clamp(min=1).minimum(count)
    first = torch.arange(len(ranked), device=mask.device) < wanted
    total = torch.where(first, ranked, 0.0).sum()
    if weights is None:
        return total / first.sum().clamp(min=1)
    of_first = (_by_pixel(mask, weights).flatten()[place] * first).sum()
    return total / of_first.clamp(min=LEAST)


def pixel_weight(mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """How many pixels are labelled (int64), or the sum of their weights (float32)."""
    return (mask != IGNORE_INDEX).sum() if weights is None else _by_pixel(mask, weights).sum()


def _each(
    logits: Tensor,
    mask: Tensor,
    weights: Tensor | None = None,
    smoothing: float = 0.0,
    reduction: str = "none",
) -> Tensor:
    """Torch's cross-entropy, in full precision: `[N,H,W]`, or a scalar."""
    logits, labels = logits.float(), mask.long()
    if logits.device.type == "cpu" and logits.is_contiguous(memory_format=torch.channels_last):
        # A pixel a row, as they lie in memory: of images torch would copy every class's plane, and back.
        logits, labels = logits.permute(0, 2, 3, 1).flatten(0, 2), labels.flatten()  # [N*H*W,C]
    each = functional.cross_entropy(logits, labels, weights, None, IGNORE_INDEX, None, reduction, smoothing)
    return each.view(mask.shape) if reduction == "none" else each


def _by_pixel(mask: Tensor, weights: Tensor) -> Tensor:
    """The weight of every pixel, `[N,H,W]`; void's is 0."""
    return functional.pad(weights, (0, IGNORE_INDEX + 1 - len(weights)))[mask.long()]
