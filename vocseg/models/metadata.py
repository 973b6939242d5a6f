"""Metadata that a file of weights carries."""

from typing import TYPE_CHECKING, Any

from vocseg import __version__
from vocseg.constants import IGNORE_INDEX, IMAGENET_MEAN, IMAGENET_STD
from vocseg.metrics.per_image import Protocol
from vocseg.metrics.score import Score

if TYPE_CHECKING:
    from vocseg.models.module import SegmentationModule

FORMAT = 1
DESCRIPTION_KEY = "vocseg"  # key of the description in a Lightning checkpoint
NORMALISATION = {"channels": "RGB", "scale": 255.0, "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)}


def describe(
    module: "SegmentationModule", size: int | None, score: Score | None, data: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Describe a network by plain values, sufficient to use its weights.

    `size`: side length of the training images in pixels. `data`: splits, numbers of images and fingerprints
    of training and validation.
    """
    return {
        "format": FORMAT,
        "vocseg": __version__,
        "arch": module.hparams["arch"],
        "encoder": module.hparams["encoder"],
        "classes": list(module.class_list.names),
        "colours": [list(colour) for colour in module.class_list.colours],
        "ignore_index": IGNORE_INDEX,
        "size": size,
        "data": dict(data or {}),
        "normalisation": dict(NORMALISATION),
        "score": None if score is None else score.as_dict(matrix=False),
    }


def description_of(trainer: Any, module: "SegmentationModule") -> dict[str, Any]:
    """Describe the network that a trainer trains or has scored."""
    data = facts_source(trainer)
    stages = () if data is None else ("train", "val") if trainer.state.fn == "fit" else ("val",)
    parts = {stage: dict(data.facts(stage)) for stage in stages}
    size = module.image_size if data is None else data.image_size
    return describe(module, size, newest_score(trainer, module), parts)


def newest_score(trainer: Any, module: "SegmentationModule") -> Score | None:
    """Return the score of the latest evaluation, or None without a data module that has `facts`."""
    figures, data = module.results.get("val"), facts_source(trainer)
    if figures is None or data is None:
        return None
    protocol = protocol_of(data, module, int(figures["images"]))
    return Score(figures["matrix"], protocol, float(figures["loss"]), module.class_list.names)


def protocol_of(data: Any, module: "SegmentationModule", images: int) -> Protocol:
    """Return the protocol of scores at the input resolution of a number of images."""
    return Protocol(**{**data.facts("val"), "images": images, "tta": module.tta.label})


def facts_source(trainer: Any) -> Any:
    """Return the trainer's data module if it has `facts`, else None."""
    data = getattr(trainer, "datamodule", None)
    return data if hasattr(data, "facts") else None
