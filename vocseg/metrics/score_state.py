"""Scores as plain values and tensors for checkpoints."""

from dataclasses import asdict
from typing import Any

import torch

from vocseg.metrics.per_image import PerImageConfusion
from vocseg.metrics.protocol import Protocol
from vocseg.metrics.score import Score

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
