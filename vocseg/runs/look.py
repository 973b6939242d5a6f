"""What an optimiser step is about to be made of, and whether that is finite."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.optim import Optimizer

from vocseg.errors import UserError
from vocseg.model import SegmentationModule
from vocseg.runs.checkpoints import LastCheckpoint

REMEDY = "lower --model.lr, or clip gradients with --trainer.gradient_clip_val 1.0"

_NAMED = 8  # images that a sentence names at most


@dataclass
class Look:
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


def take_look(
    trainer: Trainer, module: SegmentationModule, optimizer: Optimizer, loss: Tensor, batches: list[Tensor]
) -> Look:
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
    return Look(*_fetched(torch.stack(figures)), batches, where)


def judge(trainer: Trainer, look: Look) -> None:
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
