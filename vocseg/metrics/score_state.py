"""Scores as plain values and tensors for checkpoints."""

from dataclasses import asdict
from typing import Any

import torch

from vocseg.metrics.per_image import PerImageConfusion
from vocseg.metrics.protocol import Protocol
from vocseg.metrics.score import Score


def plain_score(score: Score | None) -> dict[str, Any] | None:
    """A score as a checkpoint holds it."""
    if score is None:
        return None
    return {
        "matrix": score.matrix,
        "protocol": asdict(score.protocol),
        "loss": score.loss,
        "classes": list(score.classes),
    }


def score_of(plain: dict[str, Any] | None) -> Score | None:
    """The score again."""
    if plain is None:
        return None
    return Score(plain["matrix"], Protocol(**plain["protocol"]), plain["loss"], tuple(plain["classes"]))


def plain_images(images: PerImageConfusion | None) -> dict[str, Any] | None:
    """The scores of images as a checkpoint holds them."""
    if images is None:
        return None
    return {
        "ids": list(images.ids),
        "matrices": torch.from_numpy(images.matrices).int(),  # pixels of an image are fewer than 2^31
        "protocol": asdict(images.protocol),
        "classes": list(images.classes),
    }


def images_of(plain: dict[str, Any] | None) -> PerImageConfusion | None:
    """The scores of images again."""
    if plain is None:
        return None
    matrices = plain["matrices"].long().numpy()
    return PerImageConfusion(
        tuple(plain["ids"]), matrices, Protocol(**plain["protocol"]), tuple(plain["classes"])
    )
