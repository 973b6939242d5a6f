"""Scores: values, checkpoint state and `scores.json`."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from vocseg.constants import CLASSES
from vocseg.metrics.aggregate import WIDTH, error_budget
from vocseg.metrics.bootstrap import ScoreIntervals, score_intervals
from vocseg.metrics.confusion import class_iou, mean_iou, pixel_accuracy
from vocseg.metrics.per_image import PerImageConfusion, Protocol


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


Plain = dict[str, Any]


def plain_score(score: Score | None) -> Plain | None:
    """A score for a checkpoint."""
    if score is None:
        return None
    rest = {"protocol": asdict(score.protocol), "loss": score.loss, "classes": list(score.classes)}
    return {"matrix": score.matrix, **rest}


def score_of(plain: Plain | None) -> Score | None:
    """Inverse of `plain_score`."""
    if plain is None:
        return None
    return Score(plain["matrix"], Protocol(**plain["protocol"]), plain["loss"], tuple(plain["classes"]))


def plain_images(images: PerImageConfusion | None) -> Plain | None:
    """Per-image confusion matrices for a checkpoint, without the boundary band."""
    if images is None:
        return None
    matrices = torch.from_numpy(images.matrices).int()  # an image has fewer than 2^31 pixels
    rest = {"protocol": asdict(images.protocol), "classes": list(images.classes)}
    return {"ids": list(images.ids), "matrices": matrices, **rest}


def images_of(plain: Plain | None) -> PerImageConfusion | None:
    """Inverse of `plain_images`."""
    if plain is None:
        return None
    matrices, protocol = plain["matrices"].long().numpy(), Protocol(**plain["protocol"])
    return PerImageConfusion(tuple(plain["ids"]), matrices, protocol, tuple(plain["classes"]))


def scores_dict(
    images: PerImageConfusion, intervals: ScoreIntervals | None = None, loss: float | None = None
) -> dict[str, Any]:
    """A score in `scores.json`: metrics, intervals (computed if None), error budget, confusion matrices."""
    band = images.total_band()
    return {
        **Score.of(images, loss).as_dict(),
        "intervals": (intervals or score_intervals(images)).as_dict(),
        "error_budget": asdict(error_budget(images.total(), images.classes, band)),
        **({} if band is None else {"trimap_width": WIDTH, "trimap_matrix": band.tolist()}),
    }
