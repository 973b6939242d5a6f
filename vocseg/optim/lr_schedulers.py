"""Learning-rate schedules."""

import math
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from vocseg.errors import UserError

ScheduleName = Literal["constant", "poly", "cosine", "onecycle", "plateau"]

_FLOOR = 1e-3  # lowest multiplier: a rate of zero trains nothing
_POWER = 0.9  # of `poly`, as in DeepLab
_ONECYCLE_WARMUP = 0.3
_PATIENCE, _CUT = 3, 0.1  # of `plateau`: validations without a better mean IoU, and the multiplier then


class LRSchedule:
    """A multiplier on the learning rate as a function of the step.

    `plateau` is not `ReduceLROnPlateau`: Lightning steps that one in a hook which a checkpoint saved at the
    end of an epoch misses, so that a resumed run would have other rates.
    """

    def __init__(self, name: ScheduleName, warmup: float) -> None:
        """Set up a schedule; arguments as `lr_scheduler` and `warmup_fraction` of `SegmentationModule`."""
        self.name = name
        self.warmup = _ONECYCLE_WARMUP if name == "onecycle" and not warmup else warmup
        self.needs_total_steps = name in ("poly", "cosine", "onecycle") or self.warmup > 0
        self.reset()

    def reset(self) -> None:
        """Forget past validations."""
        self._best, self._bad, self._cuts = -math.inf, 0, 0

    def scheduler(self, optimizer: Optimizer, steps: float) -> LambdaLR:
        """Build torch's scheduler, to be stepped after every optimizer step.

        `steps`: number of all steps, if `needs_total_steps`.

        Raises:
            UserError: If the number is infinite.
        """
        if steps == math.inf:
            raise UserError(f"--model.lr_scheduler {self.name} needs an end: set --trainer.max_epochs")
        return LambdaLR(optimizer, lambda step: self.multiplier(step, int(steps)))

    def multiplier(self, step: int, steps: int) -> float:
        """Return the multiplier of a step, from 0, of all `steps`."""
        warmup_steps = round(self.warmup * steps)
        if step < warmup_steps:
            return _FLOOR + (1 - _FLOOR) * (step + 1) / (warmup_steps + 1)
        if self.name == "constant":
            return 1.0
        if self.name == "plateau":
            return float(_CUT**self._cuts)
        left = 1 - min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))  # 1 ... 0
        decay = left**_POWER if self.name == "poly" else (1 - math.cos(math.pi * left)) / 2
        return _FLOOR + (1 - _FLOOR) * decay

    def on_validation(self, miou: float) -> None:
        """Count validations without a better mean IoU, for `plateau`."""
        if miou > self._best:
            self._best, self._bad = miou, 0
            return
        self._bad += 1
        if self._bad > _PATIENCE:
            self._cuts, self._bad = self._cuts + 1, 0

    def plateau_state(self) -> dict[str, Any]:
        """Return the state of `plateau` for a checkpoint."""
        return {"best": self._best, "bad": self._bad, "cuts": self._cuts}

    def load_plateau(self, state: dict[str, Any] | None) -> None:
        """Restore the state of `plateau`."""
        if state is not None:
            self._best, self._bad, self._cuts = state["best"], state["bad"], state["cuts"]
