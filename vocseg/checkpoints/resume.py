"""Choice of the run and the checkpoint to resume."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from vocseg.metrics.score import Score, images_of, score_of

Scores = tuple[Score | None, PerImageConfusion | None]  # of the split, and of each image
COMPARED = "per_image_confusion_network.npz"  # last file that `finetune` writes


@dataclass(frozen=True)
class ResumeTarget:
    """A run to resume.

    Attributes:
        folder: Run directory.
        checkpoint: Checkpoint to resume from.
        curves: Sizes of the run's files at the checkpoint, from `mark`.
        verb: `fit` or `finetune`.
    """

    folder: Path
    checkpoint: Path
    curves: dict[str, int]
    verb: str = "fit"


def requeued_run(root: Path, verb: str, words: Sequence[str]) -> ResumeTarget | None:
    """Find the run that the same command line started before SLURM requeued its job.

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
        except UserError:  # damaged, so that the job of this run is unknown
            continue
        if state.get("job") != job:
            continue
        if state.get("finished"):
            raise Stopped(f"job {job['id']} was requeued, and {path.parent} is finished already", 0)
        return find_checkpoint(path.parent)
    return None


def find_checkpoint(folder: Path) -> ResumeTarget:
    """Find the newest valid checkpoint of a run.

    Raises:
        UserError: If there is none, or the run is finished.
    """
    path, errors = newest_valid_checkpoint(folder)
    main = getattr(rank_zero_only, "rank", 0) == 0
    for error in errors if main else ():
        print(f"vocseg: {error}", file=sys.stderr)
    state: dict[str, Any] = read_checkpoint(path).get(STATE_KEY, {})
    if main and state.get("is_best") and path.name == "last.ckpt":  # killed before it got its second name
        share(path, folder / "best.ckpt")
    verb = state.get("verb", "fit")
    # A kill between training and comparing leaves a finished training without its comparison.
    compared = verb != "finetune" or (folder / COMPARED).is_file()
    if state.get("finished") and compared:
        raise UserError(
            f"nothing to resume in {folder}: it is finished, after epoch {state['epoch']}. To train longer, "
            f"use finetune, or fit --ckpt_path {path} --trainer.max_epochs N."
        )
    return ResumeTarget(folder, path, state.get("curves", {}), verb)


def is_finished(checkpoint: Path) -> bool:
    """Return whether a checkpoint was saved at the end of a run."""
    return bool(read_checkpoint(checkpoint).get(STATE_KEY, {}).get("finished"))


def scores_before(checkpoint: Path) -> Scores:
    """Return the scores before a `finetune` that is resumed, from its checkpoint."""
    score, images = read_checkpoint(checkpoint).get(STATE_KEY, {}).get("before", (None, None))
    return score_of(score), images_of(images)


class RunDirectory:
    """The directory of a new or resumed run.

    Attributes:
        resumed: Run to resume. None: a new one.
        path: The directory. None: not created yet, not needed, or created by another process.
    """

    def __init__(self, resumed: ResumeTarget | None) -> None:
        self.resumed = resumed
        self.path: Path | None = None
        self._lock: Any = None

    def claim(self, root: Path, verb: str) -> None:
        """Create the directory and lock it until `release`. A resumed run is rewound to its checkpoint."""
        self.path = create_run_dir(root, verb) if self.resumed is None else self.resumed.folder
        self._lock = lock_folder(self.path)
        clear_dead(self.path)
        if self.resumed is not None:
            rewind(self.resumed.folder, self.resumed.curves)

    def drop_unused(self, besides: str = "") -> None:
        """Remove a new directory without results (other than `besides`)."""
        if self.path is not None and self.resumed is None:
            drop_unused_folder(self.path, besides)

    def stopped(self, stop: Interrupted, verb: str, trained: bool) -> Stopped:
        """Create the error for a signal outside of the training loop. `trained`: a step was done."""
        self.drop_unused("" if trained else "config.yaml")
        what = "; nothing was saved. Start it again"
        if self.resumed is not None:
            what = f"; the run is unchanged. Resume with: python -m vocseg resume {self.resumed.folder}"
        elif verb in ("fit", "finetune") and not trained:
            what = " before training began; there is nothing to resume"
        elif self.path is not None and self.path.is_dir():
            what = f"; all files in {self.path} are complete"
        return Stopped(f"stopped by {stop.name}{what}", stop.exit_code)

    def release(self) -> None:
        """Unlock the directory."""
        if self._lock is not None:
            self._lock.release()
