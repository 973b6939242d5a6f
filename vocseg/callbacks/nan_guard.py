"""Stop on NaN or infinite loss, gradients or weights."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.optim import Optimizer

from vocseg.callbacks.last_checkpoint import LastCheckpoint
from vocseg.errors import UserError
from vocseg.models.module import SegmentationModule

REMEDY = "lower --model.lr, or clip gradients with --trainer.gradient_clip_val 1.0"

_NAMED = 8  # images that a sentence names at most


@dataclass
class StepStats:
    """What one optimiser step was about to be made of.

    Attributes:
        figures: Loss and, unless fp16's scaler judges it, norm of all gradients; float32 `[1..2]`.
        ready: Tells when they have come from a GPU; None: they are here.
        batches: Positions of the images, one tensor a batch.
        where: Step, epoch, learning rate.
    """

    figures: Tensor
    ready: Any
    batches: list[Tensor]
    where: str


def collect_stats(
    trainer: Trainer, module: SegmentationModule, optimizer: Optimizer, loss: Tensor, batches: list[Tensor]
) -> StepStats:
    """Look at a step that is about to be taken.

    Args:
        trainer: Lightning's.
        module: Whose gradients there are.
        optimizer: Whose rates.
        loss: Summed over the batches.
        batches: Positions of their images.
    """
    rates = [float(group["lr"]) for group in optimizer.param_groups if not _on_gpu(group["lr"])]
    where = (
        f"step {trainer.global_step + 1} (epoch {trainer.current_epoch + 1}, learning rate "
        f"{', '.join(f'{rate:g}' for rate in rates) or 'unknown'}"
    )
    figures = [loss] + ([] if _scaled(trainer) else [module.gradient_norm()])
    figures += [figures[0] * 0 + rate for rate in rates if not math.isfinite(rate)]
    return StepStats(*_fetched(torch.stack(figures)), batches, where)


def raise_if_not_finite(trainer: Trainer, look: StepStats) -> None:
    """Stop, if a figure is not finite.

    Raises:
        UserError: On every process whose figures are not.
    """
    figures = look.figures.tolist()
    if all(map(math.isfinite, figures)):
        return
    loss, *rest = figures
    what = f"the loss is {loss}" if not math.isfinite(loss) else "the gradients are not finite"
    if all(map(math.isfinite, figures[:2])):
        what = "the learning rate is no finite number"
    elif math.isfinite(loss) and trainer.world_size > 1:
        what = "the loss or a gradient is not finite"  # on this process or another
    images = ", ".join(_images(trainer, look.batches, bool(rest))) or "unknown"
    when = "after the step" if look.ready else "before the step"
    raise UserError(f"{what} at {look.where}, images {images}): stopped {when}; {kept(trainer)}: {REMEDY}")


def _images(trainer: Trainer, batches: list[Tensor], together: bool) -> Iterator[str]:
    """Ids of the images of a step, of all processes if they all have come here."""
    indices = torch.cat(batches).tolist()
    if together and trainer.world_size > 1 and isinstance(trainer.strategy, DDPStrategy):
        shares: list[list[int]] = [[]] * trainer.world_size
        torch.distributed.all_gather_object(shares, indices)
        indices = [index for share in shares for index in share]
    data = getattr(trainer, "datamodule", None)
    ids = data.ids("train") if data is not None else range(1 << 40)
    known = [str(ids[index]) for index in indices if index >= 0]
    yield from known[:_NAMED]
    if len(known) > _NAMED:
        yield f"{len(known) - _NAMED} more"


def _fetched(figures: Tensor) -> tuple[Tensor, Any]:
    """Figures on their way from a GPU, and what tells when they have come."""
    if figures.device.type != "cuda":
        return figures.cpu(), None
    here = torch.empty_like(figures, device="cpu", pin_memory=True).copy_(figures, non_blocking=True)
    ready: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
    ready.record()
    return here, ready


def _scaled(trainer: Trainer) -> bool:
    """Whether fp16's scaler judges the gradients: it skips steps that overflow, which is as it should be."""
    return getattr(trainer.precision_plugin, "scaler", None) is not None


def _on_gpu(rate: Any) -> bool:
    return isinstance(rate, Tensor) and rate.device.type != "cpu"


def kept(trainer: Trainer) -> str:
    """What there is to go on from."""
    callbacks: Any = trainer.callbacks  # type: ignore[attr-defined]
    files = [each.path for each in callbacks if isinstance(each, LastCheckpoint)]
    last = next((file for file in files if file is not None and file.is_file()), None)
    return f"{last} holds the last good state" if last else "nothing had been saved yet"


class NanGuard(Callback):
    """Stops training at a loss, a gradient or a learning rate that is no finite number.

    On a CPU the optimiser step is not taken, so that the weights stay as they were. A GPU is not made to
    wait: its figures are looked at when the next step's are on their way, one step late. On either, no
    checkpoint with a weight that is not finite is written.
    """

    def __init__(self) -> None:
        self._batches: list[Tensor] = []
        self._loss: Tensor | None = None
        self._pending: StepStats | None = None

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
        look = collect_stats(trainer, pl_module, optimizer, self._loss, self._batches)
        self._batches, self._loss = [], None
        if look.ready is None:
            raise_if_not_finite(trainer, look)
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
            raise_if_not_finite(trainer, look)
