"""Score of a split."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from vocseg.constants import CLASSES
from vocseg.metrics.confusion import class_iou, mean_iou, pixel_accuracy
from vocseg.metrics.per_image import PerImageConfusion
from vocseg.metrics.protocol import Protocol


@dataclass(frozen=True)
class Score:
    """Confusion matrix of a split, with protocol and loss."""

    matrix: Tensor  # int64 `[C,C]`, rows true, columns predicted
    protocol: Protocol  # conditions of the score
    loss: float | None  # mean loss; None: not computed
    classes: tuple[str, ...] = CLASSES  # names of the C classes

    @classmethod
    def of(cls, images: PerImageConfusion, loss: float | None = None) -> "Score":
        """The score of all images together."""
        return cls(torch.from_numpy(images.total()), images.protocol, loss, images.classes)

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes that have one."""
        return float(mean_iou(self.matrix))

    @property
    def pixel_accuracy(self) -> float:
        """Fraction of labelled pixels that are correct."""
        return float(pixel_accuracy(self.matrix))

    @property
    def class_iou(self) -> list[float | None]:
        """IoU of each class; None for a class neither present nor predicted."""
        return [None if value != value else value for value in class_iou(self.matrix).tolist()]

    def as_dict(self, matrix: bool = True) -> dict[str, Any]:
        """Plain values, for JSON and weights files."""
        plain = {
            "mean_iou": self.mean_iou,
            "pixel_accuracy": self.pixel_accuracy,
            "loss": self.loss,
            "classes": list(self.classes),
            "class_iou": self.class_iou,
            "protocol": asdict(self.protocol),
        }
        return plain | {"matrix": self.matrix.tolist()} if matrix else plain
