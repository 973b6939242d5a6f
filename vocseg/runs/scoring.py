"""From what a module counted to a score that carries its protocol."""

from dataclasses import replace

from lightning.pytorch import Trainer

from vocseg.model import SegmentationModule
from vocseg.scores import Protocol, Score


def newest_score(trainer: Trainer, module: SegmentationModule) -> Score | None:
    """The score of the newest scoring epoch, if the trainer's data can say what it was taken on.

    The number of images is that of those scored: --trainer.limit_val_batches leaves some out.
    """
    figures = module.results.get("val")
    facts = getattr(trainer, "datamodule", None)
    if figures is None or facts is None:
        return None
    protocol = replace(Protocol(**facts.facts("val")), images=int(figures["images"]))
    return Score(figures["matrix"], protocol, float(figures["loss"]), module.class_list.names)
