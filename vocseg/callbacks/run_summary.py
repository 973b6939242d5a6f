"""Summary of a run at its start."""

import shutil

from lightning.pytorch import Callback, LightningModule, Trainer

from vocseg.losses.config import CROSS_ENTROPY_ONLY
from vocseg.models.module import SegmentationModule
from vocseg.performance.options import precision_note


class RunSummary(Callback):
    """Says before training what is trained, on what, and where to look."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say it once, on the main process."""
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
            train, val = data.facts("train"), data.facts("val")
            print(
                f"data     {data.root}: {_part(train)}; {_part(val)}; at {data.image_size}x{data.image_size}"
            )
        objective = pl_module.loss if isinstance(pl_module, SegmentationModule) else None
        if objective is not None and objective.settings != CROSS_ENTROPY_ONLY:
            print(f"loss     {objective.describe()}")
            assert isinstance(pl_module, SegmentationModule)
            weights = zip(pl_module.class_list.names, objective.class_weights or (), strict=False)
            print(
                "".join(f"{line}\n" for line in _weight_lines([f"{a} {b:.3g}" for a, b in weights])), end=""
            )
        kept = f"{folder}  (curves: tensorboard --logdir {folder})" if folder else "a trial; nothing is kept"
        print(f"run      {kept}", flush=True)


def _weight_lines(weights: list[str]) -> list[str]:
    """Class weights with their names, broken between two of them at the terminal's edge."""
    width = shutil.get_terminal_size().columns
    lines: list[str] = []
    for k, text in enumerate(weights):
        text += "," * (k + 1 < len(weights))
        if lines and len(lines[-1]) + 1 + len(text) <= width:
            lines[-1] += f" {text}"
        else:
            lines.append(f"{'weights' if not lines else '':<9}{text}")
    return lines


def _part(facts: dict[str, object]) -> str:
    return f"{facts['images']:,} images of '{facts['split']}' ({str(facts['fingerprint'])[:8]})"
