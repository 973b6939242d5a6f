"""Atomic checkpoint files: writing, reading, choosing the newest valid one."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.plugins import TorchCheckpointIO

from vocseg.checkpoints.weights import described
from vocseg.errors import UserError
from vocseg.models.lightning_loops import Place
from vocseg.utils.safe_load import read_tensors, write_tensors

STATE_KEY = "vocseg_run"  # where a checkpoint says what going on needs besides Lightning's own


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, checks it, and puts it there; reads every byte with care."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint, whole or not at all.

        Raises:
            UserError: If it cannot be written; the one that was there stays.
        """
        if storage_options is not None:
            raise UserError(f"{path}: checkpoints are local files; leave storage_options out")
        write_tensors(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint to the CPU's memory; `weights_only` is always on.

        Raises:
            UserError: If it is an address, missing, damaged, or something else.
        """
        content = read_tensors(path)
        if not isinstance(content, dict) or "pytorch-lightning_version" not in content:
            raise UserError(f"--ckpt_path {path}: is no checkpoint of Lightning; name a run's .ckpt")
        return content


def with_atomic_checkpoints(plugins: Any) -> list[Any]:
    """The trainer's plugins with this one.

    Args:
        plugins: What the user gave: None, one, or several.

    Raises:
        UserError: If one of them writes checkpoints its own way.
    """
    others = (
        []
        if plugins is None
        else list(plugins)
        if isinstance(plugins, Sequence) and not isinstance(plugins, str)
        else [plugins]
    )
    if own := next((each for each in others if isinstance(each, CheckpointIO)), None):
        raise UserError(
            f"--trainer.plugins {type(own).__name__}: checkpoints are written whole and read safely already; "
            "leave it out"
        )
    return [*others, AtomicCheckpointIO()]


_Place = tuple[bool, int, int, bool, bool]  # exact, epoch, step, last.ckpt first, best.ckpt last


def newest_valid_checkpoint(folder: Path) -> tuple[Path, list[str]]:
    """The checkpoint of a run from which to resume: the furthest valid one from which that is exact.

    How far one is, it says itself; times of files change when they are copied. A user's callback may save
    where nothing can be resumed exactly: such a checkpoint is used if there is no other.

    Args:
        folder: Of the run.

    Returns:
        The checkpoint, and a sentence on each file that cannot be gone on from, with the one used instead.

    Raises:
        UserError: If there is none.
    """
    whole: list[tuple[_Place, Path]] = []
    faults: list[str] = []
    for path in sorted(folder.glob("*.ckpt")):
        try:
            content = read_checkpoint(path)
        except UserError as fault:
            faults.append(fault.sentence.removeprefix("--ckpt_path "))
        else:
            place = (
                bool(content.get(STATE_KEY, {}).get("exact")),
                content["epoch"],
                content["global_step"],
                path.name == "last.ckpt",
                path.name != "best.ckpt",
            )
            whole.append((place, path))
    if not whole:
        why = "; ".join(faults) or ("it has no .ckpt" if folder.is_dir() else "there is no such folder")
        raise UserError(f"nothing to resume in {folder}: {why}")
    (_, epoch, step, *_), path = max(whole)
    used = f"using {path.name} (epoch {epoch + 1}, step {step}) instead"
    return path, [f"{fault}: {used}" for fault in faults]


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """A checkpoint of this project from which a training can go on; its tensors stay in the file until used.

    Raises:
        UserError: If it is missing, damaged, something else, or lacks the state of the training.
    """
    content = read_tensors(path, mapped=True)
    described(Path(path), content)
    if "pytorch-lightning_version" not in content or not content.get("optimizer_states"):
        raise UserError(
            f"--ckpt_path {path}: holds weights without the state of an optimiser, so that no training can "
            f"go on from it; start a new one from these weights with `finetune --ckpt_path {path}`"
        )
    if not all(type(content.get(key)) is int for key in ("epoch", "global_step")):
        raise UserError(f"--ckpt_path {path}: does not say how far its training was; take another of the run")
    return dict(content)


def is_full_checkpoint(path: str | Path) -> bool:
    """Whether a file is a checkpoint to go on from; False: it is `unet_voc.pth`, weights to start with.

    Raises:
        UserError: If it is neither.
    """
    content = read_tensors(path, mapped=True)
    if isinstance(content, dict) and "description" in content and "pytorch-lightning_version" not in content:
        described(Path(path), content)
        return False
    read_checkpoint(path)
    return True


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
