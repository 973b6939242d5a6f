"""Report of skipped samples."""

import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from vocseg.utils.atomic_write import atomic_write

_MAX_LINES = 10  # printed; the file has all

T = TypeVar("T")


class SkippedSamplesReport(Callback):
    """Prints images that could not be read, and saves `skipped_samples.json` in the run directory.

    It reports only with `--data.on_read_error skip`.
    """

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the images of all processes and report them."""
        data: Any = getattr(trainer, "datamodule", None)
        if data is None or not data.skip:
            return
        folder = trainer.log_dir  # on every process: it is broadcast
        each = from_all(data.left_out(), trainer.world_size)  # reasons by split and id
        reasons = {name: {k: v for part in each for k, v in part.get(name, {}).items()} for name in each[0]}
        count = sum(map(len, reasons.values()))
        if not trainer.is_global_zero or not count:
            return
        print(f"\n{count} {'image was' if count == 1 else 'images were'} skipped and not counted:")
        lines = [f"  {id} ({name}): {why}" for name, part in reasons.items() for id, why in part.items()]
        more = [f"  and {count - _MAX_LINES} more"] if count > _MAX_LINES else []
        print("\n".join(lines[:_MAX_LINES] + more), flush=True)
        if folder is not None and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            atomic_write(Path(folder) / "skipped_samples.json", json.dumps(reasons, indent=1) + "\n")

    on_test_end = on_fit_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report after `validate`, but not after validations of training."""
        if trainer.state.fn == "validate":
            self.on_fit_end(trainer, pl_module)


def from_all(own: T, world: int) -> list[T]:
    """Gather an object of each of `world` processes, on every process."""
    each = [own] * world
    if world > 1:
        torch.distributed.all_gather_object(each, own)
    return each
