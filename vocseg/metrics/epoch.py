"""Metrics of an epoch."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from vocseg.metrics.confusion import class_iou, mean_iou, pixel_accuracy


class SegmentationMetrics(Metric):
    """Sums what the steps counted; torchmetrics adds up the processes.

    One integer matrix per stage and epoch: a mean of batch means is another number, and a wrong one.
    """

    full_state_update = False
    matrix: Tensor
    loss_sum: Tensor
    pixels: Tensor
    images: Tensor

    def __init__(self, classes: int) -> None:
        """Start at zero.

        Args:
            classes: Number of classes C.
        """
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
            pixels: Their number (int64), or with class weights the sum of these (float32).
            images: How many were scored, fillers left out.
        """
        sums = {"matrix": matrices.sum(0), "loss_sum": loss_sum.detach(), "pixels": pixels, "images": images}
        for name, value in sums.items():
            # Not in place: `validate` runs in inference mode, whose tensors cannot be changed outside of it.
            setattr(self, name, getattr(self, name) + value)

    def compute(self) -> dict[str, Tensor]:
        """The epoch's scalars `loss`, `miou`, `pixel_accuracy`, `images`, its `class_iou` and `matrix`."""
        matrix = self.matrix.cpu()  # the figures are float64, which not every device knows
        return {
            "loss": self.loss_sum.cpu() / self.pixels.cpu(),
            "miou": mean_iou(matrix),
            "pixel_accuracy": pixel_accuracy(matrix),
            "class_iou": class_iou(matrix),
            "matrix": matrix,
            "images": self.images.cpu(),
        }

    def all_gather_state(self, world: int) -> dict[str, Tensor]:
        """What was summed so far on each process, `[processes, ...]` on the CPU; to be called on all."""
        return {name: _gathered(getattr(self, name), world).cpu() for name in self._defaults}

    def load_state(self, sums: dict[str, Tensor], rank: int) -> None:
        """Go on from there.

        Args:
            sums: What `gathered` gave.
            rank: This process.
        """
        for name, value in sums.items():
            setattr(self, name, value[rank].to(self.device))


def curve_points(stage: str, figures: dict[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """What the curves get of an epoch: points float32 by name.

    Args:
        stage: `train` or `val`.
        figures: What `SegmentationMetrics.compute` gave.
        names: Of all classes, if each gets its IoU's curve, else none; one that did not occur gets no point.
    """
    points = {f"{name}/{stage}": figures[name].float() for name in ("loss", "miou", "pixel_accuracy")}
    ious = zip(names, figures["class_iou"], strict=True) if names else ()
    return points | {f"per_class_iou/{name}": iou.float() for name, iou in ious if not iou.isnan()}


def _gathered(value: Tensor, world: int) -> Tensor:
    """A figure of every process, `[processes, ...]`."""
    if world == 1:
        return value[None]
    parts = [torch.empty_like(value) for _ in range(world)]
    torch.distributed.all_gather(parts, value.contiguous())
    return torch.stack(parts)
