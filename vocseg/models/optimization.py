"""Optimizer, learning-rate schedule and freezing of a run."""

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig

from vocseg.errors import UserError
from vocseg.models.network import Network
from vocseg.optim.encoder_freezing import EncoderFreezer
from vocseg.optim.lr_schedulers import LRSchedule
from vocseg.optim.optimizers import OptimizerConfig, build_optimizer


class OptimConfig:
    """Optimiser, schedule and freezing, which a LightningModule asks at the right moments."""

    def __init__(self, optimizer: OptimizerConfig, freezing: EncoderFreezer, schedule: LRSchedule) -> None:
        """Remember the settings.

        Args:
            optimizer: What to step with.
            freezing: Of the encoder.
            schedule: Of the learning rate.

        Raises:
            UserError: If a number is none to train with.
        """
        optimizer.check()
        self.optimizer, self.freezing, self.schedule = optimizer, freezing, schedule

    def configure(self, network: Network, trainer: Trainer) -> OptimizerLRSchedulerConfig:
        """The optimiser and its schedule, in Lightning's form.

        Args:
            network: What to train.
            trainer: Knows how many steps there will be.

        Raises:
            UserError: If the schedule needs to know and the run has no end, or `optimizer_options` refuses.
        """
        scaler = getattr(trainer.precision_plugin, "scaler", None)  # of fp16 alone
        clips_mixed = scaler is not None and bool(trainer.gradient_clip_val)
        options = network.execution.optimizer_options(network.mean.device, clips_mixed)
        optimizer = build_optimizer(self.optimizer, network, network.encoder, options)
        scheduler = self.schedule.scheduler(
            optimizer, self._steps(trainer) if self.schedule.needs_total_steps else 0
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def conditions(self) -> dict[str, dict[str, Any]]:
        """What a run that goes on must have in common with itself."""
        frozen = {"freeze_encoder_epochs": self.freezing.epochs} if self.freezing.epochs else {}
        schedule = {name: getattr(self.schedule, name) for name in ("name", "warmup", "needs_total_steps")}
        return {"optimizer": self.optimizer.described() | frozen, "schedule": schedule}

    def _steps(self, trainer: Trainer) -> int:
        """Steps of the whole run."""
        steps = trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise UserError(
                f"--model.lr_scheduler {self.schedule.name} needs an end: set --trainer.max_epochs"
            )
        return int(steps)
