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

from vocseg.callbacks import find_callback
from vocseg.callbacks.best_weights import BestWeights
from vocseg.checkpoints.compatibility import Allowance, check_compatible, run_fingerprint
from vocseg.checkpoints.io import (
    STATE_KEY,
    add_unsaved_states,
    own_weights,
    restore_unsaved_states,
    share,
    validated,
    window_closed,
)
from vocseg.checkpoints.run_dir import mark, missing_run_dir
from vocseg.checkpoints.slurm import requeue
from vocseg.errors import Interrupted, Stopped
from vocseg.metrics.score import plain_images, plain_score
from vocseg.models.lightning_loops import Place, settle
from vocseg.utils.signals import SIGNALS


class StopRequest:
    """Signals and save requests, agreed on by all processes.

    The signal handler only stores the signal, which is handled between two steps. A second one exits at once.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._group: Any = None
        self._previous: dict[int, Any] = {}  # handlers

    def listen(self, world: int) -> None:
        """Install the handlers, and a group of `world` processes. All processes must call this."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                previous = signal.signal(number, self._store)
                self._previous.setdefault(number, previous)
        if world > 1 and self._group is None:
            self._group = distributed.new_group(backend="gloo")  # host memory, so that no GPU waits

    def close(self) -> None:
        """Restore the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._previous.items():
                if signal.getsignal(number) == self._store:
                    signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._previous = {}

    def all_reduce(self, save: bool) -> tuple[int, bool]:
        """Return the signal that any process received (0: none), and whether any requests a save.

        All processes must call this.
        """
        if self._group is None:
            return self.signal, save
        requests = torch.tensor([self.signal, int(save)])
        distributed.all_reduce(requests, op=distributed.ReduceOp.MAX, group=self._group)
        return int(requests[0]), bool(requests[1])

    def _store(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            os._exit(128 + number)
        self.signal = number


class LastCheckpoint(Callback):
    """Saves `last.ckpt` for exact resume: after epochs, at intervals and on signals.

    It must be the first callback: resuming repeats what the others do at the same hook.

    Args:
        every_n_epochs: Epochs between two checkpoints.
        every_minutes: Minutes between two within an epoch; 0: none within an epoch.
        allow_mismatch: Settings that may differ from the checkpoint's on resume, which is not exact then:
            data, batch, devices, seed, network, loss, optimizer, schedule, precision, threads, versions, all.
    """

    saves_best = True  # also the best epoch of `BestWeights`

    def __init__(
        self,
        every_n_epochs: PositiveInt = 1,
        every_minutes: NonNegativeFloat = 5.0,
        allow_mismatch: Sequence[Allowance] = (),
    ) -> None:
        self.every_n_epochs, self.every_minutes = int(every_n_epochs), every_minutes
        self.allow = allow_mismatch
        self.path: Path | None = None  # None: nothing is saved
        self._requests = StopRequest()
        self._saved_at = time.monotonic()
        self._conditions: dict[str, Any] = {}
        self._finished = False
        self._saving: tuple[Place, bool] | None = (
            None  # place, after a validation; None: another callback saves
        )
        self._restored: dict[str, Any] = {}  # of the checkpoint that the run resumes from

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Set the path of the checkpoint."""
        folder = trainer.log_dir  # on every process: it is broadcast
        self.path = None
        if folder is not None and stage == "fit" and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.path = Path(folder) / "last.ckpt"
        if stage == "fit":
            self._conditions = run_fingerprint(trainer, pl_module)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Raise a `UserError` unless the run can be resumed exactly."""
        self._restored = checkpoint.get(STATE_KEY, {})
        saved = self._restored.get("run_fingerprint", {})
        for each in check_compatible(saved, self._conditions, self.allow):
            rank_zero_warn(f"vocseg: the run is not resumed exactly: it was made with {each}")
        if getattr(trainer, "resumed", None) is not None:
            restore_unsaved_states(trainer, checkpoint)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the signal handlers."""
        self._requests.listen(trainer.world_size)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the signal handlers."""
        self._restore(trainer)
        self._requests.listen(trainer.world_size)
        self._saved_at = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the previous epoch if it is due or the best."""
        # With --trainer.max_steps Lightning takes this epoch for one that was interrupted, and skips it.
        trainer.fit_loop.epoch_loop.restarting = False
        done, best = trainer.current_epoch, find_callback(trainer, BestWeights)
        due = not done % self.every_n_epochs or (best is not None and best.new)
        self._boundary(trainer, "epoch", done > 0 and due)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save at intervals, between two optimizer steps."""
        if batch_idx and window_closed(trainer, batch_idx):
            due = 0 < self.every_minutes * 60 < time.monotonic() - self._saved_at
            self._boundary(trainer, "batch", due, validated(trainer, batch_idx))

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Stop if it is requested. Resuming restarts this validation."""
        if trainer.state.fn != "fit":
            return
        # The signal waits within an accumulation window, whose gradients would be lost, and in a validation
        # after the last step, which Lightning would skip on resume.
        over = trainer.should_stop or 0 <= trainer.max_steps <= trainer.global_step
        closed = window_closed(trainer, trainer.fit_loop.batch_idx + 1)
        if trainer.sanity_checking or (closed and not over):
            self._boundary(trainer, "validation", False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the final state."""
        self._finished = True
        self._save(trainer, "epoch")

    def on_exception(self, *_: Any, **__: Any) -> None:
        """Restore the signal handlers."""
        self._requests.close()

    teardown = on_exception

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the state for exact resume to every checkpoint."""
        if trainer.state.fn != "fit":
            return
        place, after_validation = self._saving or (_place(trainer), False)
        settle(checkpoint["loops"], place, after_validation)
        add_unsaved_states(trainer, checkpoint)
        folder = None if self.path is None else self.path.parent
        before, images_before = getattr(trainer, "before", (None, None))
        checkpoint[STATE_KEY] = {
            "run_fingerprint": self._conditions,
            "exact": self._saving is not None,
            "verb": getattr(trainer, "verb", "fit"),
            "before": [plain_score(before), plain_images(images_before)],  # of `finetune`
            "job": getattr(trainer, "job", None),
            "finished": self._finished,
            "epoch": trainer.current_epoch,
            "is_best": bool((best := find_callback(trainer, BestWeights)) and best.new),
            "metrics": _metrics(trainer),
            "should_stop": trainer.should_stop,
            "curves": mark(trainer.loggers, folder) if folder and trainer.is_global_zero else {},
        }

    def _restore(self, trainer: Trainer) -> None:
        """Restore what Lightning does not save: logged metrics and `should_stop`."""
        metrics = self._restored.get("metrics", {}).items()
        trainer.callback_metrics.update(
            {name: value.to(trainer.strategy.root_device) for name, value in metrics}
        )
        if not self._restored.get("finished"):  # else the run is extended by more epochs
            trainer.should_stop = trainer.should_stop or self._restored.get("should_stop", False)
        # A validation that restarts counts its first batch once.
        trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset_on_restart()
        self._restored = {}

    def _boundary(self, trainer: Trainer, place: Place, due: bool, after_validation: bool = False) -> None:
        number, due = self._requests.all_reduce(due)
        if number and trainer.sanity_checking:
            raise Interrupted(number)  # nothing to save yet
        if due or number:
            self._save(trainer, place, after_validation)
        if number:
            requeued = requeue(trainer, number) if self.path is not None else ""
            raise Stopped(
                f"stopped by {signal.Signals(number).name}; {self._resume_hint(trainer)}{requeued}",
                128 + number,
            )

    def _save(self, trainer: Trainer, place: Place, after_validation: bool = False) -> None:
        if self.path is None:
            return
        if trainer.is_global_zero and not self.path.parent.is_dir():
            raise missing_run_dir(self.path.parent)  # or a partial run would be written there
        self._saving = place, after_validation
        with own_weights(trainer, place):
            trainer.save_checkpoint(self.path, weights_only=False)
        self._saving = None
        self._saved_at = time.monotonic()
        best = find_callback(trainer, BestWeights)
        if place == "epoch" and best is not None and best.new:
            best.new = False
            if trainer.is_global_zero:
                share(self.path, self.path.with_name("best.ckpt"))

    def _resume_hint(self, trainer: Trainer) -> str:
        if self.path is None:
            return "nothing was saved, as checkpoints are disabled"
        where = f"epoch {trainer.current_epoch + 1}, {trainer.global_step:,} steps done"
        return f"saved {self.path} ({where}); resume with: python -m vocseg resume {self.path.parent}"


def _place(trainer: Trainer) -> Place:
    """Position of training when another callback saves, at any hook."""
    if trainer.validating or trainer.sanity_checking:
        return "validation"
    epochs = trainer.fit_loop.epoch_progress.current
    return "epoch" if epochs.started == epochs.processed else "batch"  # type: ignore[attr-defined]


def _metrics(trainer: Trainer) -> dict[str, Tensor]:
    """The newest logged metrics on the CPU, without speeds, which are not reproducible."""
    metrics = trainer.callback_metrics.items()
    return {name: value.detach().cpu() for name, value in metrics if not name.startswith("speed/")}
