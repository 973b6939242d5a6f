"""Signs of a collapsed prediction or shifted labels."""

import numpy as np
import numpy.typing as npt

from vocseg.metrics.aggregate import compute_metrics, tp_gt_pred

Counts = npt.NDArray[np.int64]

ONE_CLASS = 0.995  # least fraction of pixels predicted as one class in a collapse
_LESS = 0.1  # least excess over the true fraction of that class
_GAIN = 0.2  # least gain in mean IoU by shifting the predicted classes


def collapse(matrix: Counts, classes: tuple[str, ...]) -> str | None:
    """Sentence on a matrix `[C,C]` (rows true) with one class predicted almost everywhere, or None."""
    total = max(int(matrix.sum()), 1)
    predicted, true = matrix.sum(0) / total, matrix.sum(1) / total
    k = int(predicted.argmax())
    if predicted[k] < ONE_CLASS or true[k] > predicted[k] - _LESS:
        return None
    return (
        f"{predicted[k]:.1%} of the pixels are predicted as '{classes[k]}', but only {true[k]:.1%} are: the "
        f"pixel accuracy of {matrix.trace() / total:.2f} comes from that alone. Compare the mean IoU."
    )


def shifted_labels(matrix: Counts) -> str | None:
    """Sentence on class indices that seem shifted between masks and training, or None."""
    plain = _mean_iou(matrix)
    for shift in (1, -1):
        moved = _mean_iou(np.roll(matrix, shift, axis=1))
        if moved > plain + _GAIN:
            return (
                f"mean IoU is {plain:.2f}, but {moved:.2f} if every predicted class is replaced by the one "
                f"{'after' if shift == 1 else 'before'} it: the masks seem to count classes from another "
                "number than those of training. Check the class list and the values of the masks."
            )
    return None


def _mean_iou(matrix: Counts) -> float:
    return float(compute_metrics(tp_gt_pred(matrix))[0])
