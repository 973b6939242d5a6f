"""Metadata that a file of weights carries."""

from typing import TYPE_CHECKING, Any

from vocseg import __version__
from vocseg.constants import IGNORE_INDEX, IMAGENET_MEAN, IMAGENET_STD
from vocseg.metrics.protocol import Protocol
from vocseg.metrics.score import Score

if TYPE_CHECKING:
    from vocseg.models.module import SegmentationModule

FORMAT = 1
DESCRIPTION_KEY = "vocseg"  # where a Lightning checkpoint holds the description
NORMALISATION = {
    "channels": "RGB",
    "scale": 255.0,
    "mean": list(IMAGENET_MEAN),
    "std": list(IMAGENET_STD),
}


def describe(
    module: "SegmentationModule",
    size: int | None,
    score: Score | None,
    data: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What a file must say to be used without anything else; plain values only.

    Args:
        module: Whose network it is.
        size: Edge in pixels of the images it was trained on, if that is known.
        score: What it reached, if it was scored.
        data: What it was trained and scored on: lists, numbers of images, fingerprints.
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
    """What a file of the weights says that a trainer is training, or has just scored."""
    data = facts_source(trainer)
    stages = () if data is None else ("train", "val") if trainer.state.fn == "fit" else ("val",)
    parts = {stage: dict(data.facts(stage)) for stage in stages}
    size = module.image_size if data is None else data.image_size
    return describe(module, size, newest_score(trainer, module), parts)


def newest_score(trainer: Any, module: "SegmentationModule") -> Score | None:
    """The score of the newest scoring epoch, if the trainer's data can say what it was taken on.

    The number of images is that of those scored: --trainer.limit_val_batches leaves some out.
    """
    figures, data = module.results.get("val"), facts_source(trainer)
    if figures is None or data is None:
        return None
    protocol = protocol_of(data, module, int(figures["images"]))
    return Score(figures["matrix"], protocol, float(figures["loss"]), module.class_list.names)


def protocol_of(data: Any, module: "SegmentationModule", images: int) -> Protocol:
    """How a module scores the images of a data module at the network's size.

    Args:
        data: The data module.
        module: What predicts.
        images: How many of them were scored.
    """
    return Protocol(**{**data.facts("val"), "images": images, "tta": module.variants.label})


def facts_source(trainer: Any) -> Any:
    """The trainer's data module if it can say what its images are; None: there is none, or it cannot."""
    data = getattr(trainer, "datamodule", None)
    return data if hasattr(data, "facts") else None
