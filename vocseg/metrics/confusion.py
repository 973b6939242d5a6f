"""Confusion matrices and their metrics."""

import torch
from torch import Tensor

_LABELS = 256  # a mask is bytes: labels that are no class get rows that are cut off
_LANES = 16  # counters of a cell on a GPU


def confusion_matrices(prediction: Tensor, mask: Tensor, classes: int) -> Tensor:
    """Count the pixels of each image by true and predicted class.

    Args:
        prediction: Predicted classes 0..C-1, integer `[N,H,W]`.
        mask: True classes, uint8 `[N,H,W]`; values that are not a class (255) are ignored.
        classes: Number of classes C.

    Returns:
        int64 `[N,C,C]`, rows true, columns predicted.

    Raises:
        ValueError: If a prediction is not a class; checked on the CPU only.
    """
    images = prediction.shape[0]
    if prediction.device.type == "cpu" and prediction.numel() and int(prediction.max()) >= classes:
        raise ValueError(f"a predicted class is {int(prediction.max())}, of {classes} classes")
    image = torch.arange(images, device=mask.device, dtype=torch.int32).view(-1, 1, 1)
    cell = ((image * _LABELS + mask.int()) * classes + prediction.int()).flatten()
    counts = histogram(cell, images * _LABELS * classes)
    return counts.view(images, _LABELS, classes)[:, :classes]


def histogram(cell: Tensor, cells: int, weights: Tensor | None = None) -> Tensor:
    """Count each number, without device synchronization on a GPU.

    Args:
        cell: Numbers 0..K-1, integer `[M]`.
        cells: K.
        weights: int64 `[M]` with a sum below 2**53; None: ones.

    Returns:
        int64 `[K]`.
    """
    if cell.device.type == "cpu":
        return torch.bincount(cell, None if weights is None else weights.double(), minlength=cells).long()
    return in_lanes(cell, cells, weights)  # `bincount` synchronizes


def in_lanes(cell: Tensor, cells: int, weights: Tensor | None = None) -> Tensor:
    """`histogram` by atomic additions, with 16 counters a cell: most pixels fall into few cells."""
    lane = torch.arange(len(cell), device=cell.device) % _LANES
    added = torch.ones_like(cell, dtype=torch.int32) if weights is None else weights
    counts = torch.zeros(cells * _LANES, dtype=added.dtype, device=cell.device)
    return counts.index_add_(0, cell * _LANES + lane, added).view(cells, _LANES).sum(1)


def class_iou(matrix: Tensor) -> Tensor:
    """TP / (TP + FP + FN), float64 `[C]` of int64 `[C,C]`; NaN for a class neither present nor predicted."""
    counts = matrix.double()
    hits = counts.diagonal()
    return hits / (counts.sum(0) + counts.sum(1) - hits)


def mean_iou(matrix: Tensor) -> Tensor:
    """Mean over the classes (background included) that have an IoU; NaN if none has."""
    return class_iou(matrix).nanmean()


def pixel_accuracy(matrix: Tensor) -> Tensor:
    """Fraction of labelled pixels that are correct; NaN if none is labelled."""
    counts = matrix.double()
    return counts.diagonal().sum() / counts.sum()
