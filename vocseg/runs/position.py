"""Where training is, and what chance does there: both follow from seed, epoch and batch, not from history."""

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class Advance(Callback):
    """Tells the data module how far training is, and seeds every step.

    A network's own chance (dropout, dropped paths) would else depend on all steps before, so that a run that
    was broken off could not go on as if it had not been.
    """

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed the step, on every process in its own way."""
        seed = getattr(_data(trainer), "seed", 0)
        key = (abs(seed), trainer.current_epoch, batch_idx, trainer.global_rank)
        state = np.random.SeedSequence(key).generate_state(2)
        _seed(int(state[0]), trainer.strategy.root_device)
        random.seed(int(state[1]))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A batch more is done."""
        _go_to(trainer, trainer.current_epoch, batch_idx + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The epoch is done."""
        _go_to(trainer, trainer.current_epoch + 1, 0)


def _seed(seed: int, device: torch.device) -> None:
    """As `torch.manual_seed`, which takes half a millisecond to visit devices that are not in use."""
    if device.type not in ("cpu", "cuda"):
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _go_to(trainer: Trainer, epoch: int, batch: int) -> None:
    if (data := _data(trainer)) is not None:
        data.go_to(epoch, batch)


def _data(trainer: Trainer) -> Any:
    return getattr(trainer, "datamodule", None)
