"""The folder that one command writes into, and no other."""

from pathlib import Path
from typing import Any

from vocseg.errors import Interrupted, Stopped
from vocseg.runs.folder import claim_folder, clear_dead, drop_unused_folder, lock_folder
from vocseg.runs.resumption import Resumed


class OwnFolder:
    """A new folder, or that of the run that goes on.

    Attributes:
        resumed: The run that goes on; None: a new one.
        path: The folder; None: there is none yet, or the command keeps nothing, or another process claims it.
    """

    def __init__(self, resumed: Resumed | None) -> None:
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
        self.path = claim_folder(root, verb) if self.resumed is None else self.resumed.folder
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
