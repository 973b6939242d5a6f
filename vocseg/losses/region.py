"""Region-based losses: Dice and Lovász-softmax.

Logits are float `[N,C,H,W]`, masks integer `[N,H,W]` with 255 = ignored. The images of a batch are taken
together, as the mean IoU takes those of a split. Nothing here makes a GPU wait.
"""

from typing import Any

import torch
from segmentation_models_pytorch.losses import DiceLoss
from torch import Tensor

from vocseg.constants import IGNORE_INDEX

_DICE: Any = DiceLoss("multiclass", ignore_index=IGNORE_INDEX)


def dice(logits: Tensor, mask: Tensor) -> Tensor:
    """1 - Dice's coefficient of the probabilities with the mask.

    smp's, which leaves void and absent classes out of the sum, but divides by the number of all classes. Of
    VOC's 21 a batch shows four or so; divided by these, the loss goes from 0 to 1 whatever the batch.

    Args:
        logits: See above.
        mask: See above.

    Returns:
        A scalar from 0 to 1, float32; 0 without a labelled pixel.
    """
    shown = _shown(mask, logits.shape[1])
    loss: Tensor = _DICE(logits.float(), mask) * len(shown) / shown.sum().clamp(min=1)
    return loss


def lovasz(logits: Tensor, mask: Tensor) -> Tensor:
    """Lovasz-softmax (Berman et al. 2018): 1 - IoU, continued from right and wrong to probabilities.

    smp's `LovaszLoss` gives no scalar but an empty tensor for a batch that is all void, and makes a GPU wait
    for every class. Here void stays in, is ranked last and counts 0. A GPU sorts for all classes at once;
    a CPU, for which nobody waits, only for those that are there.

    Args:
        logits: See above.
        mask: See above.

    Returns:
        A scalar from 0 to 1, float32; 0 without a labelled pixel.
    """
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
    """The classes to sort for, with their probabilities: all, unless it can be known at no cost."""
    classes = torch.arange(len(shown), device=shown.device)
    if shown.device.type != "cpu":
        return classes, probabilities
    return classes[shown], probabilities[shown]


def _jaccard_steps(truth: Tensor) -> Tensor:
    """By how much 1 - IoU rises as one pixel more is wrong, `[C,P]`, of bool `[C,P]` in the order of that.

    In closed form: the difference of two neighbours would lose most digits. Whole numbers are added up, which
    CUDA does in one way only. A class that is not there gets 0 throughout.
    """
    missed = truth.cumsum(1, dtype=torch.int32)
    number = torch.arange(1, truth.shape[1] + 1, device=truth.device, dtype=torch.int32)
    total = missed[:, -1:]
    hit, union = total - missed, total + number - missed  # of the IoU after the pixel
    return torch.where(truth, 1 / union, hit / union / (union - 1).clamp(min=1))


def _shown(mask: Tensor, classes: int) -> Tensor:
    """Which classes have a pixel, bool `[C]`."""
    numbers = torch.arange(classes, device=mask.device, dtype=mask.dtype)
    return (mask.flatten() == numbers[:, None]).any(1)
