"""Metrics of an epoch."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from vocseg.metrics.confusion import class_iou, mean_iou, pixel_accuracy


class SegmentationMetrics(Metric):
    """One confusion matrix and loss of an epoch, summed over batches and processes.

    Mean IoU is not the mean of the batches' mean IoUs, so counts are summed.

    Args:
        classes: Number of classes C.
    """

    full_state_update = False
    matrix: Tensor
    loss_sum: Tensor
    pixels: Tensor
    images: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.add_state("matrix", torch.zeros(classes, classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("loss_sum", torch.zeros(()), dist_reduce_fx="sum")
        for name in ("pixels", "images"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, matrices: Tensor, loss_sum: Tensor, pixels: Tensor, images: Tensor) -> None:
        """Add a batch.

        Args:
            matrices: int64 `[N,C,C]`, one per image.
            loss_sum: Loss summed over the labelled pixels.
            pixels: Number of labelled pixels (int64), or the sum of their class weights (float32).
            images: Number of images, fillers excluded.
        """
        sums = {"matrix": matrices.sum(0), "loss_sum": loss_sum.detach(), "pixels": pixels, "images": images}
        for name, value in sums.items():
            # Not in place: `validate` runs in inference mode, whose tensors cannot be changed outside of it.
            setattr(self, name, getattr(self, name) + value)

    def compute(self) -> dict[str, Tensor]:
        """`loss`, `miou`, `pixel_accuracy`, `images`, `class_iou` and `matrix` of the epoch."""
        matrix = self.matrix.cpu()  # metrics are float64, which not every device supports
        return {
            "loss": self.loss_sum.cpu() / self.pixels.cpu(),
            "miou": mean_iou(matrix),
            "pixel_accuracy": pixel_accuracy(matrix),
            "class_iou": class_iou(matrix),
            "matrix": matrix,
            "images": self.images.cpu(),
        }

    def all_gather_state(self, world: int) -> dict[str, Tensor]:
        """Sums of each process, `[processes, ...]` on the CPU; must be called on all processes."""
        return {name: _gathered(getattr(self, name), world).cpu() for name in self._defaults}

    def load_state(self, sums: dict[str, Tensor], rank: int) -> None:
        """Restore the sums of process `rank` from `all_gather_state`."""
        for name, value in sums.items():
            setattr(self, name, value[rank].to(self.device))


def curve_points(stage: str, figures: dict[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """Logged values of an epoch of `train` or `val`, float32 by name; `names`: classes with a logged IoU."""
    points = {f"{name}/{stage}": figures[name].float() for name in ("loss", "miou", "pixel_accuracy")}
    ious = zip(names, figures["class_iou"], strict=True) if names else ()
    return points | {f"per_class_iou/{name}": iou.float() for name, iou in ious if not iou.isnan()}


def _gathered(value: Tensor, world: int) -> Tensor:
    if world == 1:
        return value[None]
    parts = [torch.empty_like(value) for _ in range(world)]
    torch.distributed.all_gather(parts, value.contiguous())
    return torch.stack(parts)
