"""Checkpoint for exact resume, written at intervals and on signals."""

import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from jsonargparse.typing import NonNegativeFloat, PositiveInt
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, distributed

from vocseg.callbacks.best_weights import BestWeights
from vocseg.checkpoints.compatibility import Allowance, check_compatible, run_fingerprint
from vocseg.checkpoints.io import STATE_KEY, own_weights, relocate, share, validated, window_closed
from vocseg.checkpoints.run_dir import gone, mark
from vocseg.checkpoints.slurm import requeue
from vocseg.errors import Interrupted, Stopped
from vocseg.metrics.score_state import plain_images, plain_score
from vocseg.models.lightning_loops import Place, settle
from vocseg.models.module import SegmentationModule
from vocseg.utils.signals import SIGNAL_GUARD, SIGNALS


class StopRequest:
    """What is asked of a run from outside, or by the clock, and agreed on by all processes.

    A handler only notes its signal: whatever it did else would happen in the midst of a step, or in one
    process while the others wait for it in another place. A second signal ends the process at once.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._group: Any = None
        self._before: dict[int, Any] = {}

    def listen(self, world: int) -> None:
        """Start to note signals, and open a way to agree.

        Args:
            world: Number of processes; each must call this.
        """
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                before = signal.signal(number, self._note)
                self._before.setdefault(number, before)
        if world > 1 and self._group is None:
            self._group = distributed.new_group(backend="gloo")  # flags lie in host memory: no GPU waits

    def close(self) -> None:
        """Give the signals back."""
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._before.items():
                if signal.getsignal(number) == self._note:
                    signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}

    def all_reduce(self, save: bool) -> tuple[int, bool]:
        """The signal that any process got (0: none), and whether any wants to save; every process must call.

        Args:
            save: Whether this process wants to save.
        """
        if self._group is None:
            return self.signal, save
        wishes = torch.tensor([self.signal, int(save)])
        distributed.all_reduce(wishes, op=distributed.ReduceOp.MAX, group=self._group)
        return int(wishes[0]), bool(wishes[1])

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            os._exit(128 + number)
        self.signal = number


def stopped(number: int, saved: str) -> Stopped:
    """What ends a run after a signal.

    Args:
        number: The signal's.
        saved: What was saved where, and how to go on.
    """
    return Stopped(f"stopped by {signal.Signals(number).name}; {saved}", 128 + number)


class LastCheckpoint(Callback):
    """Keeps the newest state as `last.ckpt`, from which `resume` goes on exactly, also after a signal.

    It must come first of the callbacks: what the others do at the same place is done once more on going on.

    Args:
        every_n_epochs: Epochs between two checkpoints.
        every_minutes: Minutes between two within an epoch; 0: none within an epoch.
        allow_mismatch: Settings that may differ from the checkpoint's on resume, which is not exact then:
            data, batch, devices, seed, network, loss, optimizer, schedule, precision, threads, versions, all.
    """

    saves_best = True  # what `BestWeights` judges to be best

    def __init__(
        self,
        every_n_epochs: PositiveInt = 1,
        every_minutes: NonNegativeFloat = 5.0,
        allow_mismatch: Sequence[Allowance] = (),
    ) -> None:
        self.every_n_epochs, self.every_minutes, self.allow = (
            int(every_n_epochs),
            every_minutes,
            allow_mismatch,
        )
        self.path: Path | None = None  # None: nothing is kept
        self._wishes = StopRequest()
        self._saved_at = time.monotonic()
        self._conditions: dict[str, Any] = {}
        self._finished = self._compiling = False
        self._saving: tuple[Place, bool] | None = None  # where, and after a validation; None: others save
        self._restored: dict[str, Any] = {}  # of the checkpoint that the run resumes from

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Come first."""
        folder = trainer.log_dir  # on every process: it is broadcast
        kept = folder is not None and stage == "fit" and not trainer.fast_dev_run  # type: ignore[attr-defined]
        self.path = Path(folder) / "last.ckpt" if kept and folder is not None else None
        if stage == "fit":
            self._conditions = run_fingerprint(trainer, pl_module)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """See that the run can go on exactly.

        Raises:
            UserError: If not.
        """
        self._restored = checkpoint.get(STATE_KEY, {})
        then = self._restored.get("run_fingerprint", {})
        for each in check_compatible(then, self._conditions, self.allow):
            rank_zero_warn(f"vocseg: the run was made with {each}: it is resumed, but not exactly")
        if getattr(trainer, "resumed", None) is not None:
            relocate(trainer, checkpoint)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hear signals."""
        self._wishes.listen(trainer.world_size)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hear signals; while the first step is compiled, for minutes, there is nothing new to save."""
        self._restore(trainer)
        self._wishes.listen(trainer.world_size)
        self._saved_at = time.monotonic()
        self._compiling = (
            isinstance(pl_module, SegmentationModule) and pl_module.network.performance.use_compile
        )
        if self._compiling:
            SIGNAL_GUARD.listen()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The first step is compiled and done: from now on a signal saves."""
        if self._compiling:
            self._compiling = False
            self._wishes.listen(trainer.world_size)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what the last epoch led to."""
        # With --trainer.max_steps Lightning takes this epoch for one that was interrupted, and skips it.
        trainer.fit_loop.epoch_loop.restarting = False
        done, best = trainer.current_epoch, _best(trainer)
        due = not done % self.every_n_epochs or (best is not None and best.new)
        self._boundary(trainer, "epoch", done > 0 and due)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save now and then, between two optimizer steps."""
        if batch_idx and window_closed(trainer, batch_idx):
            waited = time.monotonic() - self._saved_at
            due = 0 < self.every_minutes * 60 < waited
            self._boundary(trainer, "batch", due, validated(trainer, batch_idx))

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop if that is asked for: resuming starts this validation anew.

        Not within an accumulation window, whose gradients would be lost, nor where training is over but for
        this validation, as Lightning would leave it out on resume: the signal waits for the next boundary.
        """
        if trainer.state.fn != "fit":
            return
        over = trainer.should_stop or 0 <= trainer.max_steps <= trainer.global_step
        closed = window_closed(trainer, trainer.fit_loop.batch_idx + 1)
        if trainer.sanity_checking or (closed and not over):
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
        place, after_validation = self._saving or (_place(trainer), False)
        settle(checkpoint["loops"], place, after_validation)
        folder = None if self.path is None else self.path.parent
        checkpoint[STATE_KEY] = {
            "run_fingerprint": self._conditions,
            "exact": self._saving is not None,
            "verb": getattr(trainer, "verb", "fit"),
            "before": _before(trainer),
            "job": getattr(trainer, "job", None),
            "finished": self._finished,
            "epoch": trainer.current_epoch,
            "is_best": bool((best := _best(trainer)) and best.new),
            "metrics": _metrics(trainer),
            "should_stop": trainer.should_stop,
            "curves": mark(trainer.loggers, folder) if folder and trainer.is_global_zero else {},
        }

    def _restore(self, trainer: Trainer) -> None:
        """Restore what Lightning leaves out of a checkpoint: metrics of past epochs, and the wish to stop."""
        metrics = self._restored.get("metrics", {}).items()
        trainer.callback_metrics.update(
            {name: value.to(trainer.strategy.root_device) for name, value in metrics}
        )
        if not self._restored.get("finished"):  # else the run trains on, for more epochs than it was to
            trainer.should_stop = trainer.should_stop or self._restored.get("should_stop", False)
        # A validation that starts anew counts its first batch once.
        trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset_on_restart()
        self._restored = {}

    def _boundary(self, trainer: Trainer, place: Place, due: bool, after_validation: bool = False) -> None:
        number, due = self._wishes.all_reduce(due)
        if number and trainer.sanity_checking:
            raise Interrupted(number)  # nothing was trained yet
        if due or number:
            self._save(trainer, place, after_validation)
        if number:
            requeued = requeue(trainer, number) if self.path is not None else ""
            raise stopped(number, self._how_to_go_on(trainer) + requeued)

    def _save(self, trainer: Trainer, place: Place, after_validation: bool = False) -> None:
        if self.path is None:
            return
        if trainer.is_global_zero and not self.path.parent.is_dir():
            raise gone(self.path.parent)  # or a half of a run would be written in its place
        self._saving = place, after_validation
        with own_weights(trainer, place):
            trainer.save_checkpoint(self.path, weights_only=False)
        self._saving = None
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


def _place(trainer: Trainer) -> Place:
    """Where training is when a user's own callback saves, which may be at any hook."""
    if trainer.validating or trainer.sanity_checking:
        return "validation"
    epochs = trainer.fit_loop.epoch_progress.current
    return "epoch" if epochs.started == epochs.processed else "batch"  # type: ignore[attr-defined]


def _metrics(trainer: Trainer) -> dict[str, Tensor]:
    """The newest logged metrics, on the CPU; speeds differ from one run to the next."""
    metrics = trainer.callback_metrics.items()
    return {name: value.detach().cpu() for name, value in metrics if not name.startswith("speed/")}


def _before(trainer: Trainer) -> list[dict[str, Any] | None]:
    """Scores of the weights that `finetune` started from."""
    score, images = getattr(trainer, "before", (None, None))
    return [plain_score(score), plain_images(images)]


def _best(trainer: Trainer) -> BestWeights | None:
    return next((each for each in trainer.callbacks if isinstance(each, BestWeights)), None)  # type: ignore[attr-defined]
