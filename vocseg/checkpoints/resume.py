"""Choice of the run and the checkpoint to resume."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_only

from vocseg.checkpoints.io import STATE_KEY, newest_valid_checkpoint, read_checkpoint, share
from vocseg.checkpoints.run_dir import (
    LOGS,
    clear_dead,
    create_run_dir,
    drop_unused_folder,
    lock_folder,
    rewind,
)
from vocseg.checkpoints.slurm import slurm_job
from vocseg.errors import Interrupted, Stopped, UserError
from vocseg.metrics.per_image import PerImageConfusion
from vocseg.metrics.score import Score
from vocseg.metrics.score_state import images_of, score_of

Scores = tuple[Score | None, PerImageConfusion | None]  # of all images together, and image by image
COMPARED = "image_scores_network.npz"  # the last file that `finetune` writes


@dataclass(frozen=True)
class ResumeTarget:
    """A run that goes on.

    Attributes:
        folder: Its folder.
        checkpoint: The file from which.
        curves: How far its files were then.
        verb: `fit` or `finetune`, which began it.
    """

    folder: Path
    checkpoint: Path
    curves: dict[str, int]
    verb: str = "fit"

    def rewind(self) -> None:
        """Take back what came after the checkpoint."""
        rewind(self.folder, self.curves)


def find_latest_run(config: Namespace) -> ResumeTarget:
    """The run that `--ckpt_path last` means: the one whose config.yaml is given, else the newest.

    Args:
        config: The flags of the verb.

    Raises:
        UserError: If there is none, or there are several.
    """
    given = {Path(str(path)).parent for path in config.get("config") or [] if _of_run(Path(str(path)))}
    if len(given) > 1:
        raise UserError(f"--ckpt_path last: {len(given)} runs are given by --config; give one")
    if given:
        return find_checkpoint(given.pop())
    root = Path(config["trainer"]["default_root_dir"] or ".") / LOGS / "fit"
    found = (path.parent for path in root.glob("version_*/last.ckpt"))
    newest = max(found, key=lambda folder: (folder / "last.ckpt").stat().st_mtime, default=None)
    if newest is None:
        raise UserError(f"--ckpt_path last: there is no run with a last.ckpt in {root}")
    if getattr(rank_zero_only, "rank", 0) == 0:
        print(f"resuming the newest run: {newest}")
    return find_checkpoint(newest)


def _of_run(config: Path) -> bool:
    """Whether a configuration is a run's: by its name, or by what lies beside it, wherever the run is now."""
    return config.name == "config.yaml" or any(config.parent.glob("*.ckpt"))


def requeued_run(root: Path, verb: str, words: Sequence[str]) -> ResumeTarget | None:
    """The run that the same command began before SLURM requeued its job; None: there is none.

    Args:
        root: Folder of `lightning_logs`.
        verb: `fit` or `finetune`.
        words: The command.

    Raises:
        Stopped: With exit code 0, if that run is finished.
    """
    job = slurm_job(words)
    if job is None or not int(os.environ.get("SLURM_RESTART_COUNT") or 0):
        return None
    paths = (root / LOGS / verb).glob("version_*/last.ckpt")
    for path in sorted(paths, key=lambda each: each.stat().st_mtime, reverse=True):
        try:
            state = read_checkpoint(path).get(STATE_KEY, {})
        except UserError:  # damaged: `find_checkpoint` takes another of the run, but whose it is, is unknown
            continue
        if state.get("job") != job:
            continue
        if state.get("finished"):
            raise Stopped(f"job {job['id']} was requeued, and {path.parent} is finished already", 0)
        return find_checkpoint(path.parent)
    return None


def find_checkpoint(folder: Path) -> ResumeTarget:
    """The newest checkpoint of a run.

    Raises:
        UserError: If there is none, or the run is finished.
    """
    path, faults = newest_valid_checkpoint(folder)
    main = getattr(rank_zero_only, "rank", 0) == 0
    for fault in faults if main else ():
        print(f"vocseg: {fault}", file=sys.stderr)
    state: dict[str, Any] = read_checkpoint(path).get(STATE_KEY, {})
    if main and state.get("is_best") and path.name == "last.ckpt":  # killed before it got its second name
        share(path, folder / "best.ckpt")
    verb = state.get("verb", "fit")
    # A kill between training and comparing leaves a finished training without its comparison.
    compared = verb != "finetune" or (folder / COMPARED).is_file()
    if state.get("finished") and compared:
        raise UserError(
            f"nothing to resume in {folder}: it is finished, after epoch {state['epoch']}; to train on, use "
            f"finetune, or fit --ckpt_path {path} --trainer.max_epochs N"
        )
    return ResumeTarget(folder, path, state.get("curves", {}), verb)


def is_finished(checkpoint: Path) -> bool:
    """Whether a checkpoint is that of the end of a run."""
    return bool(read_checkpoint(checkpoint).get(STATE_KEY, {}).get("finished"))


def scores_before(checkpoint: Path) -> Scores:
    """What the weights scored from which a resumed `finetune` started, as its checkpoint holds it."""
    score, images = read_checkpoint(checkpoint).get(STATE_KEY, {}).get("before", (None, None))
    return score_of(score), images_of(images)


class RunDirectory:
    """A new folder, or that of the run that goes on.

    Attributes:
        resumed: The run that goes on; None: a new one.
        path: The folder; None: there is none yet, or the command keeps nothing, or another process claims it.
    """

    def __init__(self, resumed: ResumeTarget | None) -> None:
        """Nothing is claimed yet.

        Args:
            resumed: As above.
        """
        self.resumed = resumed
        self.path: Path | None = None
        self._lock: Any = None

    def claim(self, root: Path, verb: str) -> None:
        """Have the folder until `release`; of a resumed run, take back what came after its checkpoint.

        Args:
            root: Where folders of runs are.
            verb: fit, finetune, validate, test or predict.

        Raises:
            UserError: If it cannot be made, or another process writes into it.
        """
        self.path = create_run_dir(root, verb) if self.resumed is None else self.resumed.folder
        self._lock = lock_folder(self.path)
        clear_dead(self.path)
        if self.resumed is not None:
            self.resumed.rewind()

    def drop_unused(self, besides: str = "") -> None:
        """Remove a new folder in which nothing was done.

        Args:
            besides: A file that may be there all the same.
        """
        if self.path is not None and self.resumed is None:
            drop_unused_folder(self.path, besides)

    def stopped(self, stop: Interrupted, verb: str, trained: bool) -> Stopped:
        """What ends a command after a signal before training, after it, or while images are scored.

        Args:
            stop: The signal.
            verb: As of `claim`.
            trained: Whether a step was done.
        """
        self.drop_unused("" if trained else "config.yaml")
        if self.resumed is not None:
            what = f"; the run is as it was: python -m vocseg resume {self.resumed.folder} goes on with it"
        elif verb in ("fit", "finetune") and not trained:
            what = " before training began; there is nothing to resume"
        elif self.path is not None and self.path.is_dir():
            what = f"; what {self.path} holds is whole"
        else:
            what = "; nothing was kept: start it again"
        return Stopped(f"stopped by {stop.name}{what}", stop.exit_code)

    def release(self) -> None:
        """Let others write into it."""
        if self._lock is not None:
            self._lock.release()
