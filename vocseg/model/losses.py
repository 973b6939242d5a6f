"""The loss, finite on every batch."""

from torch import Tensor
from torch.nn import functional

from vocseg.voc import IGNORE_INDEX


def cross_entropy(logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy summed over the labelled pixels, and their number.

    Sums rather than means, so that a mean over batches or processes weighs every pixel alike.

    Args:
        logits: float `[N,C,H,W]`.
        mask: integer `[N,H,W]`, 255 = ignored.

    Returns:
        The sum (float32) and the count (int64), both scalars; a batch without a labelled pixel gives 0 and 0.
    """
    total = functional.cross_entropy(logits.float(), mask.long(), ignore_index=IGNORE_INDEX, reduction="sum")
    return total, (mask != IGNORE_INDEX).sum()
