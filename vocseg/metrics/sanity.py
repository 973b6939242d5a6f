"""Signs of a collapsed prediction."""

import numpy as np
import numpy.typing as npt

from vocseg.metrics.aggregate import compute_metrics, tp_gt_pred

Counts = npt.NDArray[np.int64]

ONE_CLASS = 0.995  # share of the pixels predicted as one class from which nothing else is learnt
_LESS = 0.1  # by how much that class must be rarer in truth
_GAIN = 0.2  # mean IoU that counting the labels from another number must bring


def collapse(matrix: Counts, classes: tuple[str, ...]) -> str | None:
    """A sentence about a network that predicts one class nearly everywhere; None if it does not.

    Args:
        matrix: int64 `[C,C]`, rows true, columns predicted.
        classes: Names of the C classes.
    """
    total = max(int(matrix.sum()), 1)
    predicted, true = matrix.sum(0) / total, matrix.sum(1) / total
    k = int(predicted.argmax())
    if predicted[k] < ONE_CLASS or true[k] > predicted[k] - _LESS:
        return None
    accuracy = matrix.trace() / total
    return (
        f"{predicted[k]:.1%} of the pixels are predicted as '{classes[k]}', which {true[k]:.1%} are: the "
        f"pixel accuracy of {accuracy:.2f} is what that alone gives, look at the mean IoU"
    )


def shifted_labels(matrix: Counts) -> str | None:
    """A sentence about labels that seem to be counted from another number than predictions; None if not.

    Args:
        matrix: int64 `[C,C]`, rows true, columns predicted.
    """
    plain = _mean_iou(matrix)
    for shift in (1, -1):
        moved = _mean_iou(np.roll(matrix, shift, axis=1))
        if moved > plain + _GAIN:
            return (
                f"mean IoU is {plain:.2f}, but {moved:.2f} if every predicted class is taken for the one "
                f"{'after' if shift == 1 else 'before'} it: the masks seem to count their classes from "
                "another number than those the network was trained on"
            )
    return None


def _mean_iou(matrix: Counts) -> float:
    return float(compute_metrics(tp_gt_pred(matrix))[0])
