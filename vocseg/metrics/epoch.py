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
        self.add(matrices, loss_sum, pixels, images)

    def add(self, matrices: Tensor, loss_sum: Tensor, pixels: Tensor, images: Tensor) -> None:
        """Add a batch without torchmetrics' bookkeeping, as within a captured step; see `note`.

        Args:
            matrices: See `update`.
            loss_sum: See `update`.
            pixels: See `update`.
            images: See `update`.
        """
        sums = {"matrix": matrices.sum(0), "loss_sum": loss_sum.detach(), "pixels": pixels, "images": images}
        for name, value in sums.items():
            state = getattr(self, name)
            # In place, as a captured step writes to these places. `validate` runs in inference mode, whose
            # tensors are frozen outside of it; weights of pixels are floats where class weights are given.
            if state.is_inference() or torch.result_type(state, value) != state.dtype:
                setattr(self, name, state + value)
            else:
                state.add_(value)

    def note(self) -> None:
        """Tell torchmetrics that there was an update: a replayed step calls no Python."""
        self._update_count += 1
        self._computed = None

    @property
    def places(self) -> tuple[int, ...]:
        """Where the sums lie in memory."""
        return tuple(getattr(self, name).data_ptr() for name in self._defaults)

    def reset(self) -> None:
        """Start at zero, in the same places."""
        states = {name: getattr(self, name) for name in self._defaults}
        super().reset()
        for name, state in states.items():
            if not state.is_inference() and state.device == getattr(self, name).device:
                setattr(self, name, state.zero_())

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
