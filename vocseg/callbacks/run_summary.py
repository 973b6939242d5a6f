"""Summary of a run at its start."""

import shutil
import textwrap
from dataclasses import asdict

from lightning.pytorch import Callback, LightningModule, Trainer

from vocseg.losses.config import CROSS_ENTROPY_ONLY
from vocseg.models.module import SegmentationModule
from vocseg.performance.options import precision_note


class RunSummary(Callback):
    """Prints network, data, loss and run directory before training."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = trainer.log_dir  # on every process: it is broadcast
        if not trainer.is_global_zero:
            return
        millions = sum(parameter.numel() for parameter in pl_module.parameters()) / 1e6
        network = (
            f"{pl_module.hparams['arch']} with {pl_module.hparams['encoder']}, {millions:.1f} M parameters"
        )
        print(f"network  {network}, on {pl_module.device}, precision {trainer.precision}")
        if note := precision_note(trainer.precision, pl_module.device):
            print(f"slow     {note}")
        if (data := getattr(trainer, "datamodule", None)) is not None:
            splits = "; ".join(_split(data.facts(stage)) for stage in ("train", "val"))
            print(f"data     {data.root}: {splits}; at {data.image_size}x{data.image_size}")
        if isinstance(pl_module, SegmentationModule) and pl_module.loss.settings != CROSS_ENTROPY_ONLY:
            terms = asdict(pl_module.loss.settings) | {"class_weights": None}  # these follow
            print(f"loss     {', '.join(f'{name} {value:g}' for name, value in terms.items() if value)}")
            weights = zip(pl_module.class_list.names, pl_module.loss.class_weights or (), strict=False)
            text = ", ".join(f"{name} {weight:.3g}" for name, weight in weights)
            if text:
                width = shutil.get_terminal_size().columns
                print(textwrap.fill(text, width, initial_indent="weights  ", subsequent_indent=" " * 9))
        where = (
            f"{folder}  (curves: tensorboard --logdir {folder})" if folder else "a trial; nothing is saved"
        )
        print(f"run      {where}", flush=True)


def _split(facts: dict[str, object]) -> str:
    return f"{facts['images']:,} images of '{facts['split']}' ({str(facts['fingerprint'])[:8]})"
