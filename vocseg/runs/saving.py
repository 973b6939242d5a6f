"""How a state is saved where Lightning, averaged weights or a second name would get in the way."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging

from vocseg.runs.loops import Place


def validated(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a validation ended just before a batch, as Lightning decides it on resume."""
    every, epochs = trainer.val_check_batch, trainer.check_val_every_n_epoch
    due = epochs is None or (trainer.current_epoch + 1) % epochs == 0
    done = trainer.fit_loop.total_batch_idx if epochs is None else batch_idx
    return trainer.enable_validation and due and isinstance(every, int) and done % every == 0


def window_closed(trainer: Trainer, batches: int) -> bool:
    """Whether no gradient of an accumulation window is pending, which no checkpoint holds.

    Args:
        trainer: Lightning's.
        batches: Batches of the epoch that are done.
    """
    return batches % trainer.accumulate_grad_batches == 0 or batches == trainer.num_training_batches


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


def relocate(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Give each ModelCheckpoint its whole state back, also where the run's folder has moved.

    Lightning compares the folder's name, as it was typed, and drops the best scores if it differs. The newest
    score it saves, but does not load.

    Args:
        trainer: With callbacks that are set up.
        checkpoint: About to be loaded; changed in place.
    """
    states = checkpoint["callbacks"]
    for each in trainer.checkpoint_callbacks:
        state = states.get(each.state_key)
        if isinstance(each, ModelCheckpoint) and state is not None:
            states[each.state_key] = _renamed(state, str(state["dirpath"]), str(each.dirpath))
            each.current_score = state["current_score"]


def _renamed(value: Any, old: str, new: str) -> Any:
    """The same, with another folder in every path."""
    if isinstance(value, dict):
        return {_renamed(key, old, new): _renamed(each, old, new) for key, each in value.items()}
    is_there = isinstance(value, str) and (value == old or value.startswith(f"{old}{os.sep}"))
    return new + value[len(old) :] if is_there else value


def share(path: Path, other: Path) -> None:
    """Give a file a second name, or where that cannot be, make a copy."""
    part = other.with_name(f".{other.name}.part")
    part.unlink(missing_ok=True)
    if other.exists() and path.samefile(other):  # a rename would do nothing, and leave the part
        return
    try:
        os.link(path, part)
    except OSError:
        shutil.copyfile(path, part)
    os.replace(part, other)
