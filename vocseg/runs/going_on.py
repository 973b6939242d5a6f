"""From which checkpoint a training can go on."""

from pathlib import Path
from typing import Any

from vocseg.errors import UserError
from vocseg.runs.checkpoints import STATE_KEY
from vocseg.runs.recognition import described
from vocseg.tensor_files import read_tensors

_Place = tuple[bool, int, int, bool, bool]  # exact, epoch, step, last.ckpt first, best.ckpt last


def newest_whole_checkpoint(folder: Path) -> tuple[Path, list[str]]:
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


def holds_training(path: str | Path) -> bool:
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
