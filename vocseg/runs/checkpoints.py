"""What a run leaves to go on from: `last.ckpt`, its newest state, and `best.ckpt`, that of its best epoch."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse.typing import NonNegativeFloat, PositiveInt
from lightning.pytorch import Callback, LightningModule, Trainer

from vocseg.errors import Interrupted
from vocseg.interruption import INTERRUPTION
from vocseg.model import SegmentationModule
from vocseg.runs.best import BestWeights, description_of
from vocseg.runs.conditions import Condition, check_conditions, conditions
from vocseg.runs.curves import mark
from vocseg.runs.folder import gone
from vocseg.runs.loops import Place, settle
from vocseg.runs.saving import own_weights, share, validated
from vocseg.runs.stopping import Wishes, stopped
from vocseg.runs.weights import DESCRIPTION_KEY

STATE_KEY = "vocseg_run"  # where a checkpoint says what going on needs besides Lightning's own


class LastCheckpoint(Callback):
    """Keeps the newest state as `last.ckpt`, from which `resume` goes on exactly, also after a signal.

    It must come first of the callbacks: what the others do at the same place is done once more on going on.

    Args:
        every_n_epochs: Epochs between two checkpoints.
        every_minutes: Minutes between two within an epoch; 0: none within an epoch.
        allow: Conditions of a checkpoint that may differ when a run goes on from it, which is no longer exact
            then: data, batch, devices, seed, network, loss, optimizer, schedule, precision, threads,
            versions.
    """

    def __init__(
        self,
        every_n_epochs: PositiveInt = 1,
        every_minutes: NonNegativeFloat = 5.0,
        allow: Sequence[Condition] = (),
    ) -> None:
        self.every_n_epochs, self.every_minutes, self.allow = int(every_n_epochs), every_minutes, allow
        self.path: Path | None = None  # None: nothing is kept
        self._wishes = Wishes()
        self._saved_at = time.monotonic()
        self._conditions: dict[str, Any] = {}
        self._finished = self._compiling = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Come first."""
        folder = trainer.log_dir  # on every process: it is broadcast
        kept = folder is not None and stage == "fit" and not trainer.fast_dev_run  # type: ignore[attr-defined]
        self.path = Path(folder) / "last.ckpt" if kept and folder is not None else None
        if stage == "fit":
            self._conditions = conditions(trainer, pl_module)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """See that the run can go on exactly.

        Raises:
            UserError: If not.
        """
        then = checkpoint.get(STATE_KEY, {}).get("conditions", {})
        check_conditions(then, self._conditions, self.allow)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hear signals."""
        self._wishes.listen(trainer.world_size)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hear signals; while the first step is compiled, for minutes, there is nothing new to save."""
        self._wishes.listen(trainer.world_size)
        self._saved_at = time.monotonic()
        self._compiling = isinstance(pl_module, SegmentationModule) and pl_module.network.execution.compiles
        if self._compiling:
            INTERRUPTION.listen()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The first step is compiled and done: from now on a signal saves."""
        if self._compiling:
            self._compiling = False
            self._wishes.listen(trainer.world_size)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what the last epoch led to."""
        done, best = trainer.current_epoch, _best(trainer)
        due = not done % self.every_n_epochs or (best is not None and best.new)
        self._boundary(trainer, "epoch", done > 0 and due)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save now and then, between two steps."""
        if (
            batch_idx
            and not batch_idx % trainer.accumulate_grad_batches
            and not validated(trainer, batch_idx)
        ):
            waited = time.monotonic() - self._saved_at
            self._boundary(trainer, "batch", 0 < self.every_minutes * 60 < waited)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop if that is asked for: going on starts with this validation."""
        if trainer.state.fn == "fit":
            self._boundary(trainer, "validation", False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end."""
        self._finished = True
        self._save(trainer, "epoch")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Hear signals no longer."""
        self._wishes.close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Hear signals no longer."""
        self._wishes.close()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let any checkpoint say what it is, and put it so that Lightning goes on from it exactly."""
        if trainer.state.fn != "fit":
            return
        settle(checkpoint["loops"], self._place(trainer))
        checkpoint[DESCRIPTION_KEY] = description_of(trainer, pl_module)
        folder = None if self.path is None else self.path.parent
        checkpoint[STATE_KEY] = {
            "conditions": self._conditions,
            "finished": self._finished,
            "epoch": trainer.current_epoch,
            "is_best": bool((best := _best(trainer)) and best.new),
            "curves": mark(trainer.loggers, folder) if folder and trainer.is_global_zero else {},
        }

    def _place(self, trainer: Trainer) -> Place:
        """Where training is; a user's own callback may save at any hook."""
        if trainer.validating or trainer.sanity_checking:
            return "validation"
        return "batch" if trainer.datamodule.position and trainer.datamodule.position.batch else "epoch"  # type: ignore[attr-defined]

    def _boundary(self, trainer: Trainer, place: Place, due: bool) -> None:
        number, due = self._wishes.agreed(due)
        if number and trainer.sanity_checking:
            raise Interrupted(number)  # nothing was trained yet
        if due or number:
            self._save(trainer, place)
        if number:
            raise stopped(number, self._how_to_go_on(trainer))

    def _save(self, trainer: Trainer, place: Place) -> None:
        if self.path is None:
            return
        if trainer.is_global_zero and not self.path.parent.is_dir():
            raise gone(self.path.parent)  # or a half of a run would be written in its place
        with own_weights(trainer, place):
            trainer.save_checkpoint(self.path, weights_only=False)
        self._saved_at = time.monotonic()
        best = _best(trainer)
        if place == "epoch" and best is not None and best.new:
            best.new = False
            if trainer.is_global_zero:
                share(self.path, self.path.with_name("best.ckpt"))

    def _how_to_go_on(self, trainer: Trainer) -> str:
        if self.path is None:
            return "nothing was saved, as this run keeps nothing"
        where = f"epoch {trainer.current_epoch + 1}, {trainer.global_step:,} steps done"
        return f"saved {self.path} ({where}); go on with: python -m vocseg resume {self.path.parent}"


def _best(trainer: Trainer) -> BestWeights | None:
    return next((each for each in trainer.callbacks if isinstance(each, BestWeights)), None)  # type: ignore[attr-defined]
