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


def find_latest_run(config: Namespace) -> ResumeTarget:
    """Find the run of `--ckpt_path last`: the one whose config.yaml is given, else the newest.

    Raises:
        UserError: If there is none, or several are given.
    """

    def of_run(path: Path) -> bool:  # the run directory may have moved or been renamed
        return path.name == "config.yaml" or any(path.parent.glob("*.ckpt"))

    given = {path.parent for each in config.get("config") or [] if of_run(path := Path(str(each)))}
    if len(given) > 1:
        raise UserError(f"--ckpt_path last: {len(given)} runs are given by --config. Give one.")
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


def requeued_run(root: Path, verb: str, words: Sequence[str]) -> ResumeTarget | None:
    """Find the run that the same command started before SLURM requeued its job.

    Args:
        root: Folder of `lightning_logs`.
        verb: `fit` or `finetune`.
        words: The command line.

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

    def find_resumed(self, verb: str, config: Namespace, words: Sequence[str]) -> None:
        """Find the run of `fit --ckpt_path last`, or of a job that SLURM requeued.

        Args:
            verb: `fit` or `finetune`.
            config: Its flags. `ckpt_path` becomes None if a run is resumed.
            words: The command line.

        Raises:
            UserError: If there is none, or it is of another verb.
            Stopped: See `requeued_run`.
        """
        if verb == "fit" and config["ckpt_path"] == "last":
            self.resumed = find_latest_run(config)
            if self.resumed.verb != verb:
                folder = self.resumed.folder
                raise UserError(
                    f"{verb} --ckpt_path last: {folder} is a run of {self.resumed.verb}. Resume it with: "
                    f"python -m vocseg resume {folder}"
                )
        elif self.resumed is None:
            self.resumed = requeued_run(Path(config["trainer"]["default_root_dir"] or "."), verb, words)
        if verb == "fit" and self.resumed is not None:
            config["ckpt_path"] = None  # the weights that the run started from are not needed any more

    def claim(self, root: Path, verb: str) -> None:
        """Create the directory and lock it until `release`. A resumed run is rewound to its checkpoint.

        Args:
            root: Folder of `lightning_logs`.
            verb: fit, finetune, validate, test or predict.

        Raises:
            UserError: If it cannot be created, or another process writes into it.
        """
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
        """Create the error for a signal outside of the training loop.

        Args:
            stop: The signal.
            verb: As in `claim`.
            trained: Whether a step was done.
        """
        self.drop_unused("" if trained else "config.yaml")
        if self.resumed is not None:
            what = f"; the run is unchanged. Resume with: python -m vocseg resume {self.resumed.folder}"
        elif verb in ("fit", "finetune") and not trained:
            what = " before training began; there is nothing to resume"
        elif self.path is not None and self.path.is_dir():
            what = f"; all files in {self.path} are complete"
        else:
            what = "; nothing was saved. Start it again"
        return Stopped(f"stopped by {stop.name}{what}", stop.exit_code)

    def release(self) -> None:
        """Unlock the directory."""
        if self._lock is not None:
            self._lock.release()
