"""How Lightning's checkpoints come to the disk and back: whole, sealed, and never as a program."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch.plugins import TorchCheckpointIO

from vocseg.errors import UserError
from vocseg.tensor_files import read_tensors, write_tensors


class WholeCheckpoints(TorchCheckpointIO):
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


def with_whole_checkpoints(plugins: Any) -> list[Any]:
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
    return [*others, WholeCheckpoints()]
