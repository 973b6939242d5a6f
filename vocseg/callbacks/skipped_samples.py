"""Report of skipped samples."""

import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from vocseg.utils.atomic_write import atomic_write

_LISTED = 10  # lines on the terminal; the file has all

Reasons = dict[str, dict[str, str]]  # by list, by id
T = TypeVar("T")


class SkippedSamplesReport(Callback):
    """Lists images that could not be read, on the terminal and as `left_out.json` in the run's folder."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say it, with `--data.on_read_error skip`: without it the run would have stopped."""
        data: Any = getattr(trainer, "datamodule", None)
        if data is None or not data.skip:
            return
        folder = trainer.log_dir  # on every process: it is broadcast
        reasons = _together(data.left_out(), trainer.world_size)
        count = sum(map(len, reasons.values()))
        if not trainer.is_global_zero or not count:
            return
        print(f"\n{count} {'image was' if count == 1 else 'images were'} left out and counted nowhere:")
        lines = [f"  {id} ({name}): {why}" for name, each in reasons.items() for id, why in each.items()]
        more = [f"  and {count - _LISTED} more"] if count > _LISTED else []
        print("\n".join(lines[:_LISTED] + more), flush=True)
        if folder is not None and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            atomic_write(Path(folder) / "left_out.json", json.dumps(reasons, indent=1) + "\n")

    on_test_end = on_fit_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """As at the end of a test, unless training goes on."""
        if trainer.state.fn == "validate":
            self.on_fit_end(trainer, pl_module)


def from_all(mine: T, world: int) -> list[T]:
    """An object of every process, on every process.

    Args:
        mine: This process's.
        world: How many there are.
    """
    each = [mine] * world
    if world > 1:
        torch.distributed.all_gather_object(each, mine)
    return each


def _together(mine: Reasons, world: int) -> Reasons:
    """Of all processes."""
    each = from_all(mine, world)
    return {name: {k: v for share in each for k, v in share.get(name, {}).items()} for name in mine}
