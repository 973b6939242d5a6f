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
_KEEP = 0.98  # of Lightning's average at each step


def find_learning_rate(
    trainer: Trainer, module: LightningModule, data: LightningDataModule, steps: int
) -> tuple[Table, str]:
    """Raise the learning rate from step to step, and see where the loss falls fastest.

    Args:
        trainer: Lightning's.
        module: What would be trained; it is as before afterwards.
        data: On what.
        steps: From the lowest rate to the highest.

    Returns:
        A table of rates and losses, and what to type.

    Raises:
        UserError: If the loss falls nowhere.
    """
    finder: Any = Tuner(trainer).lr_find(
        module, datamodule=data, min_lr=_LOWEST, max_lr=_HIGHEST, num_training=steps, update_attr=False
    )
    rates, losses = finder.results["lr"], _unsmoothed(finder.results["loss"])
    curve = smoothed(rates, losses)
    table = Table("learning rate", "loss", title=f"{len(rates)} steps at rising learning rates")
    for rate, loss in curve[:: max(1, len(curve) // _ROWS)]:
        table.add_row(f"{rate:.1e}", f"{loss:.3f}")
    best = steepest(curve)
    if best is None:
        raise UserError(
            f"--num_training {steps}: the loss does not fall clearly at any learning rate. Use more steps or "
            "a larger batch size."
        )
    return table, f"the loss falls fastest at: --model.lr {best:.1e}"


def smoothed(rates: Sequence[float], losses: Sequence[float]) -> list[tuple[float, float]]:
    """Means over a tenth of the curve, each at the rate in its middle."""
    window = max(3, len(losses) // 10)
    means = np.convolve(losses, np.full(window, 1 / window), "valid")
    return [(rates[k + window // 2], float(mean)) for k, mean in enumerate(means)]


def steepest(curve: Sequence[tuple[float, float]]) -> float | None:
    """The rate at which the loss falls fastest on its way to the lowest; None: it never falls.

    Args:
        curve: Rates, evenly spaced in their logarithm, and losses.
    """
    losses = np.array([loss for _, loss in curve])
    falling = losses[: int(np.nanargmin(losses)) + 1]
    if len(falling) < 2:
        return None
    return curve[int(np.argmin(np.gradient(falling)))][0]


def _unsmoothed(losses: Sequence[float]) -> list[float]:
    """The losses of the steps: Lightning's average lags by fifty, and starts at half of the first loss."""
    sums = [loss * (1 - _KEEP ** (k + 2)) for k, loss in enumerate(losses)]
    return [(each - _KEEP * before) / (1 - _KEEP) for before, each in pairwise([0.0, *sums])]


def find_batch_size(
    trainer: Trainer, module: LightningModule, data: LightningDataModule, images: int, largest: int | None
) -> str:
    """Double the batch until memory runs out.

    Args:
        trainer: Lightning's.
        module: What would be trained; it is as before afterwards.
        data: On what.
        images: To train on.
        largest: Where to stop; None: a GPU's memory says.

    Returns:
        What to type.

    Raises:
        UserError: If nothing says where to stop.
    """
    if largest is None and trainer.strategy.root_device.type == "cpu":
        raise UserError(
            "--target batch_size: a CPU takes more and more memory until the machine stands still: name a "
            "--max_batch_size batch to try"
        )
    most = min(largest or images, images)
    size = Tuner(trainer).scale_batch_size(module, datamodule=data, max_val=most)
    size = min(int(size or 1), most)
    return f"the largest of 2, 4, 8, ... {most} that fits: --data.batch_size {size}"
