"""Cross-entropy, and losses over the classes of a batch: Dice, Lovász-softmax.

Logits are float `[N,C,H,W]` of any precision and memory format, masks integer `[N,H,W]` with 255 = ignored,
class weights float32 `[C]`. Results are float32 scalars, 0 without a labelled pixel. No function synchronises
with the GPU.

Cross-entropy is a sum, so that a mean over batches or processes weights every pixel equally. Dice and
Lovász-softmax take the images of a batch together, as in the mean IoU of a split.
"""

from typing import Any

import torch
from segmentation_models_pytorch.losses import DiceLoss
from torch import Tensor
from torch.nn import functional

from vocseg.constants import IGNORE_INDEX


def cross_entropy(
    logits: Tensor, mask: Tensor, weights: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy summed over the labelled pixels. Divided by `pixel_weight` it is torch's mean.

    Args:
        logits: See above.
        mask: See above.
        weights: See above. None: equal weights.
        smoothing: Label smoothing.
    """
    logits, labels = logits.float(), mask.long()
    if logits.device.type == "cpu" and logits.is_contiguous(memory_format=torch.channels_last):
        # One pixel a row, as in memory: torch would copy channels-last logits to planes of classes and back.
        logits, labels = logits.permute(0, 2, 3, 1).flatten(0, 2), labels.flatten()  # [N*H*W,C]
    return functional.cross_entropy(
        logits, labels, weights, ignore_index=IGNORE_INDEX, reduction="sum", label_smoothing=smoothing
    )


def pixel_weight(mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the number of labelled pixels (int64), or the sum of their weights (float32)."""
    if weights is None:
        return (mask != IGNORE_INDEX).sum()
    return functional.pad(weights, (0, IGNORE_INDEX + 1 - len(weights)))[mask.long()].sum()


_DICE: Any = DiceLoss("multiclass", ignore_index=IGNORE_INDEX)


def dice(logits: Tensor, mask: Tensor) -> Tensor:
    """Soft Dice loss by smp, averaged over the classes in the batch; from 0 to 1."""
    shown = _shown(mask, logits.shape[1])
    # smp sums over the classes in the batch, but divides by the number of all classes.
    loss: Tensor = _DICE(logits.float(), mask) * len(shown) / shown.sum().clamp(min=1)
    return loss


def lovasz(logits: Tensor, mask: Tensor) -> Tensor:
    """Lovász-softmax loss (Berman et al. 2018), a continuous extension of 1 - IoU; from 0 to 1."""
    # smp's LovaszLoss returns an empty tensor without labelled pixels and synchronises for every class. Here
    # ignored pixels stay in, are ranked last and count 0.
    probabilities = logits.float().softmax(1).movedim(1, 0).flatten(1)  # [N,C,H,W] -> [C,P]
    labels, shown = mask.flatten(), _shown(mask, len(probabilities))
    classes, probabilities = _worth_sorting(shown, probabilities)
    truth = labels == classes[:, None]  # [C,P]
    errors = torch.where(truth, 1 - probabilities, probabilities)
    errors = torch.where(labels == IGNORE_INDEX, -1.0, errors)
    ranked, place = errors.sort(dim=1, descending=True, stable=True)
    losses: Tensor = ranked.clamp(min=0) * _jaccard_steps(truth.gather(1, place))
    return losses.sum() / shown.sum().clamp(min=1)


def _worth_sorting(shown: Tensor, probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Classes to sort for and their probabilities: on a CPU those in the batch, on a GPU all."""
    classes = torch.arange(len(shown), device=shown.device)
    if shown.device.type != "cpu":
        return classes, probabilities
    return classes[shown], probabilities[shown]


def _jaccard_steps(truth: Tensor) -> Tensor:
    """Increase of 1 - IoU with each further wrong pixel, `[C,P]`; 0 for absent classes.

    Args:
        truth: Whether a pixel has the class, bool `[C,P]`, in the order of the errors.
    """
    # In closed form, as the difference of neighbouring values loses most digits. Integer sums are exact, and
    # so deterministic on CUDA.
    missed = truth.cumsum(1, dtype=torch.int32)
    number = torch.arange(1, truth.shape[1] + 1, device=truth.device, dtype=torch.int32)
    total = missed[:, -1:]
    hit, union = total - missed, total + number - missed  # of the IoU after the pixel
    return torch.where(truth, 1 / union, hit / union / (union - 1).clamp(min=1))


def _shown(mask: Tensor, classes: int) -> Tensor:
    """Whether each class is in the batch, bool `[C]`."""
    numbers = torch.arange(classes, device=mask.device, dtype=mask.dtype)
    return (mask.flatten() == numbers[:, None]).any(1)
