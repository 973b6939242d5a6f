"""Stop on NaN or infinite loss, gradients or weights."""

import math
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.optim import Optimizer

from vocseg.callbacks import find_callback
from vocseg.callbacks.last_checkpoint import LastCheckpoint
from vocseg.errors import UserError, some
from vocseg.models.module import SegmentationModule
from vocseg.utils.gather import from_all

REMEDY = "Lower --model.lr, or clip gradients with --trainer.gradient_clip_val 1.0."

_MAX_IMAGES = 8  # ids in a message


class _StepStats(NamedTuple):
    """Values that are checked for one optimizer step."""

    values: Tensor  # float32 `[1..]`: loss, gradient norm unless fp16's scaler checks it, non-finite rates
    ready: Any  # CUDA event of their copy from the GPU; None: they are on the CPU
    batches: list[Tensor]  # positions of the images, one tensor per batch
    where: str  # step, epoch and learning rate


def _collect_stats(
    trainer: Trainer, module: SegmentationModule, optimizer: Optimizer, loss: Tensor, batches: list[Tensor]
) -> _StepStats:
    rates = [group["lr"] for group in optimizer.param_groups]
    rates = [float(rate) for rate in rates if not isinstance(rate, Tensor) or rate.device.type == "cpu"]
    where = (
        f"step {trainer.global_step + 1} (epoch {trainer.current_epoch + 1}, learning rate "
        f"{', '.join(f'{rate:g}' for rate in rates) or 'unknown'}"
    )
    # fp16's scaler skips steps that overflow, which is not an error.
    scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
    parts = [loss] + ([] if scaled else [module.gradient_norm()])
    values = torch.stack(parts + [loss * 0 + rate for rate in rates if not math.isfinite(rate)])
    if values.device.type != "cuda":
        return _StepStats(values.cpu(), None, batches, where)
    copy = torch.empty_like(values, device="cpu", pin_memory=True).copy_(values, non_blocking=True)
    ready: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
    ready.record()
    return _StepStats(copy, ready, batches, where)


def _raise_if_not_finite(trainer: Trainer, stats: _StepStats) -> None:
    finite = [math.isfinite(value) for value in stats.values.tolist()]
    if all(finite):
        return
    what = "the gradients are not finite"
    if not finite[0]:
        what = f"the loss is {stats.values[0].item()}"
    elif all(finite[:2]):
        what = "the learning rate is not finite"
    indices = torch.cat(stats.batches).tolist()
    if trainer.world_size > 1 and len(finite) > 1 and isinstance(trainer.strategy, DDPStrategy):
        if finite[0] and not finite[1]:
            what = "the loss or a gradient is not finite"  # on this process or another
        indices = [index for part in from_all(indices, trainer.world_size) for index in part]
    data = getattr(trainer, "datamodule", None)
    ids = data.ids("train") if data is not None else range(1 << 40)
    images = some([str(ids[index]) for index in indices if index >= 0], _MAX_IMAGES) or "unknown"
    when = "after the step" if stats.ready else "before the step"
    raise UserError(
        f"{what} at {stats.where}, images {images}): stopped {when}. {_saved_state(trainer)} {REMEDY}"
    )


def _saved_state(trainer: Trainer) -> str:
    last = find_callback(trainer, LastCheckpoint)
    path = None if last is None else last.path
    return f"{path} has the last valid state." if path and path.is_file() else "Nothing was saved yet."


class NanGuard(Callback):
    """Stops training if loss, gradients or learning rate are not finite.

    On a CPU it stops before the optimizer step. On a GPU, where reading a value would wait, it stops one step
    later. Checkpoints with non-finite weights are never written.
    """

    def __init__(self) -> None:
        self._batches: list[Tensor] = []
        self._loss: Tensor | None = None
        self._pending: _StepStats | None = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._batches.append(batch["index"])

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Sum the loss. A non-finite loss makes all gradients NaN, also on the other processes."""
        value = loss.detach().float()
        self._loss = value if self._loss is None else self._loss + value
        if loss.requires_grad:
            register: Any = loss.register_hook
            register(lambda gradient: gradient * (1 + 0 * value))  # factor 1 if finite

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        assert self._loss is not None
        assert isinstance(pl_module, SegmentationModule)
        stats = _collect_stats(trainer, pl_module, optimizer, self._loss, self._batches)
        self._batches, self._loss = [], None
        if stats.ready is None:
            _raise_if_not_finite(trainer, stats)
            return
        self._flush(trainer)
        self._pending = stats

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._flush(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._flush(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise a `UserError` if the loss is not finite: the argmax of NaN is background."""
        results = pl_module.results.get("val") if isinstance(pl_module, SegmentationModule) else None
        if results is None or not int(results["matrix"].sum()) or math.isfinite(float(results["loss"])):
            return
        loss, fitting = float(results["loss"]), trainer.state.fn == "fit"
        where = f" in epoch {trainer.current_epoch + 1}" if fitting else ""
        remedy = f"{_saved_state(trainer)} {REMEDY}" if fitting else "These weights are invalid. Use others."
        raise UserError(f"the validation loss is {loss}{where}, so scores are meaningless. {remedy}")

    on_test_end = on_validation_end

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Raise a `UserError`, on all processes, if a weight is not finite."""
        weights = [value for value in checkpoint["state_dict"].values() if value.is_floating_point()]
        finite = bool(torch.stack([value.isfinite().all() for value in weights]).all())
        if not trainer.strategy.reduce_boolean_decision(finite, all=True):
            raise UserError(
                f"weights are not finite at step {trainer.global_step} and are not saved. "
                f"{_saved_state(trainer)} {REMEDY}"
            )

    def _flush(self, trainer: Trainer) -> None:
        stats, self._pending = self._pending, None
        if stats is not None:
            stats.ready.synchronize()
            _raise_if_not_finite(trainer, stats)
