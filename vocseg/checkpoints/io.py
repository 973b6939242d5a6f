"""Atomic checkpoint files: writing, reading, choosing the newest valid one."""

import contextlib
import os
import shutil
from collections.abc import Iterator
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

STATE_KEY = "vocseg_run"  # state for resume that Lightning does not save
# Attributes of ModelCheckpoint. By the step it saves once where several validations follow one step.
_UNSAVED = (
    "current_score",
    "_last_global_step_saved",
    "_last_checkpoint_saved",
    "_defer_save_until_validation",
)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoint plugin that writes atomically and reads safely, with checksums."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint atomically. An existing file is unchanged by an error."""
        write_tensors(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint into CPU memory. `weights_only` is always on.

        Raises:
            UserError: If it is a URL, missing, damaged, or not a Lightning checkpoint.
        """
        content = read_tensors(path)
        if not isinstance(content, dict) or "pytorch-lightning_version" not in content:
            raise UserError(f"--ckpt_path {path}: is not a Lightning checkpoint. Give a run's .ckpt.")
        return content


def with_atomic_checkpoints(plugins: Any) -> list[Any]:
    """Append `AtomicCheckpointIO` to the trainer's plugins, of which none may be a checkpoint plugin."""
    others = [] if plugins is None else list(plugins) if isinstance(plugins, list | tuple) else [plugins]
    if own := next((each for each in others if isinstance(each, CheckpointIO)), None):
        raise UserError(
            f"--trainer.plugins {type(own).__name__}: checkpoints are written atomically and read safely "
            "already. Leave it out."
        )
    return [*others, AtomicCheckpointIO()]


def newest_valid_checkpoint(folder: Path) -> tuple[Path, list[str]]:
    """Return the valid checkpoint of a run with the most steps, and a sentence for each invalid one.

    Checkpoints of a user's callback may not allow an exact resume. They are used only if there is no other.

    Raises:
        UserError: If there is none.
    """
    # File times are not used, as they change when files are copied.
    valid: list[tuple[tuple[bool, int, int, bool, bool], Path]] = []
    errors: list[str] = []
    for path in sorted(folder.glob("*.ckpt")):
        try:
            content = read_checkpoint(path)
        except UserError as error:
            errors.append(error.sentence.removeprefix("--ckpt_path "))
        else:
            exact = bool(content.get(STATE_KEY, {}).get("exact"))
            tie_break = path.name == "last.ckpt", path.name != "best.ckpt"
            valid.append(((exact, content["epoch"], content["global_step"], *tie_break), path))
    if not valid:
        why = "; ".join(errors) or ("it has no .ckpt" if folder.is_dir() else "there is no such folder")
        raise UserError(f"nothing to resume in {folder}: {why}")
    (_, epoch, step, *_), path = max(valid)
    used = f"using {path.name} (epoch {epoch + 1}, step {step}) instead"
    return path, [f"{error}: {used}" for error in errors]


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this package that training can resume. Tensors are memory-mapped.

    Raises:
        UserError: If it is missing, damaged, of another program, or has no optimizer state.
    """
    content = read_tensors(path, mapped=True)
    described(Path(path), content)
    if "pytorch-lightning_version" not in content or not content.get("optimizer_states"):
        raise UserError(
            f"--ckpt_path {path}: contains weights without optimizer state, which cannot be resumed. Start a "
            f"new training from them with `finetune --ckpt_path {path}`."
        )
    if not all(type(content.get(key)) is int for key in ("epoch", "global_step")):
        raise UserError(f"--ckpt_path {path}: has no epoch or step. Use another checkpoint of the run.")
    return dict(content)


def is_full_checkpoint(path: str | Path) -> bool:
    """Return whether a file is a checkpoint that can be resumed, rather than weights (`unet_voc.pth`)."""
    content = read_tensors(path, mapped=True)
    if isinstance(content, dict) and "description" in content and "pytorch-lightning_version" not in content:
        described(Path(path), content)
        return False
    read_checkpoint(path)
    return True


def validated(trainer: Trainer, batch_idx: int) -> bool:
    """Return whether a validation ended just before a batch, as Lightning decides it on resume."""
    every, epochs = trainer.val_check_batch, trainer.check_val_every_n_epoch
    due = epochs is None or (trainer.current_epoch + 1) % epochs == 0
    done = trainer.fit_loop.total_batch_idx if epochs is None else batch_idx
    return trainer.enable_validation and due and isinstance(every, int) and done % every == 0


def window_closed(trainer: Trainer, batches: int) -> bool:
    """Return whether no gradient accumulation is pending after so many batches of the epoch."""
    return batches % trainer.accumulate_grad_batches == 0 or batches == trainer.num_training_batches


@contextlib.contextmanager
def own_weights(trainer: Trainer, place: Place) -> Iterator[None]:
    """Swap the trained weights in during a validation, which uses averaged weights."""
    averaging = [each for each in trainer.callbacks if isinstance(each, WeightAveraging)]  # type: ignore[attr-defined]
    averaging = averaging if place == "validation" else []
    for each in averaging:
        each.on_validation_epoch_end(trainer, trainer.lightning_module)
    yield
    for each in averaging:
        each.on_validation_epoch_start(trainer, trainer.lightning_module)


def add_unsaved_states(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Add to the states of ModelCheckpoint callbacks what Lightning does not save, in place."""
    for each, state in _model_checkpoints(trainer, checkpoint):
        state |= {name: getattr(each, name) for name in _UNSAVED}


def restore_unsaved_states(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Restore what `add_unsaved_states` saved. Paths in the checkpoint are adapted to a moved run."""
    # Lightning drops the best scores if the folder's name differs, and does not load the newest score.
    for each, state in _model_checkpoints(trainer, checkpoint):
        state |= _renamed(state, str(state["dirpath"]), str(each.dirpath))
        for name in _UNSAVED:
            setattr(each, name, state.get(name, getattr(each, name)))


def _model_checkpoints(
    trainer: Trainer, checkpoint: dict[str, Any]
) -> Iterator[tuple[ModelCheckpoint, dict[str, Any]]]:
    states = checkpoint["callbacks"]
    for each in trainer.checkpoint_callbacks:
        if isinstance(each, ModelCheckpoint) and each.state_key in states:
            yield each, states[each.state_key]


def _renamed(value: Any, old: str, new: str) -> Any:
    """Replace the folder in all paths of a nested state."""
    if isinstance(value, dict):
        return {_renamed(key, old, new): _renamed(each, old, new) for key, each in value.items()}
    is_inside = isinstance(value, str) and (value == old or value.startswith(f"{old}{os.sep}"))
    return new + value[len(old) :] if is_inside else value


def share(path: Path, other: Path) -> None:
    """Give a file a second name by a hard link, or by a copy where links are not supported."""
    part = other.with_name(f".{other.name}.part")
    part.unlink(missing_ok=True)
    if other.exists() and path.samefile(other):  # a rename would do nothing, and leave the part
        return
    try:
        os.link(path, part)
    except OSError:
        shutil.copyfile(path, part)
    os.replace(part, other)
