"""How a state is saved where Lightning, averaged weights or a second name would get in the way."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import WeightAveraging

from vocseg.runs.loops import Place


def validated(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a validation in the midst of the epoch came just before a batch: Lightning would repeat it."""
    every = trainer.val_check_batch
    done = trainer.fit_loop.total_batch_idx if trainer.check_val_every_n_epoch is None else batch_idx
    return isinstance(every, int) and done % every == 0


@contextlib.contextmanager
def own_weights(trainer: Trainer, place: Place) -> Iterator[None]:
    """In a validation, averaged weights stand in the place of those that are trained."""
    averaging = [each for each in trainer.callbacks if isinstance(each, WeightAveraging)]  # type: ignore[attr-defined]
    averaging = averaging if place == "validation" else []
    for each in averaging:
        each.on_validation_epoch_end(trainer, trainer.lightning_module)
    yield
    for each in averaging:
        each.on_validation_epoch_start(trainer, trainer.lightning_module)


def share(path: Path, other: Path) -> None:
    """Give a file a second name, or where that cannot be, make a copy."""
    part = other.with_name(f".{other.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(path, part)
    except OSError:
        shutil.copyfile(path, part)
    os.replace(part, other)
