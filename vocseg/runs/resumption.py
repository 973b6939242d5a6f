"""The run that is gone on with, and from which of its checkpoints."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_only

from vocseg.errors import UserError
from vocseg.runs.checkpoints import STATE_KEY
from vocseg.runs.curves import rewind
from vocseg.runs.folder import LOGS
from vocseg.runs.going_on import newest_whole_checkpoint, read_checkpoint
from vocseg.runs.saving import share


@dataclass(frozen=True)
class Resumed:
    """A run that goes on.

    Attributes:
        folder: Its folder.
        checkpoint: The file from which.
        curves: How far its curves were then.
    """

    folder: Path
    checkpoint: Path
    curves: dict[str, int]

    def rewind(self) -> None:
        """Take back what came after the checkpoint."""
        rewind(self.folder, self.curves)


def newest_run(config: Namespace) -> Resumed:
    """The run that `--ckpt_path last` means: the one whose config.yaml is given, else the newest.

    Args:
        config: The flags of the verb.

    Raises:
        UserError: If there is none.
    """
    given = [Path(str(path)).parent for path in config.get("config") or []]
    runs = [folder for folder in given if folder.name.startswith("version_")]
    if not runs:
        root = Path(config["trainer"]["default_root_dir"] or ".") / LOGS / "fit"
        found = (path.parent for path in root.glob("version_*/last.ckpt"))
        runs = sorted(found, key=lambda folder: (folder / "last.ckpt").stat().st_mtime)
        if not runs:
            raise UserError(f"--ckpt_path last: there is no run with a last.ckpt in {root}")
    return find_resumed(runs[-1])


def find_resumed(folder: Path) -> Resumed:
    """The newest checkpoint of a run.

    Raises:
        UserError: If there is none, or the run is finished.
    """
    path, faults = newest_whole_checkpoint(folder)
    main = getattr(rank_zero_only, "rank", 0) == 0
    for fault in faults if main else ():
        print(f"vocseg: {fault}", file=sys.stderr)
    state: dict[str, Any] = read_checkpoint(path).get(STATE_KEY, {})
    if main and state.get("is_best") and path.name == "last.ckpt":  # killed before it got its second name
        share(path, folder / "best.ckpt")
    if state.get("finished"):
        raise UserError(
            f"nothing to resume in {folder}: it is finished, after epoch {state['epoch']}; to train on, use "
            f"finetune, or fit --ckpt_path {path} --trainer.max_epochs N"
        )
    return Resumed(folder, path, state.get("curves", {}))
