"""A run whose numbers are no numbers any more stops, before anything good is written over."""

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from vocseg.errors import UserError
from vocseg.model import SegmentationModule
from vocseg.runs.look import REMEDY, Look, judge, kept, take_look


class Finite(Callback):
    """Stops training at a loss, a gradient or a learning rate that is no finite number.

    On a CPU the optimiser step is not taken, so that the weights stay as they were. A GPU is not made to
    wait: its figures are looked at when the next step's are on their way, one step late. On either, no
    checkpoint with a weight that is not finite is written.
    """

    only_reads_gradients = True  # so that a captured step may hold the optimizer's step

    def __init__(self) -> None:
        self._batches: list[Tensor] = []
        self._loss: Tensor | None = None
        self._pending: Look | None = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note which images the next step is made of."""
        self._batches.append(batch["index"])

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Add the loss up; one that is not finite makes every gradient NaN, so that all processes see it."""
        seen = loss.detach().float()
        self._loss = seen if self._loss is None else self._loss + seen
        if loss.requires_grad:
            register: Any = loss.register_hook
            register(lambda gradient: gradient * (1 + 0 * seen))  # times exactly 1, if finite

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Look at this step on a CPU, at the one before on a GPU."""
        assert self._loss is not None
        assert isinstance(pl_module, SegmentationModule)
        look = take_look(trainer, pl_module, optimizer, self._loss, self._batches)
        self._batches, self._loss = [], None
        if look.ready is None:
            judge(trainer, look)
            return
        self._flush(trainer)
        self._pending = look

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the step that waits."""
        self._flush(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the step that waits."""
        self._flush(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let no score of outputs that are no numbers pass: NaN is taken for background.

        Raises:
            UserError: If the loss is not finite.
        """
        figures = pl_module.results.get("val") if isinstance(pl_module, SegmentationModule) else None
        if figures is None or not int(figures["matrix"].sum()) or math.isfinite(float(figures["loss"])):
            return
        where = f" in epoch {trainer.current_epoch + 1}" if trainer.state.fn == "fit" else ""
        raise UserError(
            f"the validation loss is {float(figures['loss'])}{where}, so that scores would mean nothing: "
            + (f"{kept(trainer)}: {REMEDY}" if trainer.state.fn == "fit" else "these weights are spoilt")
        )

    on_test_end = on_validation_end

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let no spoilt weights be saved, under whatever name.

        Raises:
            UserError: If a weight is not finite, on all processes.
        """
        kinds = [value for value in checkpoint["state_dict"].values() if value.is_floating_point()]
        fine = bool(torch.stack([value.isfinite().all() for value in kinds]).all())
        if not trainer.strategy.reduce_boolean_decision(fine, all=True):
            raise UserError(
                f"weights are no finite numbers any more at step {trainer.global_step} and are not saved; "
                f"{kept(trainer)}: {REMEDY}"
            )

    def _flush(self, trainer: Trainer) -> None:
        look, self._pending = self._pending, None
        if look is not None:
            look.ready.synchronize()
            judge(trainer, look)
