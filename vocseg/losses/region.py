"""Region-based losses: Dice and Lovász-softmax.

Logits are float `[N,C,H,W]`, masks integer `[N,H,W]` with 255 = ignored. The images of a batch are taken
together, as in the mean IoU of a split. No function synchronises with the GPU.
"""

from typing import Any

import torch
from segmentation_models_pytorch.losses import DiceLoss
from torch import Tensor

from vocseg.constants import IGNORE_INDEX

_DICE: Any = DiceLoss("multiclass", ignore_index=IGNORE_INDEX)


def dice(logits: Tensor, mask: Tensor) -> Tensor:
    """Soft Dice loss by smp, averaged over the classes in the batch.

    Args:
        logits: See above.
        mask: See above.

    Returns:
        A scalar from 0 to 1, float32; 0 without a labelled pixel.
    """
    shown = _shown(mask, logits.shape[1])
    # smp sums over the classes in the batch, but divides by the number of all classes.
    loss: Tensor = _DICE(logits.float(), mask) * len(shown) / shown.sum().clamp(min=1)
    return loss


def lovasz(logits: Tensor, mask: Tensor) -> Tensor:
    """Lovász-softmax loss (Berman et al. 2018), a continuous extension of 1 - IoU to probabilities.

    Args:
        logits: See above.
        mask: See above.

    Returns:
        A scalar from 0 to 1, float32; 0 without a labelled pixel.
    """
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
