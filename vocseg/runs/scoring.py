"""From what a module counted to a score that carries its protocol."""

from lightning.pytorch import Trainer

from vocseg.model import SegmentationModule
from vocseg.runs.image_counts import protocol_of
from vocseg.scores import Score


def newest_score(trainer: Trainer, module: SegmentationModule) -> Score | None:
    """The score of the newest scoring epoch, if the trainer's data can say what it was taken on.

    The number of images is that of those scored: --trainer.limit_val_batches leaves some out.
    """
    figures = module.results.get("val")
    facts = getattr(trainer, "datamodule", None)
    if figures is None or facts is None:
        return None
    protocol = protocol_of(facts, module, int(figures["images"]))
    return Score(figures["matrix"], protocol, float(figures["loss"]), module.class_list.names)
