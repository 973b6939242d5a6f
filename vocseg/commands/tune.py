"""Searches for a learning rate and a batch size."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.tuner.tuning import Tuner
from rich.table import Table

from vocseg.errors import UserError

Wanted = Literal["lr", "batch_size"]

_LOWEST, _HIGHEST = 1e-7, 1.0  # learning rates
_ROWS = 11
_DECAY = 0.98  # of Lightning's running average of the loss


def find_learning_rate(
    trainer: Trainer, module: LightningModule, data: LightningDataModule, steps: int
) -> tuple[Table, str]:
    """Table of rates and losses, and a line with the rate of the steepest decrease; the module is restored.

    Raises:
        UserError: If the loss does not decrease.
    """
    finder: Any = Tuner(trainer).lr_find(
        module, datamodule=data, min_lr=_LOWEST, max_lr=_HIGHEST, num_training=steps, update_attr=False
    )
    rates = finder.results["lr"]
    # Lightning's running average lags by about fifty steps, so the loss of each step is computed from it.
    sums = [loss * (1 - _DECAY ** (k + 2)) for k, loss in enumerate(finder.results["loss"])]
    losses = [(each - _DECAY * before) / (1 - _DECAY) for before, each in pairwise([0.0, *sums])]
    curve = smoothed(rates, losses)
    table = Table("learning rate", "loss", title=f"{len(rates)} steps at rising learning rates")
    for rate, loss in curve[:: max(1, len(curve) // _ROWS)]:
        table.add_row(f"{rate:.1e}", f"{loss:.3f}")
    best = steepest(curve)
    if best is None:
        raise UserError(
            f"--num_training {steps}: the loss does not decrease clearly at any learning rate. Use more "
            "steps or a larger batch size."
        )
    return table, f"steepest decrease of the loss at: --model.lr {best:.1e}"


def smoothed(rates: Sequence[float], losses: Sequence[float]) -> list[tuple[float, float]]:
    """Moving averages over a tenth of the curve, each at the rate in its middle."""
    window = max(3, len(losses) // 10)
    means = np.convolve(losses, np.full(window, 1 / window), "valid")
    return [(rates[k + window // 2], float(mean)) for k, mean in enumerate(means)]


def steepest(curve: Sequence[tuple[float, float]]) -> float | None:
    """The rate with the steepest decrease before the lowest loss; None if the loss never decreases."""
    losses = np.array([loss for _, loss in curve])
    falling = losses[: int(np.nanargmin(losses)) + 1]
    if len(falling) < 2:
        return None
    return curve[int(np.argmin(np.gradient(falling)))][0]


def find_batch_size(
    trainer: Trainer, module: LightningModule, data: LightningDataModule, images: int, largest: int | None
) -> str:
    """Find the largest batch size, a power of 2, that fits into memory; the module is restored.

    Raises:
        UserError: If there is no limit `largest` on a CPU.
    """
    if largest is None and trainer.strategy.root_device.type == "cpu":
        raise UserError(
            "--target batch_size needs a limit on a CPU: memory would be swapped to disk. Pass "
            "--max_batch_size."
        )
    most = min(largest or images, images)
    size = Tuner(trainer).scale_batch_size(module, datamodule=data, max_val=most)
    return f"largest of 2, 4, 8, ... {most} that fits: --data.batch_size {min(int(size or 1), most)}"
